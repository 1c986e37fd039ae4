"""The endpoints that applications call without a browser: tokens are issued, shown, revoked and described."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from pairing_ws.core.labels import label
from pairing_ws.oauth.errors import Error, OAuthError, invalid_request
from pairing_ws.oauth.types import TokenRequest, TokenSet
from pairing_ws.web.oauth.client_credentials import client_credentials
from pairing_ws.web.oauth.errors import NO_STORE
from pairing_ws.web.oauth.forms import read_form, refuse_secrets_in_query
from pairing_ws.web.oauth.proofs import proven_key
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse


async def token(request: RequestContext) -> Response:
    """Exchange a code, a device code, a refresh token or another issuer's token for tokens (RFC 6749, section 3.2)."""
    services = request.services
    issued = await services.oauth.tokens.exchange(await authenticated(request))
    return _json(_issued(issued, services.clock()))


async def device_authorization(request: RequestContext) -> Response:
    """Begin the consent of a device without a browser (RFC 8628, section 3.1)."""
    asked = await authenticated(request)
    begun = await request.services.oauth.device_grants.authorize(asked, label(request.headers.first(b"user-agent")))
    return _json({name: value for name, value in msgspec.structs.asdict(begun).items() if value is not None})


async def user_info(request: RequestContext) -> Response:
    """Who the token's person is, as far as its scopes go (OpenID Connect Core, section 5.3)."""
    scheme, access_token = await _access_token(request)
    shown_tokens = request.services.oauth.shown_tokens
    told = await shown_tokens.user_info(access_token, scheme, request.ip, proven_key(request, status=401))
    return _json(told)


async def revoke(request: RequestContext) -> Response:
    """End what a token is part of (RFC 7009)."""
    await request.services.oauth.shown_tokens.revoke(await authenticated(request))
    response = Response(status_code=200)
    response.raw_headers.extend(NO_STORE)
    return response


async def introspect(request: RequestContext) -> Response:
    """Whether a token counts, and for what (RFC 7662)."""
    return _json(await request.services.oauth.shown_tokens.introspect(await authenticated(request)))


async def authenticated(request: RequestContext) -> TokenRequest:
    """The request's form, by a client that has proved who it is. Raises OAuthError, Refused RATE_LIMITED."""
    form = await read_form(request)
    credentials = client_credentials(request.headers, form)
    client = await request.services.oauth.authentication.client(credentials, request.ip)
    proven = proven_key(request)
    return TokenRequest(form, client, credentials.method, request.ip, proven, request.introduced_device)


async def _access_token(request: RequestContext) -> tuple[str, str]:
    """Scheme and token, from exactly one place (RFC 6750, section 2)."""
    authorization = request.headers.all(b"authorization")
    form: Mapping[str, str] = {}
    if request.scope["method"] == "POST":
        form = await read_form(request)
    else:
        refuse_secrets_in_query(request)
    in_body = form.get("access_token")
    if len(authorization) + (in_body is not None) > 1:
        raise invalid_request("the access token is sent in one place")
    if in_body is not None:
        return "bearer", in_body
    scheme, _, access_token = authorization[0].partition(" ") if authorization else ("", "", "")
    if scheme.lower() not in ("bearer", "dpop") or not access_token.strip():
        raise OAuthError(Error.INVALID_TOKEN, "an access token is needed", status=401, challenge="none")
    return scheme.lower(), access_token.strip()


def _issued(issued: TokenSet, now: int) -> Mapping[str, Any]:
    """RFC 6749, section 5.1; OpenID Connect Core, section 3.1.3.3; RFC 8693, section 2.2.1."""
    answer: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": issued.token_type,
        "expires_in": max(0, (issued.expires_at - now) // 1000),
        "refresh_token": issued.refresh_token,
        "scope": issued.scope or None,
        "id_token": issued.id_token,
        "issued_token_type": issued.issued_token_type,
    }
    return {name: value for name, value in answer.items() if value is not None}


def _json(content: Mapping[str, Any]) -> Response:
    return JsonResponse(content, 200, *NO_STORE)
