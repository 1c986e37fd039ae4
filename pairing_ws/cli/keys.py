"""`keys`: the keys that authKeys are signed with."""

import sys
from collections.abc import Callable

import click

from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.jwt import key_file
from pairing_ws.cli.program import command_settings
from pairing_ws.config.environment import load
from pairing_ws.config.settings import Settings
from pairing_ws.core.clock import iso, system_clock


@click.group("keys")
def signing_keys() -> None:
    """The keys that authKeys are signed with."""


@signing_keys.command("list")
def list_keys() -> None:
    """Print every signing key's id and when it was made, one a line, the one that signs first."""
    for each in _key_set(load()).keys:
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


# An id is base64url, and may begin with a dash.
@signing_keys.command(context_settings={"ignore_unknown_options": True})
@click.argument("kid")
def remove(kid: str) -> None:
    """Withdraw a signing key, which somebody else may know: what it has signed is refused within 5 s, everywhere.

    Clients renew their keys by themselves. If it was the one that signs, a new one is made. `keys list` prints the ids.
    Keys in PAIRING_SIGNING_KEYS can't be changed from here: what that should become is printed instead.
    """
    signs = _change_keys(lambda keys: keys.without(kid, system_clock))
    audit("key.removed", kid=kid, signs=signs)
    print(f"{kid} is withdrawn; authKeys are signed with {signs}.")


def _key_set(settings: Settings) -> key_file.KeySet:
    if settings.signing_keys:
        return key_file.KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
    return key_file.read_key_file(settings.signing_key_file)


def _change_keys(change: Callable[[key_file.KeySet], key_file.KeySet]) -> str:
    """Change the file; the id of the key that signs from now on. Exits after it has printed keys of the environment."""
    settings = command_settings()
    if settings.signing_keys:
        print(change(_key_set(settings)).text().decode())
        print("Nothing has changed yet: set PAIRING_SIGNING_KEYS to this, and restart all servers.", file=sys.stderr)
        raise SystemExit(0)
    key_file.make_key_file(settings.signing_key_file, system_clock)
    return str(key_file.change_key_file(settings.signing_key_file, change).keys[0]["kid"])
