"""A command-line tool that its user logs in with a QR code, once. See README.md.

python tool.py https://login.example.com
"""

import asyncio
import platform
import secrets
import sys
from pathlib import Path

import qrcode

from pairing_ws.client import (
    Client,
    Device,
    KeyStore,
    NewPairing,
    NotLoggedIn,
    Problem,
    Session,
    log_in,
    system_ring,
)

store = KeyStore(Path.home() / ".my-tool", system_ring())


async def logged_in(url: str) -> Session:
    try:
        session = Session.at(url, store)
        await session.auth_key()
        return session
    except NotLoggedIn:
        device = Device(code=f"my-tool-{secrets.token_urlsafe(16)}", name=f"my-tool on {platform.node()}")
        session = Session(Client(url), store)
        session.keep(await log_in(session.client, device, show, ask_number), device.code)
        return session


def show(pairing: NewPairing) -> None:
    picture = qrcode.QRCode()
    picture.add_data(pairing.text)
    picture.print_ascii(out=sys.stderr, invert=True)
    print(f"Scan this with your phone, or type there: {pairing.user_code}", file=sys.stderr)


async def ask_number(attempts_left: int | None) -> str:
    print("Number on your phone: ", end="", file=sys.stderr, flush=True)
    return await asyncio.to_thread(sys.stdin.readline)


async def main(url: str) -> None:
    session = await logged_in(url)
    async with session.client:
        # Your own server gets the authKey in the same way: `await session.auth_key()`.
        print("You are", (await session.call("GET", "/me"))["user"]["username"])


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1].rstrip("/")))
    except Problem as problem:
        sys.exit(f"That did not work: {problem}")
