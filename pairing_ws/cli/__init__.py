"""The command line. `login`, `token` and `logout` are for the users of any server; the others read the settings of one,
act and report."""

import io
import os
import sys
from typing import NoReturn

import click

from pairing_ws import __version__
from pairing_ws.adapters.jwt.key_set import KeyFileError
from pairing_ws.cli.accounts import invite, users
from pairing_ws.cli.admin_key import admin_key
from pairing_ws.cli.clients import clients
from pairing_ws.cli.doctor import doctor
from pairing_ws.cli.keys import signing_keys, vapid_key
from pairing_ws.cli.log_in import log_in, log_out, token
from pairing_ws.cli.serve import database, serve
from pairing_ws.cli.webhooks import webhooks
from pairing_ws.config.values import SettingsError
from pairing_ws.core.errors import Refused
from pairing_ws.server.logging import say


@click.group()
@click.version_option(__version__, prog_name="pairing-ws", message="%(prog)s %(version)s")
def cli() -> None:
    """Passwordless login by QR-code device pairing.

    Start with `pairing-ws serve --demo` in one terminal and `pairing-ws invite YOU` in another: the link it prints logs
    your first device in, and that one lets in all others. Settings come from the environment; `pairing-ws doctor`
    checks them.
    """


for command in (serve, invite, users, clients, database, signing_keys, admin_key, vapid_key, webhooks, doctor):
    cli.add_command(command)
for command in (log_in, token, log_out):
    cli.add_command(command)


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
    except (SettingsError, KeyFileError) as error:
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


def _fail(text: str) -> NoReturn:
    say("\n".join(f"pairing-ws: {line}" for line in text.splitlines()))
    raise SystemExit(1)
