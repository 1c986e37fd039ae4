"""How a request says which client it comes from (RFC 6749, section 2.3.1; RFC 7521, section 4.2)."""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote_plus

from pairing_ws.oauth.authentication import Credentials, Method
from pairing_ws.oauth.errors import invalid_client, invalid_request
from pairing_ws.web.request.headers import RequestHeaders

# Ids and secrets of ours fit many times, and decoding takes as long as a signature where each letter is encoded.
MAX_BASIC = 2048
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def client_credentials(headers: RequestHeaders, form: Mapping[str, str]) -> Credentials:
    """Exactly one way. Raises OAuthError `invalid_request` for several, `invalid_client` for none or one that can't be
    read."""
    given = []
    client_id = form.get("client_id", "")
    authorization = headers.all(b"authorization")
    if len(authorization) > 1:
        raise invalid_request("Authorization is given several times")
    if authorization:
        basic = _basic(authorization[0])
        if client_id not in ("", basic.client_id):
            raise invalid_request("client_id is another one than in Authorization")
        given.append(basic)
    if "client_secret" in form:
        given.append(Credentials(Method.POST, client_id, form["client_secret"]))
    if "client_assertion" in form or "client_assertion_type" in form:
        if form.get("client_assertion_type") != JWT_BEARER or "client_assertion" not in form:
            raise invalid_client(f"client_assertion_type has to be {JWT_BEARER}, beside a client_assertion")
        given.append(Credentials(Method.PRIVATE_KEY_JWT, client_id, form["client_assertion"]))
    if len(given) > 1:
        raise invalid_request("a client authenticates in one way at a time")
    if given:
        return given[0]
    if not client_id:
        raise invalid_client("the client has to authenticate, or a public one to send its client_id")
    return Credentials(Method.NONE, client_id)


def _basic(authorization: str) -> Credentials:
    """Both halves are form-encoded. With an empty secret it only names a public client."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise invalid_client("of the schemes of Authorization, clients authenticate by Basic")
    if len(encoded) > MAX_BASIC:
        raise invalid_client(f"Basic has at most {MAX_BASIC} characters")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, colon, secret = (unquote_plus(part, errors="strict") for part in text.partition(":"))
    except (ValueError, binascii.Error):
        colon = ""
    if not colon:
        raise invalid_client("Basic has to hold client_id and client_secret, form-encoded")
    return Credentials(Method.BASIC if secret else Method.NONE, client_id, secret)
