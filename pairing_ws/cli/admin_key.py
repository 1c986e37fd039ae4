"""`admin-key`: the key that opens `/api/v1/admin` to the host application's backend."""

import os
import secrets
import tempfile
from pathlib import Path

import click

from pairing_ws.config.values import MAX_ADMIN_KEYS, admin_keys


@click.command("admin-key")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rotate", is_flag=True, help="Put another key into the file, before the newest that it has.")
def admin_key(file: Path | None, rotate: bool) -> None:
    """Print a new admin key, or write it to FILE, which only this user can read: for PAIRING_ADMIN_KEY_FILE.

    Its holder can log in as anybody. To exchange it: --rotate, restart all servers, give the new key to the backend,
    take the old one out of the file, and restart again.
    """
    key = secrets.token_urlsafe(32)
    if file is None:
        if rotate:
            raise click.UsageError("Name the file whose key is to be exchanged.")
        print(key)
        return
    if file.exists() and not rotate:
        raise click.UsageError(f"{file} is there already; --rotate puts another key into it.")
    before = _keys_in(file) if rotate else []
    _write(file, [key, *before][:MAX_ADMIN_KEYS])
    print(f"{file} has a new key; the server reads it when it starts.")


def _keys_in(file: Path) -> list[str]:
    try:
        return admin_keys(file.read_text())
    except ValueError as error:
        raise click.UsageError(f"{file} {error}") from None


def _write(file: Path, keys: list[str]) -> None:
    """At once, for a server may start at any moment; with the mode and group of the file that is there."""
    before = file.stat() if file.exists() else None
    handle, temporary = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w") as opened:
            opened.write("".join(f"{each}\n" for each in keys))
            opened.flush()
            os.fsync(opened.fileno())
        if before is None:
            # Not over one that somebody has made since.
            os.link(temporary, file)
            return
        os.chown(temporary, -1, before.st_gid)
        os.chmod(temporary, before.st_mode & 0o640)
        os.replace(temporary, file.resolve())
    finally:
        Path(temporary).unlink(missing_ok=True)
