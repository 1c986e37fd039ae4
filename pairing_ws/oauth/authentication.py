"""Which client a request comes from, and whether it really does (RFC 6749, section 2.3; RFC 7523; OpenID Connect Core,
section 9)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pairing_ws.core import codes
from pairing_ws.core.clock import SKEW_MS, Clock
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits, SharedCounters
from pairing_ws.oauth.errors import invalid_client
from pairing_ws.oauth.known_clients import KnownClients
from pairing_ws.oauth.ports import Client, ClientAssertions, ClientStore

# How far ahead an assertion's end may lie: its `jti` is remembered as long.
MAX_ASSERTION_SECONDS = 3600
SKEW_SECONDS = SKEW_MS // 1000
MAX_CLIENT_ID = 128
# Compared with where there is no client or none with a secret, so that it takes as long.
_NOBODYS = codes.digest("")


class Method(StrEnum):
    """How a client authenticates, by the registry's names (`token_endpoint_auth_methods_supported`)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    NONE = "none"
    PRIVATE_KEY_JWT = "private_key_jwt"


class Credentials(NamedTuple):
    """What a request says of its client. `secret` is the client's secret or its signed assertion; `client_id` may be ""
    beside an assertion, which says it itself."""

    method: Method
    client_id: str
    secret: str = ""


class Authentication:
    """`audience`: what an assertion may be made for, the issuer and the token endpoint."""

    def __init__(
        self,
        clients: ClientStore,
        assertions: ClientAssertions,
        counters: SharedCounters,
        limits: Limits,
        audience: frozenset[str],
        clock: Clock,
    ) -> None:
        self._clients = KnownClients(clients, clock)
        self._assertions = assertions
        self._counters = counters
        self._limits = limits
        self._audience = audience
        self._clock = clock

    async def client(self, given: Credentials, ip: str) -> Client:
        """The client, once it is proved to be that one; a public one need only name itself.

        Raises OAuthError `invalid_client`, the same for a client that is unknown and a proof that is wrong; Refused
        RATE_LIMITED for too many requests or failures from that address, or too many of one client; and Unavailable.
        """
        await self._limits.hit("oauth", block(ip))
        client_id = given.client_id
        if given.method is Method.PRIVATE_KEY_JWT:
            client_id = self._assertions.subject(given.secret) or ""
            if given.client_id not in ("", client_id):
                raise invalid_client("client_id is another one than the assertion's")
        usable = client_id.isascii() and client_id.isprintable() and 0 < len(client_id) <= MAX_CLIENT_ID
        # Not by the address alone: one misconfigured application must not lock out those beside it.
        source = f"{block(ip)} {client_id if usable else ''}"
        await self._limits.check("client_failure", source)
        client = self._clients.lately(client_id)
        if client is None or not await self._is_proved(client, given):
            # Or it has a new secret since.
            client = await self._clients.read(client_id) if usable else None
            if client is not None and not await self._is_proved(client, given):
                client = None
        if client is None:
            codes.matches(given.secret, _NOBODYS)
            await self._limits.hit("client_failure", source)
            raise invalid_client("the client is unknown, or not authenticated as it has to be")
        if not client.is_public:
            # Anybody can name a public one.
            await self._limits.hit("client", client.id)
        return client

    async def _is_proved(self, client: Client, given: Credentials) -> bool:
        if given.method is Method.NONE:
            return client.is_public
        if given.method is Method.PRIVATE_KEY_JWT:
            return client.jwks is not None and await self._is_signed(client.id, client.jwks, given.secret)
        return client.secret_hash is not None and codes.matches(given.secret, client.secret_hash)

    async def _is_signed(self, client_id: str, jwks: Mapping[str, Any], assertion: str) -> bool:
        """RFC 7523, section 3: by the client, about itself, for us, for a short time, once."""
        claims = self._assertions.verify(assertion, jwks)
        if claims is None or claims.get("iss") != client_id or claims.get("sub") != client_id:
            return False
        audience, ends, jti = claims.get("aud"), claims["exp"], claims.get("jti")
        named = {audience} if isinstance(audience, str) else set(audience or ())
        if not self._audience & named or not isinstance(jti, str) or not 0 < len(jti) <= 256:
            return False
        now = self._clock() // 1000
        # Compared before it is reckoned with: it may be any number.
        if not now - SKEW_SECONDS < ends <= now + MAX_ASSERTION_SECONDS + SKEW_SECONDS:
            return False
        remembered_ms = round((ends - now + 2 * SKEW_SECONDS) * 1000)
        return await self._counters.mark(f"client-assertion:{codes.digest(f'{client_id} {jti}')}", remembered_ms)
