"""OAuth's form edge: `application/x-www-form-urlencoded`, read strictly (RFC 6749, 3.1, 3.2 and appendix B)."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from pairing_ws.oauth.errors import invalid_request
from pairing_ws.web.request.body import read_raw
from pairing_ws.web.request.context import MAX_QUERY, RequestContext

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 64
# What no address may hold: it is logged on the way, and sent on as Referer (RFC 6750, section 5.3; RFC 9700, 4.3).
SECRETS = frozenset({
    "access_token", "client_assertion", "client_secret", "code", "code_verifier", "device_code", "id_token",
    "refresh_token", "token",
})  # fmt: skip
# No parameter needs any, and a database that gets NUL answers with an error of its own.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


async def read_form(request: RequestContext) -> Mapping[str, str]:
    """The parameters of the body. One without a value is as if it were not there; what nobody asks for is passed over.

    Raises OAuthError `invalid_request` for what is no such form, for a parameter that comes twice and for secrets in
    the query; TOO_LARGE and REQUEST_TIMEOUT, and ClientDisconnect.
    """
    refuse_secrets_in_query(request)
    raw = await read_raw(request)
    if raw and request.headers.first(b"content-type").partition(";")[0].strip().lower() != FORM:
        raise invalid_request(f"send the body as {FORM}")
    return parameters(raw)


def refuse_secrets_in_query(request: RequestContext) -> None:
    """Raises OAuthError `invalid_request`. What else is in the query is passed over."""
    query = request.scope["query_string"]
    if len(query) > MAX_QUERY:
        raise invalid_request(f"a query has at most {MAX_QUERY} characters")
    if query and not SECRETS.isdisjoint(parameters(query)):
        raise invalid_request("secrets are sent in the body or in a header, never in the query")


def parameters(raw: bytes) -> Mapping[str, str]:
    """Of a form's body or a query. Raises OAuthError `invalid_request`."""
    try:
        pairs = parse_qsl(
            # Anything but ASCII has to be percent-encoded UTF-8.
            raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )  # fmt: skip
    except ValueError:
        raise invalid_request(f"the parameters have to be at most {MAX_FIELDS}, percent-encoded UTF-8") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            shown = name if _NAME.fullmatch(name) else "a parameter"
            raise invalid_request(f"{shown} is given several times")
        if not value.isprintable() and _CONTROL.search(value):
            raise invalid_request("parameters have no control characters")
        form[name] = value
    return form if all(form.values()) else {name: value for name, value in form.items() if value}
