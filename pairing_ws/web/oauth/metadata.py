"""Discovery: what an application learns from the issuer's address alone (RFC 8414; OpenID Connect Discovery 1.0).

One table says what each endpoint adds to the document. What is not among the calls adds nothing: nothing is named that
does not exist.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.responses import Response

from pairing_ws.oauth import scopes
from pairing_ws.oauth.authentication import Method
from pairing_ws.oauth.authorization import Prompt
from pairing_ws.oauth.types import Acr
from pairing_ws.web.call import Call
from pairing_ws.web.cors import any_origin
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse

JWKS = "/.well-known/jwks.json"
CACHED = (b"cache-control", b"public, max-age=300")
OPENID = "/.well-known/openid-configuration"
AUTHORIZATION_SERVER = "/.well-known/oauth-authorization-server"
# What id_tokens and UserInfo can say (`oauth/claims.py`, `oauth/scopes.py`).
CLAIMS = (
    "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid", "amr", "acr", "azp", "at_hash",
    "name", "preferred_username", "email", "email_verified", "groups",
)  # fmt: skip

Members = Mapping[str, Any]


class Offered(NamedTuple):
    """What the stories and adapters can do: sign id_tokens, exchange grants, take a client's assertions and proofs of a
    key, each by these algorithms."""

    signing: Sequence[str]
    grant_types: Sequence[str]
    assertions: Sequence[str]
    proofs: Sequence[str]


class Endpoint(NamedTuple):
    """`member` names its address; `more` is what else the document says where it exists."""

    path: str
    member: str
    more: Callable[[Offered], Members]


def _client_authentication(endpoint: str, methods: Collection[str]) -> Callable[[Offered], Members]:
    return lambda offered: {
        f"{endpoint}_endpoint_auth_methods_supported": list(methods),
        f"{endpoint}_endpoint_auth_signing_alg_values_supported": list(offered.assertions),
    }


ENDPOINTS = (
    Endpoint(JWKS, "jwks_uri", lambda offered: {"id_token_signing_alg_values_supported": list(offered.signing)}),
    Endpoint(
        "/oauth/authorize",
        "authorization_endpoint",
        lambda _: {
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "prompt_values_supported": [str(each) for each in Prompt],
            "acr_values_supported": [str(each) for each in Acr],
            "request_parameter_supported": False,
            # Its default is true.
            "request_uri_parameter_supported": False,
        },
    ),
    Endpoint(
        "/oauth/token",
        "token_endpoint",
        lambda offered: {
            "grant_types_supported": list(offered.grant_types),
            "dpop_signing_alg_values_supported": list(offered.proofs),
            **_client_authentication("token", list(Method))(offered),
        },
    ),
    Endpoint("/oauth/device_authorization", "device_authorization_endpoint", lambda _: {}),
    Endpoint("/oauth/userinfo", "userinfo_endpoint", lambda _: {}),
    Endpoint("/oauth/revoke", "revocation_endpoint", _client_authentication("revocation", list(Method))),
    Endpoint(
        "/oauth/introspect",
        "introspection_endpoint",
        # A public client proves nothing, so nothing is told to it.
        _client_authentication("introspection", [each for each in Method if each is not Method.NONE]),
    ),
    Endpoint("/oauth/logout", "end_session_endpoint", lambda _: {}),
)


def metadata(issuer: str, paths: Collection[str], offered: Offered) -> dict[str, Any]:
    """The document, of the server whose calls have these paths."""
    document: dict[str, Any] = {"issuer": issuer}
    for endpoint in ENDPOINTS:
        if endpoint.path in paths:
            document |= {endpoint.member: issuer + endpoint.path, **endpoint.more(offered)}
    document |= {
        "scopes_supported": list(scopes.KNOWN),
        "claims_supported": list(CLAIMS),
        "subject_types_supported": ["public"],
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
    }
    # An empty array is none (RFC 8414, section 3.2).
    return {name: value for name, value in document.items() if value not in ([], None)}


def metadata_calls(issuer: str, calls: Collection[Call], offered: Callable[[], Offered]) -> tuple[Call, ...]:
    """The calls that answer with the document, of a server with these other `calls`."""
    paths = frozenset(call.path for call in calls)

    async def discovery(_: RequestContext) -> Response:
        """Read where the endpoints are, and what they can do."""
        # Read each time: a key of another algorithm may have come.
        return JsonResponse(metadata(issuer, paths, offered()), 200, CACHED)

    return tuple(Call("GET", path, discovery, 200, origins=any_origin) for path in well_known_paths(issuer))


def well_known_paths(issuer: str) -> tuple[str, ...]:
    """Where the document is. Of an issuer with a path: behind that path (OpenID Connect Discovery, section 4.1), where
    this application is; and between host and path (RFC 8414, section 3.1), which is ours only if it is led here."""
    path = urlsplit(issuer).path.rstrip("/")
    return (OPENID, AUTHORIZATION_SERVER, *((OPENID + path, AUTHORIZATION_SERVER + path) if path else ()))
