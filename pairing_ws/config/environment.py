"""The environment: which variable sets what, and the settings of this process from them."""

import os
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from pairing_ws.config.settings import Settings
from pairing_ws.config.values import NamedComplaint, SettingsError

PREFIX = "PAIRING_"


def load(**overrides: Any) -> Settings:
    """The settings of this process, `overrides` (command line options) first. Raises SettingsError."""
    # An empty variable is as good as none, and capitals don't matter.
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    given = {name: variables[variable] for name, variable in _variables().items() if variable in variables}
    _leave_foreign_home()
    try:
        return Settings(**given | {name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(each) for each in error.errors())) from None


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
    known = _variables().values()
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _variables() -> dict[str, str]:
    """Which variable sets which field: none sets what the command line alone may."""
    return {name: environment_name(name) for name, field in Settings.model_fields.items() if not field.exclude}


def environment_name(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"


def _explain(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if isinstance(error.get("ctx", {}).get("error"), NamedComplaint):
        return message
    name = str(error["loc"][0]) if error["loc"] else "settings"
    field = name if name not in Settings.model_fields else environment_name(name)
    known = field if field.isupper() else f"{PREFIX}{field.upper()}"
    # Redis and database addresses hold passwords.
    given = "" if known.endswith(("_URL", "_KEYS")) else f" (it is {error.get('input')!r})"
    return f"{known} {message[0].lower()}{message[1:]}{given}"
