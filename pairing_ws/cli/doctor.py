"""`doctor`: what `serve` or a login would refuse, and what would silently go wrong."""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import click

from pairing_ws.adapters.jwt import key_file
from pairing_ws.adapters.jwt.key_set import KeyFileError, KeySet
from pairing_ws.adapters.sql.database import check_database, is_up_to_date
from pairing_ws.adapters.sql.shared_keys import HINT
from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.cli.accounts import names_alike
from pairing_ws.cli.program import command_settings
from pairing_ws.components import Components, build
from pairing_ws.components.webhooks import Receiver
from pairing_ws.config.database_url import DatabaseAddress
from pairing_ws.config.environment import file_of, load
from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError
from pairing_ws.config.warnings import is_unreachable, warnings
from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Refused, Unavailable
from pairing_ws.server.listening import check_address


@click.command()
def doctor() -> None:
    """Check settings, key file, database and Redis, and say what `serve` or a login would refuse. Exit code 1 then."""
    settings = command_settings()
    print("ok       settings")
    for warning in warnings(settings):
        print(f"warning  {warning}")
    try:
        load(host="0.0.0.0")
    except SettingsError as error:
        print(f"note     beyond this machine `serve` would refuse: {error}")
    try:
        check_address(settings)
    except SettingsError as error:
        print(f"note     `serve` would be refused just now: {error}; perhaps it runs")
    _examine_admin_key(settings)
    with tempfile.TemporaryDirectory() as scratch:
        # What is missing is not made now: `doctor` may run as another user than `serve`.
        bad = False
        if settings.signing_keys:
            keys = KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
            print("ok       PAIRING_SIGNING_KEYS")
            _warn_without_rsa(keys, "PAIRING_SIGNING_KEYS has", "`pairing-ws keys rotate` prints a value with one")
        elif settings.signing_key_file.exists():
            keys = key_file.read_key_file(settings.signing_key_file)
            exposed = key_file.exposure(settings.signing_key_file)
            print(f"warning  {exposed}" if exposed else f"ok       {settings.signing_key_file}")
            _warn_without_rsa(
                keys,
                f"{settings.signing_key_file} has",
                "`serve` adds one where it may write, and so does `keys rotate`",
            )
            # A copy: it is not changed now.
            settings = settings.model_copy(update={"signing_keys": keys.text().decode()})
        else:
            bad |= _can_not_be_made(settings.signing_key_file)
            if key_file.made_here_alone(settings):
                print(f"warning  {key_file.MADE_HERE}")
            settings = settings.model_copy(update={"signing_key_file": Path(scratch) / "keys.json"})
        file = DatabaseAddress.parse(settings.database_url).file
        if file and not file.exists():
            bad |= _can_not_be_made(file)
            settings = settings.model_copy(update={"database_url": f"sqlite:///{scratch}/pairing.db"})
        components = build(settings)
        _tell_push(settings, components.services.application_server_key)
        bad |= asyncio.run(_examine(components))
    bad |= bool(settings.login_hook_url) and asyncio.run(_hook_is_refused(settings))
    if bad:
        raise SystemExit(1)


async def _examine_webhooks(receiver: Receiver, *, is_told: bool, backlog: bool) -> None:
    """Looks the receiver's address up, and sends nothing. `is_told`: that nothing is sent there was said already, for
    the address itself says so. `backlog`: the database has the table."""
    try:
        await receiver.http.check()
        print("ok       PAIRING_WEBHOOK_URL may be sent to; `webhook test` tries it")
    except (OSError, ForbiddenTarget) as error:
        if not is_told:
            print(f"warning  PAIRING_WEBHOOK_URL: nothing is sent there: {error}")
    if backlog and (found := await receiver.webhooks.backlog()).waiting:
        print(f"warning  webhooks: {found.waiting} wait, the oldest since {iso(found.oldest)}")


def _examine_admin_key(settings: Settings) -> None:
    if not settings.admin_key:
        return
    file = file_of("admin_key")
    try:
        exposed = key_file.exposure(file) if file else None
    except KeyFileError as error:
        exposed = str(error)
    print(f"warning  {exposed}" if exposed else f"ok       {file or 'PAIRING_ADMIN_KEY'}")
    if len(settings.admin_key.splitlines()) > 1:
        print("note     two admin keys are open: take the old one out once your backend has the new one")
    print("note     /api/v1/admin is open to every holder of the key: let the proxy refuse it from outside")


def _warn_without_rsa(keys: KeySet, what: str, remedy: str) -> None:
    if not keys.rsa_keys:
        print(f"warning  {what} no RSA key: applications that want RS256, as most do, can't be served; {remedy}")


def _tell_push(settings: Settings, application_server_key: str) -> None:
    """Of credentials that `build` could read. No push service is asked: each is first heard of by a message."""
    if settings.fcm_credentials_file:
        print(f"ok       {settings.fcm_credentials_file} (FCM; not asked whether it takes it)")
    if application_server_key:
        print(f"ok       PAIRING_VAPID_PRIVATE_KEY: browsers subscribe with {application_server_key}")


def _can_not_be_made(file: Path) -> bool:
    folder = file.absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        print(f"ok       {file} will be made on first start")
        return False
    print(f"refused  {file} can't be made: no folder to write to")
    return True


async def _hook_is_refused(settings: Settings) -> bool:
    """Whether each login would be. The application itself is not asked: there is no login."""
    targets = Targets(allow_private=settings.allow_private_targets)
    try:
        await targets.checked(settings.login_hook_url)
    except ForbiddenTarget as forbidden:
        print(f"refused  PAIRING_LOGIN_HOOK_URL: {forbidden}; PAIRING_ALLOW_PRIVATE_TARGETS would allow what is nearby")
        return True
    except OSError as error:
        print(f"warning  PAIRING_LOGIN_HOOK_URL can't be found just now, and each login would be refused: {error}")
        return False
    print("ok       PAIRING_LOGIN_HOOK_URL may be asked")
    return False


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
            if components.receiver:
                is_told = is_unreachable(settings, settings.webhook_url)
                await _examine_webhooks(components.receiver, is_told=is_told, backlog=not unmigrated)
            if not unmigrated:
                for names in names_alike(await components.services.accounts.operator.accounts()).values():
                    if len(names) > 1:
                        several = ", ".join(map(repr, names))
                        print(f"warning  accounts: {several} differ in case alone; `user list` says more")
    return bad
