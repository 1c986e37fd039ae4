"""`webhook`: a secret for the receiver of webhooks, and whether it takes one."""

import base64
import secrets

import click

from pairing_ws.cli.program import command_settings, with_components
from pairing_ws.components import Components
from pairing_ws.config.values import SettingsError

_SECRET_BYTES = 32


@click.group("webhook")
def webhooks() -> None:
    """Make a secret for webhooks, and try the receiver."""


@webhooks.command()
def secret() -> None:
    """Print a new secret, for PAIRING_WEBHOOK_SECRET and for the receiver.

    To exchange one, put the new one first, with a comma and the old one behind it, until the receiver has the new one.
    """
    print("whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode())


@webhooks.command()
def test() -> None:
    """Send an event of the type `webhook.test` to PAIRING_WEBHOOK_URL, and say what came of it. Exit code 1 unless it
    was taken."""
    if not command_settings().webhook_url:
        raise SettingsError("PAIRING_WEBHOOK_URL names no receiver")

    async def send(components: Components) -> tuple[int, str]:
        assert components.receiver
        status, why, _ = await components.receiver.webhooks.send_test()
        return status, why

    status, why = with_components(send)
    if 200 <= status < 300:
        print(f"The receiver has taken it: it answered {status}.")
        return
    print(f"The receiver has not taken it: {why or f'it answered {status}'}.")
    raise SystemExit(1)
