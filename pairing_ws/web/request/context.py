"""The context of one request: which client sent it, from where, and what credentials it holds."""

from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.core import codes
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import is_in
from pairing_ws.pairing.types import ByKey, BySecret, Holder
from pairing_ws.web.paths import path_of
from pairing_ws.web.request import cookies, device_headers
from pairing_ws.web.request.client_address import client_address, normalized_peer
from pairing_ws.web.request.headers import RequestHeaders
from pairing_ws.web.services import Services
from pairing_ws.web.wire.requests import DeviceKey

# Of a query string, of which no call needs more than two short numbers.
MAX_QUERY = 1024
MAX_QUERY_FIELDS = 16


class RequestContext:
    """One HTTP request or WebSocket handshake, and the services that answer it.

    Every property and method reads what the client sent, when it is asked: nothing is checked before. They raise
    Refused, whose code is the problem document's: BAD_REQUEST for what is malformed or contradicts itself,
    UNAUTHENTICATED for a credential that is missing, unknown, expired or of the wrong kind; with a key-bound session
    also INVALID_PROOF and USE_DPOP_NONCE; and UNAVAILABLE if a store does not answer.

    `receive` is ASGI's. `proof` is a DPoP proof from a socket's first message, which takes the place of the header.
    `signed_by` is the id of the key that had signed the authKey, "" before there was one. `has_key` says whether the
    device has shown a key of its own: it then needs a nonce for its next proof.
    """

    def __init__(self, scope: Scope, receive: Receive, headers: RequestHeaders, services: Services) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = headers
        self.services = services
        self.proof: str | None = None
        self.signed_by = ""
        self.has_key = False
        self._ip: str | None = None

    # Where it goes, and where it comes from

    @property
    def id(self) -> str:
        """The id in the path: 1 to 64 letters of base64url. Only for calls whose path has one."""
        return str(self.scope["path_params"]["id"])

    def query(self, name: str) -> str | None:
        """The value of that name in the query string; None if there is none. Raises BAD_REQUEST for several."""
        query: bytes = self.scope["query_string"]
        if not query:
            return None
        if len(query) > MAX_QUERY or query.count(b"&") >= MAX_QUERY_FIELDS:
            raise Refused(Code.BAD_REQUEST, f"a query has at most {MAX_QUERY_FIELDS} fields and {MAX_QUERY} characters")
        found = [value for each, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if each == name]
        if len(found) > 1:
            raise Refused(Code.BAD_REQUEST, f"{name} can be given once")
        return found[0] if found else None

    @property
    def ip(self) -> str:
        """The client's address, as `client_address` finds it; "" if nobody names it."""
        if self._ip is None:
            self._ip = client_address(self._peer, self.headers, self.services.proxies)
        return self._ip

    @property
    def by_named_proxy(self) -> bool:
        """Whether the peer is one of `PAIRING_TRUSTED_PROXIES`, so that what it forwards counts."""
        return is_in(self._peer, self.services.proxies)

    @property
    def access_control_ip(self) -> str:
        """The address that decides about what is open to private peers. "" where an undeclared proxy is in between: it
        may speak for any client."""
        if not self.headers.forwarded:
            return self._peer
        return self.ip if is_in(self._peer, self.services.proxies) else ""

    @property
    def _peer(self) -> str:
        client = self.scope.get("client")
        return normalized_peer(client[0]) if client else ""

    # Credentials

    @property
    def auth_key(self) -> str | None:
        """From `Auth-Key`, or `Authorization: Bearer` or `DPoP`. Several at once have to be equal."""
        given = self.headers.all(b"auth-key")
        for value in self.headers.all(b"authorization"):
            scheme, _, rest = value.partition(" ")
            if scheme.lower() not in ("bearer", "dpop"):
                raise unauthenticated()
            given.append(rest.strip())
        if len(given) > 1 and len(set(given)) > 1:
            raise Refused(Code.BAD_REQUEST, "two different credentials at once")
        return given[0] if given else None

    @property
    def secret(self) -> str | None:
        """`Pairing-Secret`. Several at once have to be equal."""
        given = self.headers.all(b"pairing-secret")
        if len(set(given)) > 1:
            raise Refused(Code.BAD_REQUEST, "two different secrets at once")
        return given[0] if given else None

    def credentials(self) -> tuple[str | None, str | None]:
        """(authKey, secret), of which at most one is not None. Neither has been looked up."""
        auth_key, secret = self.auth_key, self.secret
        if auth_key is not None and secret is not None:
            raise Refused(Code.BAD_REQUEST, "both Auth-Key and Pairing-Secret; send one")
        return auth_key, secret

    async def session(self) -> Session:
        """The session of the authKey."""
        auth_key, _ = self.credentials()
        if auth_key is None:
            raise unauthenticated()
        return await self.authenticate(auth_key)

    async def authenticate(self, auth_key: str) -> Session:
        """See `Sessions.authenticate`. `Authorization: DPoP` is for key-bound sessions only (RFC 9449, 7.1)."""
        session = await self.services.accounts.sessions.authenticate(auth_key, self.prove)
        if session.key_thumbprint is None and any(
            value.lower().startswith("dpop ") for value in self.headers.all(b"authorization")
        ):
            raise unauthenticated()
        self.signed_by = session.signed_by
        return session

    async def prove(self, key_thumbprint: str, auth_key: str | None = None) -> None:
        """See `ports.Prove`. A socket's handshake is a GET of its address, written with http(s)."""
        self.has_key = True
        method = self.scope.get("method", "GET")
        proofs = self.headers.all(b"dpop") if self.proof is None else [self.proof]
        await self.services.proofs.verify(proofs, method, path_of(self.scope), key_thumbprint, auth_key)

    # Who acts, in the words of the pairing story

    async def by_key(self) -> ByKey:
        """A logged-in device, by its authKey."""
        return self.as_approver(await self.session())

    def as_approver(self, session: Session) -> ByKey:
        approver = Approver(user_id=session.user.id, session_id=session.id, device_id=session.device.id, ip=self.ip)
        return ByKey(
            approver,
            lambda: self.services.accounts.devices.refuse_quarantined(session),
            lambda: self.services.step_ups.require(session),
        )

    def by_secret(self) -> BySecret:
        """A new device, by its pairing secret."""
        auth_key, secret = self.credentials()
        if secret is None or auth_key is not None:
            raise unauthenticated()
        return BySecret(secret)

    async def holder(self) -> Holder:
        """Either of the two."""
        auth_key, secret = self.credentials()
        if auth_key is not None:
            return self.as_approver(await self.authenticate(auth_key))
        if secret is None:
            raise unauthenticated()
        return BySecret(secret)

    async def claimant(self, device_key: DeviceKey | None) -> tuple[NewDevice | ByKey, str | None]:
        """The device that creates or claims: a logged-in one by its authKey, else a new one by its headers.

        The second value is the secret that a new device chose itself; None if the server has to make one.
        """
        auth_key, secret = self.credentials()
        if auth_key is not None:
            if device_key is not None:
                raise Refused(Code.BAD_REQUEST, "a deviceKey is for a device that is not logged in")
            return self.as_approver(await self.authenticate(auth_key)), None
        if secret is not None and not codes.is_secret(secret):
            raise Refused(Code.BAD_REQUEST, codes.SHAPE_OF_SECRETS)
        return self.device(device_key), secret

    # The device that sent it

    def device(self, key: DeviceKey | None, ip: str | None = None) -> NewDevice:
        """The new device by its headers, at this address or, without one, at the client's. Raises
        DEVICE_HEADERS_REQUIRED, and BAD_REQUEST for what can't be kept."""
        return self.introduced_device(self._thumbprint(key) if key else "", ip)

    def introduced_device(self, key_thumbprint: str, ip: str | None = None) -> NewDevice:
        """The same, of a device that has shown that key; "" for none."""
        plain_http = self.services.settings.allow_private_targets
        at = self.ip if ip is None else ip
        return device_headers.new_device(self.headers, at, key_thumbprint, plain_http=plain_http)

    def device_code(self) -> str | None:
        return device_headers.device_code(self.headers)

    def _thumbprint(self, key: DeviceKey) -> str:
        self.has_key = True
        try:
            return self.services.proofs.thumbprint(msgspec.structs.asdict(key))
        except ValueError:
            raise Refused(Code.BAD_REQUEST, "deviceKey is no public key on P-256") from None

    # The refreshKey's cookie

    @property
    def refresh_cookies(self) -> tuple[str, ...]:
        return cookies.refresh_cookies(self.headers)

    def demand_own_origin(self) -> None:
        """A cookie came with the request. Raises FOREIGN_ORIGIN unless `Origin` is exactly an allowed one."""
        if self.headers.origin not in self.services.settings.allowed_origins:
            raise Refused(Code.FOREIGN_ORIGIN, "with the cookie, Origin has to be this site's own")
