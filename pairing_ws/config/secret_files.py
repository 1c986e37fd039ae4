"""Secrets from files: platforms and Docker mount them, and the environment holds no more than where. Pure but for the
reading."""

from collections.abc import Mapping

from pairing_ws.config.values import SettingsError

# At the end of a variable's name: this one names a file with the value.
SUFFIX = "_FILE"
# Far above every value that is one, and below what a wrong path (a device, a log) may lead to.
_MOST_BYTES = 65_536


def read(variables: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """What the files hold that `variables` name, by field; `secrets` are the variables of the secret fields.

    Raises SettingsError, which quotes neither a file's content nor its name: somebody may have put the secret itself
    where the name should be.
    """
    found: dict[str, str] = {}
    complaints: list[str] = []
    for field, variable in secrets.items():
        file = variables.get(variable + SUFFIX)
        if file is None:
            continue
        if variable in variables:
            complaints.append(f"{variable} and {variable}{SUFFIX} are both set; unset one of them")
            continue
        try:
            found[field] = _content(file)
        except OSError as error:
            complaints.append(f"{variable}{SUFFIX} should be a file that can be read ({error.strerror})")
        except ValueError as error:
            complaints.append(f"{variable}{SUFFIX} should be a file that holds the value: {error}")
    if complaints:
        raise SettingsError("\n".join(complaints))
    return found


def _content(file: str) -> str:
    with open(file, "rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"this one has more than {_MOST_BYTES} bytes")
    try:
        # One newline, of editors and `echo`, is none of the value.
        text = content.decode().removesuffix("\n")
    except UnicodeDecodeError:
        # Its own words quote a byte of the secret.
        raise ValueError("this one is no text in UTF-8") from None
    if not text:
        raise ValueError("this one is empty")
    return text
