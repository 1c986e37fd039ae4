"""`login`, `token` and `logout`: this machine as a device of somebody's account, at a server near or far."""

import asyncio
import platform
from importlib import import_module
from typing import Any

import click

_url = click.option("--url", required=True, metavar="URL", help="The server's public address.")


@click.command("login")
@_url
@click.option("--name", help="What other devices call this one; default: this machine's name.")
@click.option("--bound", is_flag=True, help="Bind the session to a key: each call then needs a proof.")
@click.option("--invite", metavar="CODE", help="Log in by an invite: its link, or what that has behind the #.")
def log_in(url: str, name: str | None, bound: bool, invite: str | None) -> None:
    """Log this machine in: a QR code, which a device that is logged in scans and allows.

    The keys are kept in the system's keyring, if Python's package `keyring` is there, else in a file that nobody else
    may read. `pairing-ws token` then prints an authKey for scripts, and `pairing-ws logout` ends the session.
    """
    _act("log_in", url, name or platform.node() or "Command line", bound, invite)


@click.command()
@_url
@click.option("--for", "call", nargs=2, metavar="METHOD PATH", help="Print headers for one call below /api/v1.")
def token(url: str, call: tuple[str, str] | None) -> None:
    """Print an authKey that is good for a minute at least.

    With --for, print the lines of headers that one call needs, its proof included: `… --for GET /me | curl -H @- URL`.
    """
    _act("print_token", url, call)


@click.command("logout")
@_url
def log_out(url: str) -> None:
    """End the session at the server and forget its keys."""
    _act("log_out", url)


def _act(what: str, url: str, *arguments: Any) -> None:
    # Not needed by the other commands: 100 ms of a start.
    this_device = import_module("pairing_ws.cli.this_device")
    try:
        asyncio.run(getattr(this_device, what)(url.rstrip("/"), *arguments))
    except this_device.FAILURES as error:
        raise click.ClickException(str(error)) from None
