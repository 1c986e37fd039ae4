"""Our records in the shape that Authlib's grants ask for, and a request with what was looked up for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, OAuth2Payload, OAuth2Request, TokenMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE, DeviceCredentialMixin

from pairing_ws.oauth.ports import AuthorizationCode, Client, DeviceGrant, Grant
from pairing_ws.oauth.types import TokenRequest
from pairing_ws.pairing.machine import Pairing, Status

# Authlib refuses plain http in what it takes for the request's address; which addresses there may be, the settings say.
_ADDRESS = "https://localhost"


class ShownToken(NamedTuple):
    """A token that a client wants to have revoked or described: which grant it is of, and what may be told of it.
    `active`: whether it counts for anything now."""

    grant: Grant
    described: Mapping[str, Any]
    active: bool


class ClientRecord(ClientMixin):
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


class CodeRecord(AuthorizationCodeMixin):
    # The one method that authorization requests may name.
    code_challenge_method = "S256"

    def __init__(self, code: AuthorizationCode) -> None:
        self.record = code
        self.code_challenge = code.code_challenge

    def get_redirect_uri(self) -> str:
        return self.record.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.record.scopes)


class DeviceCodeRecord(DeviceCredentialMixin):
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


class RefreshTokenRecord(TokenMixin):
    def __init__(self, grant: Grant) -> None:
        self.record = grant

    def check_client(self, client: ClientRecord) -> bool:
        return self.record.client_id == client.record.id

    def get_scope(self) -> str:
        return " ".join(self.record.scopes)


class ShownTokenRecord(TokenMixin):
    def __init__(self, shown: ShownToken) -> None:
        self.record = shown

    def check_client(self, client: ClientRecord) -> bool:
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


class ProtocolRequest(OAuth2Request):
    """`found` is what was looked up for it: a code, a device authorization, a refresh token, a token that is shown, or
    nothing."""

    def __init__(self, request: TokenRequest, found: Any) -> None:
        super().__init__("POST", _ADDRESS)
        self.payload = _Payload(request.form)
        self.client = ClientRecord(request.client)
        self.auth_method = request.method.value
        self.found = found
        self.revoked = False

    @property
    def form(self) -> Mapping[str, str]:
        return self.payload.data
