"""`invite` and `user`: what an operator does with accounts."""

import json
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import click

from pairing_ws.accounts.names import compared
from pairing_ws.accounts.ports import Account
from pairing_ws.cli.program import with_accounts, with_services
from pairing_ws.core.clock import iso
from pairing_ws.upstream.ports import Link
from pairing_ws.web.services import Services


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
    """List, show, describe, link, lock, unlock and delete accounts."""


@users.command("list")
def list_users() -> None:
    """Print every account, one a line: name, id, whether it is locked, its e-mail address or -, and whose name differs
    in case alone.

    Only accounts of older versions can have: each is meant by its name exactly as it is written here.
    """
    found = with_accounts(lambda accounts: accounts.operator.accounts())
    alike = names_alike(found)
    for user, profile in found:
        state = "locked since " + iso(user.locked_at) if user.locked_at else "open"
        same = [repr(name) for name in alike[compared(user.username)] if name != user.username]
        print("\t".join([user.username, user.id, state, profile.email or "-", *same]))


def names_alike(found: Iterable[Account]) -> dict[str, list[str]]:
    """The accounts' names by what is compared of them."""
    alike = defaultdict(list)
    for user, _ in found:
        alike[compared(user.username)].append(user.username)
    return alike


@users.command()
@click.argument("username")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def show(username: str, as_json: bool) -> None:
    """Print an account with what it tells applications, each by a scope that they were granted, and its links: who the
    person is at other issuers."""
    _print_account(lambda services: services.accounts.operator.account(username), as_json)


@users.command()
@click.argument("username")
@click.argument("issuer")
@click.argument("subject")
def link(username: str, issuer: str, subject: str) -> None:
    """Let the person whom ISSUER knows as SUBJECT log in to this account with that issuer.

    Both are written as they stand in its tokens, `iss` and `sub`. A login of somebody who is not linked yet names them,
    on its page and in the log.
    """
    user = with_services(lambda services: services.people.link(username, issuer, subject))
    print(f"{subject} at {issuer} is {user.username}.")


@users.command()
@click.argument("username")
@click.argument("issuer")
@click.argument("subject")
def unlink(username: str, issuer: str, subject: str) -> None:
    """Take such a link away. Devices that it has logged in stay logged in."""
    user = with_services(lambda services: services.people.unlink(username, issuer, subject))
    print(f"{subject} at {issuer} is no longer {user.username}.")


@users.command("set")
@click.argument("username")
@click.option("--email", help="Told by the scope `email`. Empty takes it away.")
@click.option("--email-verified/--no-email-verified", default=None, help="Whether you know that the address is theirs.")
@click.option("--name", help="The full name, told by the scope `profile`. Empty takes it away.")
@click.option("--group", "groups", multiple=True, help="Told by the scope `groups`; for each one. They replace all.")
@click.option("--no-groups", is_flag=True, help="Take all groups away.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def set_profile(
    username: str,
    email: str | None,
    email_verified: bool | None,
    name: str | None,
    groups: tuple[str, ...],
    no_groups: bool,
    as_json: bool,
) -> None:
    """Change what an account tells applications. What is not named stays, but another address is no longer verified.

    Applications learn of it when they ask the next time: at a login, a refresh, or UserInfo.
    """
    if groups and no_groups:
        raise click.UsageError("--group and --no-groups exclude each other.")
    given = {"email": email, "email_verified": email_verified, "name": name, "groups": groups or None}
    changes: dict[str, object] = {field: value for field, value in given.items() if value is not None}
    if no_groups:
        changes["groups"] = ()
    if not changes:
        raise click.UsageError("Name what to change; see --help.")
    _print_account(lambda services: services.accounts.operator.change_profile(username, changes), as_json)


def _print_account(act: Callable[[Services], Awaitable[Account]], as_json: bool) -> None:
    """What `act` gives, and who its person is at other issuers."""

    async def found(services: Services) -> tuple[Account, Sequence[Link]]:
        account = await act(services)
        return account, await services.people.links_of(account.user)

    (user, profile), links = with_services(found)
    told: dict[str, Any] = {
        "username": user.username,
        "id": user.id,
        "locked_since": iso(user.locked_at) if user.locked_at else None,
        "email": profile.email,
        "email_verified": profile.email_verified,
        "name": profile.name,
        "groups": list(profile.groups),
        "links": [{"issuer": each.issuer, "subject": each.subject} for each in links],
    }
    if as_json:
        print(json.dumps(told))
        return
    linked = [f"{each['subject']} at {each['issuer']}" for each in told.pop("links")]
    told |= {"email_verified": "yes" if profile.email_verified else "no", "groups": ", ".join(profile.groups)}
    for field, value in told.items():
        print(f"{field}\t{value or '-'}")
    for each in linked:
        print(f"link\t{each}")


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
