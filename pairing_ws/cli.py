"""The command line: `serve`, `invite`, `user`, `db`, `keys`, `doctor`. Each reads the settings, acts and reports."""

import asyncio
import io
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn, TypeVar

import click
import structlog

from pairing_ws import __version__
from pairing_ws.accounts.names import compared
from pairing_ws.accounts.ports import User
from pairing_ws.accounts.service import AccountService
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.jwt import key_file
from pairing_ws.adapters.sql.database import check_database, is_up_to_date, migrate
from pairing_ws.adapters.sql.shared_keys import HINT
from pairing_ws.app import Components, build
from pairing_ws.config import environment
from pairing_ws.config import settings as config
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.config.warnings import warnings
from pairing_ws.core.clock import iso, system_clock
from pairing_ws.core.errors import Refused, Unavailable
from pairing_ws.server import supervisor
from pairing_ws.server.listening import check_address
from pairing_ws.server.logging import configure, say

T = TypeVar("T")

log = structlog.get_logger()


@click.group()
@click.version_option(__version__, prog_name="pairing-ws", message="%(prog)s %(version)s")
def cli() -> None:
    """Passwordless login by QR-code device pairing.

    Start with `pairing-ws serve --demo` in one terminal and `pairing-ws invite YOU` in another: the link it prints logs
    your first device in, and that one lets in all others. Settings come from the environment; `pairing-ws doctor`
    checks them.
    """


@cli.group("user")
def users() -> None:
    """List, lock, unlock and delete accounts."""


@cli.group("db")
def database() -> None:
    """The database's schema."""


@cli.group("keys")
def signing_keys() -> None:
    """The keys that authKeys are signed with."""


def main() -> None:
    """The entry point: a wrong setting or a refusal is one clear line and exit code 1, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names have letters that the locale may not have; what was done can't be undone for one of them.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except (config.SettingsError, key_file.KeyFileError) as error:
        _fail(str(error))
    except Refused as refused:
        _fail(f"{refused.detail} ({refused.code})")
    except OSError as error:
        _fail(f"{error.filename or 'the output'}: {error.strerror}")
    finally:
        _let_go_of_output()


def _let_go_of_output() -> None:
    """What can't be written, on a full disk, would be tried again at the interpreter's end, and be its exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


@cli.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; beyond loopback it needs PAIRING_PUBLIC_URL.",
)
@click.option("--port", type=int, help="Port to listen on.  [default: PORT, or 8000]")
@click.option("--workers", type=int, help="Processes; above 1 needs REDIS_URL.  [default: WEB_CONCURRENCY, or 1]")
@click.option("--demo", is_flag=True, help="For trying it out: http on a local network, no quarantine for new devices.")
def serve(host: str, port: int | None, workers: int | None, demo: bool) -> None:
    """Run the server. Migrates the database first; stops within 10 s of SIGTERM, telling open sockets to reconnect."""
    settings = environment.load(host=host, port=port, workers=workers, demo=demo or None)
    configure(settings.log_format, settings.log_level)
    for warning in warnings(settings):
        log.warning("settings.doubtful", hint=warning)
    # Here, so that what is wrong with key file, database or push credentials is one clear line.
    _prepare(settings)
    supervisor.run(settings)


