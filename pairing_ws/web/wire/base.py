"""What the types of the wire have in common."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Json(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """camelCase on the wire; a field at its default is left out."""


# Formats. Each field that has one adds its own description.
Text = Annotated[str, Meta(max_length=256)]
LongText = Annotated[str, Meta(max_length=4096)]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-03-01T12:00:00.000Z"])]
KeysIn = Annotated[
    Literal["body", "cookie"],
    Meta(
        description="where the refreshKey goes: into the `body`, or into an HttpOnly `cookie` that only"
        " `/api/v1/sessions` receives; refresh and logout by cookie need an allowed `Origin`"
    ),
]
