"""`keys`: the keys that authKeys, and the tokens of applications, are signed with. `vapid-key`: the one of Web Push."""

import sys
from collections.abc import Callable

import click

from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.jwt import key_file
from pairing_ws.adapters.jwt.key_set import KeySet
from pairing_ws.adapters.jwt.vapid import VapidKey
from pairing_ws.cli.program import command_settings
from pairing_ws.config.environment import load
from pairing_ws.config.settings import Settings
from pairing_ws.core.clock import iso, system_clock


@click.group("keys")
def signing_keys() -> None:
    """The keys that authKeys, and the tokens of applications, are signed with."""


@signing_keys.command("list")
def list_keys() -> None:
    """Print every signing key's id, when it was made and its algorithm, one a line, the one that signs first."""
    keys = _key_set(load())
    for algorithm, stored in (("ES256", keys.keys), ("RS256", keys.rsa_keys)):
        for each in stored:
            print(f"{each['kid']}\t{iso(each.get('made', 0))}\t{algorithm}")


@signing_keys.command()
def make() -> None:
    """Print new keys as a value for PAIRING_SIGNING_KEYS, or for its file. Keep it secret."""
    print(KeySet.new(system_clock).text().decode())


@signing_keys.command()
def rotate() -> None:
    """Sign with new keys from now on, one of each algorithm. Running servers notice; keys already given out stay valid
    until they expire.

    Keys in PAIRING_SIGNING_KEYS can't be changed from here: what that should become is printed instead.
    """
    signs, rsa = _change_keys(lambda keys: keys.rotated(system_clock))
    audit("key.rotated", kid=signs, rsa_kid=rsa)
    print(f"authKeys are now signed with {signs}.")
    print(f"Where an application wants RS256, its tokens are now signed with {rsa}.")


# An id is base64url, and may begin with a dash.
@signing_keys.command(context_settings={"ignore_unknown_options": True})
@click.argument("kid")
def remove(kid: str) -> None:
    """Withdraw a signing key, which somebody else may know: what it has signed is refused within 5 s, everywhere.

    Clients renew their keys by themselves. If it was the one that signs, a new one is made. `keys list` prints the ids.
    Keys in PAIRING_SIGNING_KEYS can't be changed from here: what that should become is printed instead.
    """
    signs, rsa = _change_keys(lambda keys: keys.without(kid, system_clock))
    audit("key.removed", kid=kid, signs=signs, rsa_signs=rsa)
    print(f"{kid} is withdrawn; authKeys are signed with {signs}.")


@click.command("vapid-key")
def vapid_key() -> None:
    """Print a new key for PAIRING_VAPID_PRIVATE_KEY, or for its file. Keep it secret, and keep it: browsers that have
    subscribed with one get nothing by another."""
    key = VapidKey.new()
    print(key.text())
    print(f"Browsers subscribe with {key.public}; they ask for it at /api/v1/push.", file=sys.stderr)


def _key_set(settings: Settings) -> KeySet:
    if settings.signing_keys:
        return KeySet.parse(settings.signing_keys, "PAIRING_SIGNING_KEYS")
    return key_file.read_key_file(settings.signing_key_file)


def _change_keys(change: Callable[[KeySet], KeySet]) -> tuple[str, str | None]:
    """Change the file; the ids of the EC and RSA keys that sign from now on. Exits after it has printed keys of the
    environment."""
    settings = command_settings()
    if settings.signing_keys:
        print(change(_key_set(settings)).text().decode())
        where = "PAIRING_SIGNING_KEYS, or its file,"
        print(f"Nothing has changed yet: set {where} to this, and restart all servers.", file=sys.stderr)
        raise SystemExit(0)
    key_file.make_key_file(settings.signing_key_file, system_clock)
    keys = key_file.change_key_file(settings.signing_key_file, change)
    return keys.keys[0]["kid"], keys.rsa_keys[0]["kid"] if keys.rsa_keys else None
