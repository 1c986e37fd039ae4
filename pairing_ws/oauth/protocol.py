"""Authlib as the protocol's core: it reads a request and judges it by the RFCs; it changes and keeps nothing.

Its grants are synchronous and ask for records as they go. So what a request can need is looked up before, and is handed
over with it; what Authlib would store or sign is taken as an intent, for the story to carry out. Clients have been
authenticated before (`authentication`): Authlib knows neither assertions nor a failed look-up.
"""

from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE, DeviceCodeGrant

from pairing_ws.oauth.errors import OAuthError, invalid_grant
from pairing_ws.oauth.ports import AuthorizationCode, Grant
from pairing_ws.oauth.protocol_records import (
    ClientRecord,
    CodeRecord,
    DeviceCodeRecord,
    ProtocolRequest,
    RefreshTokenRecord,
    ShownToken,
    ShownTokenRecord,
)
from pairing_ws.oauth.types import TokenRequest
from pairing_ws.pairing.machine import Pairing, Status

DEVICE_CODE = DEVICE_CODE_GRANT_TYPE


class _Intent:
    """What a grant has in common: it makes no token, it says for which scopes one is to be made."""

    request: ProtocolRequest

    def generate_token(self, user: Any = None, scope: str = "", **_: Any) -> dict[str, Any]:
        return {"scope": scope}

    def save_token(self, token: Mapping[str, Any]) -> None:
        pass


class _CodeGrant(_Intent, AuthorizationCodeGrant):
    def query_authorization_code(self, code: str, client: ClientRecord) -> CodeRecord | None:
        found = self.request.found
        return found if found is not None and found.record.client_id == client.record.id else None

    def authenticate_user(self, authorization_code: CodeRecord) -> str:
        return authorization_code.record.user_id

    def delete_authorization_code(self, authorization_code: CodeRecord) -> None:
        # That it counts once is `GrantStore.begin`'s work.
        pass


class _RefreshGrant(_Intent, RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshTokenRecord:
        found = self.request.found
        if found is None or not found.check_client(self.request.client):
            # Authlib would refuse it without a word of why.
            raise invalid_grant("the refresh token is unknown, or was issued to another client")
        return found

    def authenticate_user(self, refresh_token: RefreshTokenRecord) -> str:
        return refresh_token.record.user.id

    def revoke_old_credential(self, refresh_token: RefreshTokenRecord) -> None:
        # `GrantStore.rotate` does.
        pass


class _DeviceGrant(_Intent, DeviceCodeGrant):
    def query_device_credential(self, device_code: str) -> DeviceCodeRecord:
        return self.request.found

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        pairing = self.request.found.record
        decided = pairing.status not in (Status.PENDING, Status.SCANNED)
        return (pairing.id, pairing.status is not Status.DENIED) if decided else None

    def should_slow_down(self, credential: DeviceCodeRecord) -> bool:
        # Polls that come too early have been counted before.
        return False


class _Revocation(RevocationEndpoint):
    def check_params(self, request: ProtocolRequest, client: ClientRecord) -> None:
        # A hint that is not known is passed over (RFC 7009, section 2.2.1); Authlib would refuse it.
        _require_token(request)

    def query_token(self, token_string: str, token_type_hint: str | None) -> ShownTokenRecord | None:
        raise NotImplementedError

    def authenticate_token(self, request: ProtocolRequest, client: ClientRecord) -> ShownTokenRecord | None:
        self.check_params(request, client)
        if request.found is not None and not request.found.check_client(client):
            raise OAuthError("invalid_grant", "the token was issued to another client")
        return request.found

    def revoke_token(self, token: ShownTokenRecord, request: ProtocolRequest) -> None:
        request.revoked = True


class _Introspection(IntrospectionEndpoint):
    def authenticate_token(self, request: ProtocolRequest, client: ClientRecord) -> ShownTokenRecord | None:
        # Any hint will do (RFC 7662, section 2.1).
        _require_token(request)
        found = request.found
        return found if found is not None and self.check_permission(found, client, request) else None

    def check_permission(self, token: ShownTokenRecord, client: ClientRecord, request: ProtocolRequest) -> bool:
        """Its own tokens, and those that are meant for it as a resource server."""
        audience = token.record.described.get("aud")
        return token.check_client(client) or audience in (client.record.id, client.record.audience or client.record.id)

    def introspect_token(self, token: ShownTokenRecord) -> dict[str, Any]:
        return dict(token.record.described)


class _Server(AuthorizationServer):
    """Answers are (status, body): the edge makes the rest of them."""

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        return request

    def authenticate_client(self, request: ProtocolRequest, methods: Any, endpoint: str = "token") -> ClientRecord:
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
    return _scopes(ProtocolRequest(request, code and CodeRecord(code)))


def redeem_device(request: TokenRequest, pairing: Pairing) -> tuple[str, ...]:
    """The scopes that this device authorization, the client's own, was approved for. Raises OAuthError, also while
    nobody has decided."""
    return _scopes(ProtocolRequest(request, DeviceCodeRecord(pairing)))


def refresh(request: TokenRequest, grant: Grant | None) -> tuple[str, ...]:
    """The scopes for the new access token: the grant's, or the fewer ones that were asked for. Raises OAuthError."""
    return _scopes(ProtocolRequest(request, grant and RefreshTokenRecord(grant)))


def revokes(request: TokenRequest, token: ShownToken | None) -> bool:
    """Whether the token's grant is to end; an unknown one is not, and is no error (RFC 7009, section 2.2). Raises
    OAuthError."""
    asked = ProtocolRequest(request, token and ShownTokenRecord(token))
    _body(_server.create_endpoint_response(_Revocation.ENDPOINT_NAME, asked))
    return asked.revoked


def describe(request: TokenRequest, token: ShownToken | None) -> dict[str, Any]:
    """The answer of introspection (RFC 7662, section 2.2). Raises OAuthError."""
    asked = ProtocolRequest(request, token and ShownTokenRecord(token))
    return _body(_server.create_endpoint_response(_Introspection.ENDPOINT_NAME, asked))


def _require_token(request: ProtocolRequest) -> None:
    if "token" not in request.form:
        raise OAuthError("invalid_request", "token is missing")


def _scopes(request: ProtocolRequest) -> tuple[str, ...]:
    return tuple(_body(_server.create_token_response(request))["scope"].split())


def _body(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, body = answer
    if "error" in body:
        raise OAuthError(body["error"], body.get("error_description", ""), status=status)
    return body
