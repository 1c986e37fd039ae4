"""Authlib as the protocol's core: it reads a request and judges it by the RFCs; it changes and keeps nothing.

Its grants are synchronous and ask for records as they go. So what a request can need is looked up before, and is handed
over with it; what Authlib would store or sign is taken as an intent, for the story to carry out. Clients have been
authenticated before (`authentication`): Authlib knows neither assertions nor a failed look-up.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from authlib.oauth2.rfc6749 import (
    AuthorizationCodeMixin,
    AuthorizationServer,
    ClientMixin,
    OAuth2Payload,
    OAuth2Request,
    TokenMixin,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import (
    DEVICE_CODE_GRANT_TYPE,
    DeviceCodeGrant,
    DeviceCredentialMixin,
)

from pairing_ws.oauth.errors import OAuthError
from pairing_ws.oauth.ports import AuthorizationCode, Client, DeviceGrant, Grant
from pairing_ws.oauth.types import TokenRequest
from pairing_ws.pairing.machine import Pairing, Status

DEVICE_CODE = DEVICE_CODE_GRANT_TYPE
# Authlib refuses plain http in what it takes for the request's address; which addresses there may be, the settings say.
_ADDRESS = "https://localhost"


class ShownToken(NamedTuple):
    """A token that a client wants to have revoked or described: which grant it is of, and what may be told of it.
    `active`: whether it counts for anything now."""

    grant: Grant
    described: Mapping[str, Any]
    active: bool


class _Client(ClientMixin):
    def __init__(self, client: Client) -> None:
        self.record = client

    def get_client_id(self) -> str:
        return self.record.id

    def check_grant_type(self, grant_type: str) -> bool:
        if grant_type == AuthorizationCodeGrant.GRANT_TYPE:
            return bool(self.record.redirect_uris)
        if grant_type == DEVICE_CODE_GRANT_TYPE:
            return self.record.device_grant is not DeviceGrant.OFF
        return grant_type == RefreshTokenGrant.GRANT_TYPE

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        # `authentication` has seen to it.
        return True


class _Code(AuthorizationCodeMixin):
    # The one method that authorization requests may name.
    code_challenge_method = "S256"

    def __init__(self, code: AuthorizationCode) -> None:
        self.record = code
        self.code_challenge = code.code_challenge

    def get_redirect_uri(self) -> str:
        return self.record.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.record.scopes)


class _DeviceCode(DeviceCredentialMixin):
    def __init__(self, pairing: Pairing) -> None:
        self.record = pairing
        assert pairing.client
        self.client = pairing.client

    def get_client_id(self) -> str:
        return self.client.id

    def get_scope(self) -> str:
        return " ".join(self.client.scopes)

    def get_user_code(self) -> str:
        # It names the record to `query_user_grant`, which has it already.
        return self.record.id

    def is_expired(self) -> bool:
        return self.record.status in (Status.EXPIRED, Status.CANCELLED)


class _RefreshToken(TokenMixin):
    def __init__(self, grant: Grant) -> None:
        self.record = grant

    def check_client(self, client: _Client) -> bool:
        return self.record.client_id == client.record.id

    def get_scope(self) -> str:
        return " ".join(self.record.scopes)


class _ShownToken(TokenMixin):
    def __init__(self, shown: ShownToken) -> None:
        self.record = shown

    def check_client(self, client: _Client) -> bool:
        return self.record.grant.client_id == client.record.id

    def is_expired(self) -> bool:
        return not self.record.active

    def is_revoked(self) -> bool:
        return not self.record.active


class _Payload(OAuth2Payload):
    def __init__(self, form: Mapping[str, str]) -> None:
        self._form = form

    @property
    def data(self) -> Mapping[str, str]:
        return self._form

    @property
    def datalist(self) -> Mapping[str, list[str]]:
        # The edge has refused what comes twice.
        return {name: [value] for name, value in self._form.items()}


class _Request(OAuth2Request):
    """`found` is what was looked up for it: a code, a device authorization, a refresh token, a token that is shown, or
    nothing."""

    def __init__(self, request: TokenRequest, found: Any) -> None:
        super().__init__("POST", _ADDRESS)
        self.payload = _Payload(request.form)
        self.client = _Client(request.client)
        self.auth_method = request.method.value
        self.found = found
        self.revoked = False

    @property
    def form(self) -> Mapping[str, str]:
        return self.payload.data


class _Intent:
    """What a grant has in common: it makes no token, it says for which scopes one is to be made."""

    request: _Request

    def generate_token(self, user: Any = None, scope: str = "", **_: Any) -> dict[str, Any]:
        return {"scope": scope}

    def save_token(self, token: Mapping[str, Any]) -> None:
        pass


class _CodeGrant(_Intent, AuthorizationCodeGrant):
    def query_authorization_code(self, code: str, client: _Client) -> _Code | None:
        found = self.request.found
        return found if found is not None and found.record.client_id == client.record.id else None

    def authenticate_user(self, authorization_code: _Code) -> str:
        return authorization_code.record.user_id

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        # That it counts once is `GrantStore.begin`'s work.
        pass


class _RefreshGrant(_Intent, RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _RefreshToken | None:
        return self.request.found

    def authenticate_user(self, refresh_token: _RefreshToken) -> str:
        return refresh_token.record.user.id

    def revoke_old_credential(self, refresh_token: _RefreshToken) -> None:
        # `GrantStore.rotate` does.
        pass


class _DeviceGrant(_Intent, DeviceCodeGrant):
    def query_device_credential(self, device_code: str) -> _DeviceCode:
        return self.request.found

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        pairing = self.request.found.record
        decided = pairing.status not in (Status.PENDING, Status.SCANNED)
        return (pairing.id, pairing.status is not Status.DENIED) if decided else None

    def should_slow_down(self, credential: _DeviceCode) -> bool:
        # Polls that come too early have been counted before.
        return False


class _Revocation(RevocationEndpoint):
    def check_params(self, request: _Request, client: _Client) -> None:
        # A hint that is not known is passed over (RFC 7009, section 2.2.1); Authlib would refuse it.
        _require_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> _ShownToken | None:
        raise NotImplementedError

    def authenticate_token(self, request: _Request, client: _Client) -> _ShownToken | None:
        self.check_params(request, client)
        if request.found is not None and not request.found.check_client(client):
            raise OAuthError("invalid_grant", "the token was issued to another client")
        return request.found

    def revoke_token(self, token: _ShownToken, request: _Request) -> None:
        request.revoked = True


class _Introspection(IntrospectionEndpoint):
    def authenticate_token(self, request: _Request, client: _Client) -> _ShownToken | None:
        # Any hint will do (RFC 7662, section 2.1).
        _require_token(request)
        found = request.found
        return found if found is not None and self.check_permission(found, client, request) else None

    def check_permission(self, token: _ShownToken, client: _Client, request: _Request) -> bool:
        """Its own tokens, and those that are meant for it as a resource server."""
        audience = token.record.described.get("aud")
        return token.check_client(client) or audience in (client.record.id, client.record.audience or client.record.id)

    def introspect_token(self, token: _ShownToken) -> dict[str, Any]:
        return dict(token.record.described)


class _Server(AuthorizationServer):
    """Answers are (status, body): the edge makes the rest of them."""

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def authenticate_client(self, request: _Request, methods: Any, endpoint: str = "token") -> _Client:
        return request.client

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        pass

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, dict[str, Any]]:
        return status, dict(body)


_server = _Server()
_server.register_grant(_CodeGrant, [CodeChallenge(required=True)])
_server.register_grant(_RefreshGrant)
_server.register_grant(_DeviceGrant)
_server.register_endpoint(_Revocation)
_server.register_endpoint(_Introspection)


def redeem(request: TokenRequest, code: AuthorizationCode | None) -> tuple[str, ...]:
    """The scopes that this code, if the client may have it, was issued for. Raises OAuthError."""
    return _scopes(_Request(request, code and _Code(code)))


def redeem_device(request: TokenRequest, pairing: Pairing) -> tuple[str, ...]:
    """The scopes that this device authorization, the client's own, was approved for. Raises OAuthError, also while
    nobody has decided."""
    return _scopes(_Request(request, _DeviceCode(pairing)))


def refresh(request: TokenRequest, grant: Grant | None) -> tuple[str, ...]:
    """The scopes for the new access token: the grant's, or the fewer ones that were asked for. Raises OAuthError."""
    return _scopes(_Request(request, grant and _RefreshToken(grant)))


def revokes(request: TokenRequest, token: ShownToken | None) -> bool:
    """Whether the token's grant is to end; an unknown one is not, and is no error (RFC 7009, section 2.2). Raises
    OAuthError."""
    asked = _Request(request, token and _ShownToken(token))
    _body(_server.create_endpoint_response(_Revocation.ENDPOINT_NAME, asked))
    return asked.revoked


def describe(request: TokenRequest, token: ShownToken | None) -> dict[str, Any]:
    """The answer of introspection (RFC 7662, section 2.2). Raises OAuthError."""
    asked = _Request(request, token and _ShownToken(token))
    return _body(_server.create_endpoint_response(_Introspection.ENDPOINT_NAME, asked))


def _require_token(request: _Request) -> None:
    if "token" not in request.form:
        raise OAuthError("invalid_request", "token is missing")


def _scopes(request: _Request) -> tuple[str, ...]:
    return tuple(_body(_server.create_token_response(request))["scope"].split())


def _body(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, body = answer
    if "error" in body:
        raise OAuthError(body["error"], body.get("error_description", ""), status=status)
    return body
