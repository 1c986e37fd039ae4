"""What `login`, `token` and `logout` do, with the Python client: see `log_in.py`, which loads this when it has to."""

import asyncio
import platform
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import click

from pairing_ws import client as pairing
from pairing_ws.web import qr

FAILURES = (pairing.Problem, pairing.NotLoggedIn, pairing.UnsafeStorage)


def _store() -> pairing.KeyStore:
    return pairing.KeyStore(Path(click.get_app_dir("pairing-ws")), pairing.system_ring())


async def log_in(url: str, name: str, bound: bool, invite: str | None) -> None:
    store = _store()
    before = None
    # What is spoilt, or open to others, is replaced now.
    with suppress(pairing.UnsafeStorage):
        before = store.load(url)
    device = pairing.Device(
        code=before.device_code if before else f"cli-{secrets.token_urlsafe(16)}",
        name=name,
        os=platform.system(),
    )
    async with pairing.Client(url, pairing.DeviceKey.make() if bound else None) as client:
        if invite:
            keys = await client.accept_invite(invite.rpartition("#")[2], device)
        else:
            keys = await pairing.log_in(client, device, _show, _ask_number)
        pairing.Session(client, store).keep(keys, device.code)
    print(f"Logged in as {keys.username!r}.", file=sys.stderr)


def _show(shown: pairing.NewPairing) -> None:
    picture = qr.terminal(shown.text)
    try:
        picture.encode(sys.stderr.encoding)
        print(picture, file=sys.stderr)
    except UnicodeEncodeError:
        pass
    print(f"Scan this with a device that is logged in, or type there: {shown.user_code}", file=sys.stderr)


async def _ask_number(attempts_left: int | None) -> str:
    if attempts_left is not None:
        print(f"That is not the number; {attempts_left} attempts are left.", file=sys.stderr)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def ask() -> None:
        try:
            answer = click.prompt("Number on the other device", err=True)
        except click.Abort as abort:
            loop.call_soon_threadsafe(typed.set_exception, abort)
        else:
            loop.call_soon_threadsafe(typed.set_result, answer)

    # A thread that nobody waits for: Ctrl-C must not wait for a line.
    Thread(target=ask, daemon=True).start()
    return await typed


async def print_token(url: str, call: tuple[str, str] | None) -> None:
    session = pairing.Session.at(url, _store())
    async with session.client:
        if call is None:
            print(await session.auth_key())
        else:
            for name, value in (await session.headers(call[0].upper(), call[1])).items():
                print(f"{name}: {value}")


async def log_out(url: str) -> None:
    session = pairing.Session.at(url, _store())
    async with session.client:
        await session.log_out()
