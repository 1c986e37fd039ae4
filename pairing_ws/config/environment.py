"""The environment: which variable sets what, by itself or by a file, and the settings of this process from them."""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pairing_ws.config import secret_files
from pairing_ws.config.settings import Settings
from pairing_ws.config.values import NamedComplaint, SettingsError

PREFIX = "PAIRING_"


def load(**overrides: Any) -> Settings:
    """The settings of this process, `overrides` (command line options) first. Raises SettingsError."""
    # An empty variable is as good as none, and capitals don't matter.
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    given = {name: variables[variable] for name, variable in _variables().items() if variable in variables}
    secrets = {name: variable for name, variable in _variables().items() if is_secret(name)}
    from_files = secret_files.read(variables, secrets)
    _leave_foreign_home()
    try:
        return Settings(**given | from_files | {name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(each, from_files) for each in error.errors())) from None


def _leave_foreign_home() -> None:
    """The driver of PostgreSQL looks for passwords and certificates in the home folder, as libpq does, but fails where
    libpq passes over: in another user's. Below this one there is nothing, and nothing to be refused."""
    home = os.path.expanduser("~")
    try:
        for name in (".pgpass", ".pg_service.conf", ".postgresql/postgresql.key"):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.stat(f"{home}/{name}")
    except PermissionError:
        os.environ["HOME"] = os.devnull


def unknown_variables() -> list[str]:
    """Variables that look like settings and are none: most likely misspelt."""
    known = {*_variables().values(), *(file_variable(name) for name in _variables() if is_secret(name))}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _variables() -> dict[str, str]:
    """Which variable sets which field: none sets what the command line alone may."""
    return {name: environment_name(name) for name, field in Settings.model_fields.items() if not field.exclude}


def environment_name(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"


def is_secret(field: str) -> bool:
    """Whether it is in no picture of the settings and no complaint, and may be given as a file: `file_variable`."""
    return not Settings.model_fields[field].repr


def file_variable(field: str) -> str:
    """The variable that names a file with the field's value."""
    return environment_name(field) + secret_files.SUFFIX


def file_of(field: str) -> Path | None:
    """The file that its value comes from, if it does."""
    file = os.environ.get(file_variable(field))
    return Path(file) if file else None


def _explain(error: Any, from_files: Collection[str]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if isinstance(error.get("ctx", {}).get("error"), NamedComplaint):
        return message
    field = str(error["loc"][0]) if error["loc"] else "settings"
    message = f"{message[0].lower()}{message[1:]}"
    if field not in Settings.model_fields:
        return f"{PREFIX}{field.upper()} {message}"
    variable = environment_name(field)
    if field in from_files:
        return f"{variable} (from {file_variable(field)}) {message}"
    # A public address may have a password in it, which is one of the things that are wrong with it.
    is_shown = not is_secret(field) and not field.endswith("_url")
    return f"{variable} {message}" + (f" (it is {error.get('input')!r})" if is_shown else "")