@cli.command()
@click.argument("username")
@click.option("--existing", is_flag=True, help="Refuse a name that no account has.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def invite(username: str, existing: bool, as_json: bool) -> None:
    """Print a link and QR code that log one device in, once, within 15 minutes: the first, or after all are lost.

    The account is made if there is none of that name. Names are the same whatever their capitals.
    """
    made = _with_accounts(lambda accounts: accounts.operator.invite(username, existing=existing))
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


@users.command("list")
def list_users() -> None:
    """Print every account, one a line: name, id, whether it is locked, and whose name differs in case alone.

    Only accounts of older versions can have: each is meant by its name exactly as it is written here.
    """
    found = _with_accounts(lambda accounts: accounts.operator.users())
    alike = _names_alike(found)
    for user in found:
        state = "locked since " + iso(user.locked_at) if user.locked_at else "open"
        same = [repr(name) for name in alike[compared(user.username)] if name != user.username]
        print("\t".join([user.username, user.id, state, *same]))


def _names_alike(found: Iterable[User]) -> dict[str, list[str]]:
    """The accounts' names by what is compared of them."""
    alike = defaultdict(list)
    for user in found:
        alike[compared(user.username)].append(user.username)
    return alike


@users.command()
@click.argument("username")
def lock(username: str) -> None:
    """Refuse all logins, keys and refreshes of an account until it is unlocked."""
    user = _with_accounts(lambda accounts: accounts.operator.lock(username, locked=True))
    print(f"{user.username} is locked: all sessions are refused until `user unlock`.")


@users.command()
@click.argument("username")
def unlock(username: str) -> None:
    """Let a locked account in again."""
    user = _with_accounts(lambda accounts: accounts.operator.lock(username, locked=False))
    print(f"{user.username} is open again.")


@users.command()
@click.argument("username")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(username: str, yes: bool) -> None:
    """Delete an account with its devices, sessions and activity."""
    if not yes:
        click.confirm(f"Delete {username!r} and all its devices?", abort=True)
    user = _with_accounts(lambda accounts: accounts.operator.delete_user(username))
    print(f"{user.username} is deleted.")


@database.command()
def upgrade() -> None:
    """Bring the schema up to date. `serve` does it too; a platform's release step can do it first."""
    _prepare(_settings())
    print("The database is up to date.")


@signing_keys.command("list")
def list_keys() -> None:
    """Print every signing key's id and when it was made, one a line, the one that signs first."""
    for each in _key_set(environment.load()).keys:
        print(f"{each['kid']}\t{iso(each.get('made', 0))}")


@signing_keys.command()
def make() -> None:
    """Print new keys as a value for PAIRING_SIGNING_KEYS. Keep it secret."""
    print(key_file.KeySet.new(system_clock).text().decode())


@signing_keys.command()
def rotate() -> None:
    """Sign with a new key from now on. Running servers notice; keys already given out stay valid until they expire.

    Keys in PAIRING_SIGNING_KEYS can't be changed from here: what that should become is printed instead.
    """
    signs = _change_keys(lambda keys: keys.rotated(system_clock))
    audit("key.rotated", kid=signs)
    print(f"authKeys are now signed with {signs}.")


@signing_keys.command()
@click.argument("kid")
def remove(kid: str) -> None:
    """Withdraw a signing key, which somebody else may know: what it has signed is refused within 5 s, everywhere.

    Clients renew their keys by themselves. If it was the one that signs, a new one is made. `keys list` prints the ids.
    Keys in PAIRING_SIGNING_KEYS can't be changed from here: what that should become is printed instead.
    """
    signs = _change_keys(lambda keys: keys.without(kid, system_clock))
    audit("key.removed", kid=kid, signs=signs)
    print(f"{kid} is withdrawn; authKeys are signed with {signs}.")


def _key_set(settings: config.Settings) -> key_file.KeySet:
    if settings.signing_keys:
        return key_file.KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
    return key_file.read_key_file(settings.signing_key_file)


def _change_keys(change: Callable[[key_file.KeySet], key_file.KeySet]) -> str:
    """Change the file; the id of the key that signs from now on. Exits after it has printed keys of the environment."""
    settings = _settings()
    if settings.signing_keys:
        print(change(_key_set(settings)).text().decode())
        print("Nothing has changed yet: set PAIRING_SIGNING_KEYS to this, and restart all servers.", file=sys.stderr)
        raise SystemExit(0)
    key_file.make_key_file(settings.signing_key_file, system_clock)
    return str(key_file.change_key_file(settings.signing_key_file, change).keys[0]["kid"])


@cli.command()
def doctor() -> None:
    """Check settings, key file, database and Redis, and say what `serve` or a login would refuse. Exit code 1 then."""
    settings = _settings()
    print("ok       settings")
    for warning in warnings(settings):
        print(f"warning  {warning}")
    try:
        environment.load(host="0.0.0.0")
    except config.SettingsError as error:
        print(f"note     beyond this machine `serve` would refuse: {error}")
    try:
        check_address(settings)
    except config.SettingsError as error:
        print(f"note     `serve` would be refused just now: {error}; perhaps it runs")
    with tempfile.TemporaryDirectory() as scratch:
        # What is missing is not made now: whoever examines may be another user than who serves.
        bad = False
        if settings.signing_keys:
            key_file.KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
            print("ok       PAIRING_SIGNING_KEYS")
        elif settings.signing_key_file.exists():
            key_file.read_key_file(settings.signing_key_file)
            exposed = key_file.exposure(settings.signing_key_file)
            print(f"warning  {exposed}" if exposed else f"ok       {settings.signing_key_file}")
        else:
            bad |= _can_not_be_made(settings.signing_key_file)
            settings = settings.model_copy(update={"signing_key_file": Path(scratch) / "keys.json"})
        file = DatabaseAddress.parse(settings.database_url).file
        if file and not file.exists():
            bad |= _can_not_be_made(file)
            settings = settings.model_copy(update={"database_url": f"sqlite:///{scratch}/pairing.db"})
        bad |= asyncio.run(_examine(build(settings)))
    if bad:
        raise SystemExit(1)


def _can_not_be_made(file: Path) -> bool:
    folder = file.absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        print(f"ok       {file} will be made on first start")
        return False
    print(f"refused  {file} can't be made: no folder to write to")
    return True


async def _examine(components: Components) -> bool:
    """Whether a store can't be used."""
    bad = False
    settings = components.services.settings
    checks: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("database", lambda: check_database(settings.database_url)),
        ("Redis" if settings.redis_url else "process memory", components.store.examine),
    ]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(components.database.close)
        # Nobody has entered it, and yet it has connections to close.
        stack.push_async_exit(components.bus)
        for name, check in checks:
            try:
                await check()
                print(f"ok       {name}")
            except Refused as refused:
                bad = True
                # What the store itself said. Drivers quote addresses, no passwords.
                reason = f" ({refused.__cause__})" if isinstance(refused, Unavailable) and refused.__cause__ else ""
                print(f"refused  {name}: {refused.detail}{reason}")
        if not bad:
            for warning in await components.bus.warnings():
                print(f"warning  Redis: {warning}")
            unmigrated = not await is_up_to_date(components.database)
            for store, seconds in (await components.key_sharing.differing_servers(unmigrated=unmigrated)).items():
                print(f"warning  {store}: a server was here {seconds} s ago that has other signing keys; {HINT}")
            if not unmigrated:
                for names in _names_alike(await components.services.accounts.operator.users()).values():
                    if len(names) > 1:
                        several = ", ".join(map(repr, names))
                        print(f"warning  accounts: {several} differ in case alone; `user list` says more")
    return bad


def _settings() -> config.Settings:
    """For a command that builds the program: its result is for people, and its log only for those who ask for one."""
    settings = environment.load()
    configure(settings.log_format, settings.log_level if "log_level" in settings.model_fields_set else "warning")
    return settings


def _prepare(settings: config.Settings) -> None:
    """Look at all that can be looked at without connecting to it, and bring the database up to date."""
    build(settings)
    asyncio.run(migrate(settings.database_url))


def _with_accounts(act: Callable[[AccountService], Awaitable[T]]) -> T:
    """Run `act` on the account story of the configured stores, which are brought up to date first."""

    async def run() -> T:
        async with build(_settings()).running() as services:
            return await act(services.accounts)

    return asyncio.run(run())


def _fail(text: str) -> NoReturn:
    say("\n".join(f"pairing-ws: {line}" for line in text.splitlines()))
    raise SystemExit(1)
