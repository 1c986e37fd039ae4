"""`invite` and `user`: what an operator does with accounts."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable

import click

from pairing_ws.accounts.names import compared
from pairing_ws.accounts.ports import User
from pairing_ws.cli.program import with_accounts
from pairing_ws.core.clock import iso


@click.command()
@click.argument("username")
@click.option("--existing", is_flag=True, help="Refuse a name that no account has.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def invite(username: str, existing: bool, as_json: bool) -> None:
    """Print a link and QR code that log one device in, once, within 15 minutes: the first, or after all are lost.

    The account is made if there is none of that name. Names are the same whatever their capitals.
    """
    made = with_accounts(lambda accounts: accounts.operator.invite(username, existing=existing))
    if as_json:
        print(
            json.dumps(
                {
                    "username": made.user.username,
                    "code": made.code,
                    "url": made.url,
                    "expiresAt": iso(made.expires_at),
                    "newAccount": made.is_new,
                }
            )
        )
        return
    # Not needed by the other commands: 20 ms of a start.
    from pairing_ws.web import qr

    picture = qr.terminal(made.url)
    try:
        picture.encode(sys.stdout.encoding)
        print(picture)
    except UnicodeEncodeError:
        print(f"(No QR code: {sys.stdout.encoding} has no letters to draw it with.)")
    if made.is_new:
        print(f"There was no account {made.user.username!r}: a new account was made.\n")
    print(f"Open or scan this on the device that shall be logged in as {made.user.username!r}:\n\n  {made.url}\n")
    print(f"It works once, until {iso(made.expires_at)}.")


@click.group("user")
def users() -> None:
    """List, lock, unlock and delete accounts."""


@users.command("list")
def list_users() -> None:
    """Print every account, one a line: name, id, whether it is locked, and whose name differs in case alone.

    Only accounts of older versions can have: each is meant by its name exactly as it is written here.
    """
    found = with_accounts(lambda accounts: accounts.operator.users())
    alike = names_alike(found)
    for user in found:
        state = "locked since " + iso(user.locked_at) if user.locked_at else "open"
        same = [repr(name) for name in alike[compared(user.username)] if name != user.username]
        print("\t".join([user.username, user.id, state, *same]))


def names_alike(found: Iterable[User]) -> dict[str, list[str]]:
    """The accounts' names by what is compared of them."""
    alike = defaultdict(list)
    for user in found:
        alike[compared(user.username)].append(user.username)
    return alike


@users.command()
@click.argument("username")
def lock(username: str) -> None:
    """Refuse all logins, keys and refreshes of an account until it is unlocked."""
    user = with_accounts(lambda accounts: accounts.operator.lock(username, locked=True))
    print(f"{user.username} is locked: all sessions are refused until `user unlock`.")


@users.command()
@click.argument("username")
def unlock(username: str) -> None:
    """Let a locked account in again."""
    user = with_accounts(lambda accounts: accounts.operator.lock(username, locked=False))
    print(f"{user.username} is open again.")


@users.command()
@click.argument("username")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(username: str, yes: bool) -> None:
    """Delete an account with its devices, sessions and activity."""
    if not yes:
        click.confirm(f"Delete {username!r} and all its devices?", abort=True)
    user = with_accounts(lambda accounts: accounts.operator.delete_user(username))
    print(f"{user.username} is deleted.")
