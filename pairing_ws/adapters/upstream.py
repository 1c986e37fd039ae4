"""The provider that people log in with, by Authlib's client for Starlette (OpenID Connect Core, section 3.1; RFC 7636;
RFC 9207)."""

import asyncio
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from pairing_ws.adapters.documents import HEADERS, TIMEOUT_SECONDS, Documents, NoDocument
from pairing_ws.adapters.jwt.trusted_issuers import discovered
from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.core.clock import Clock
from pairing_ws.core.json_reader import read_json
from pairing_ws.upstream.ports import Challenge, ProviderAway, ProviderFailed

SCOPE = "openid profile"
# So long a discovery document is taken for the newest, and so long nobody asks again where there was none.
FRESH_MS = 600_000
ASK_MS = 5_000
MAX_CODE = 4096
# RFC 9207, section 3.
_NAMES_ITSELF = "authorization_response_iss_parameter_supported"
# Of what an error is said to be: it goes into a log and a page.
MAX_WORD = 64


class OidcProvider:
    """See `upstream.ports.Provider`. Nothing is asked before the first login."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        redirect_uri: str,
        documents: Documents,
        targets: Targets,
        clock: Clock,
    ) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._documents = documents
        self._targets = targets
        self._clock = clock
        self._known: dict[str, Any] | None = None
        self._asked_at: int | None = None
        self._asking = asyncio.Lock()

    async def authorization_url(self, challenge: Challenge) -> str:
        app = await self._app(await self._metadata())
        made = await app.create_authorization_url(
            self._redirect_uri, state=challenge.state, nonce=challenge.nonce, code_verifier=challenge.verifier
        )
        return str(made["url"])

    async def id_token(self, answer: Mapping[str, str], challenge: Challenge) -> str:
        metadata = await self._metadata()
        named = answer.get("iss")
        if named != self.issuer and (named is not None or metadata.get(_NAMES_ITSELF) is True):
            raise ProviderFailed("the answer is another issuer's")
        code = answer.get("code", "")
        if not 0 < len(code) <= MAX_CODE:
            raise ProviderFailed("the answer has no code")
        token = await self._redeemed(await self._app(metadata), code, challenge)
        if not isinstance(token, dict) or not isinstance(token.get("id_token"), str):
            raise ProviderAway("it gave no id_token")
        return str(token["id_token"])

    async def _redeemed(self, app: Any, code: str, challenge: Challenge) -> Any:
        httpx2 = import_module("httpx2")
        authlib = import_module("authlib.integrations.starlette_client")
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await app.fetch_access_token(
                    self._redirect_uri, code=code, code_verifier=challenge.verifier, grant_type="authorization_code"
                )
        except TimeoutError as error:
            raise ProviderAway(f"it did not answer within {TIMEOUT_SECONDS:g} s") from error
        except authlib.OAuthError as error:
            raise ProviderFailed(f"it refused the code: {_word(error.error)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ForbiddenTarget) as error:
            raise ProviderAway(f"it did not answer: {type(error).__name__}") from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # Whatever it sent in place of a token's JSON.
            raise ProviderAway("it answered what is no token") from error

    async def _app(self, metadata: Mapping[str, Any]) -> Any:
        # Not needed before the first login: 150 ms of a start. In a thread, where they hold up nobody.
        authlib = await asyncio.to_thread(import_module, "authlib.integrations.starlette_client")
        checked = await asyncio.to_thread(import_module, "pairing_ws.adapters.checked_transport")
        httpx2 = import_module("httpx2")
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=0)
        return authlib.StarletteOAuth2App(
            authlib.StarletteIntegration("upstream"),
            "upstream",
            client_id=self._client_id,
            client_secret=self._client_secret,
            authorize_url=metadata["authorization_endpoint"],
            access_token_url=metadata["token_endpoint"],
            client_kwargs={
                "scope": SCOPE,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": self._authentication(metadata),
                # A client's own: it is closed with each use.
                "transport": checked.CheckedTransport(self._targets, limits),
                "event_hooks": {"response": [_require_strict]},
                "headers": HEADERS,
                "timeout": TIMEOUT_SECONDS,
                "follow_redirects": False,
                "trust_env": False,
            },
        )

    def _authentication(self, metadata: Mapping[str, Any]) -> str:
        """By its default (RFC 8414, section 2), where it has that."""
        if not self._client_secret:
            return "none"
        offered = metadata.get("token_endpoint_auth_methods_supported")
        post = isinstance(offered, list) and "client_secret_post" in offered and "client_secret_basic" not in offered
        return "client_secret_post" if post else "client_secret_basic"

    async def _metadata(self) -> dict[str, Any]:
        """Raises ProviderAway."""
        if self._known is None or not self._lately(FRESH_MS):
            async with self._asking:
                if not self._lately(FRESH_MS if self._known else ASK_MS):
                    self._asked_at = self._clock()
                    self._known = await self._discovered()
        if self._known is None:
            raise ProviderAway("its discovery document is not to be had")
        return self._known

    async def _discovered(self) -> dict[str, Any]:
        try:
            found = await discovered(self.issuer, self._documents)
        except NoDocument as error:
            self._known = None
            raise ProviderAway(str(error)) from error
        for name in ("authorization_endpoint", "token_endpoint"):
            if not self._is_address(found.get(name)):
                raise ProviderAway(f"its discovery document has no {name}")
        return found

    def _is_address(self, given: object) -> bool:
        """A browser is sent there, too: never where the address is a script."""
        try:
            parts = urlsplit(given) if isinstance(given, str) else None
        except ValueError:
            return False
        return parts is not None and bool(parts.netloc) and parts.scheme in ("https", urlsplit(self.issuer).scheme)

    def _lately(self, span_ms: int) -> bool:
        return self._asked_at is not None and 0 <= self._clock() - self._asked_at < span_ms


async def _require_strict(answer: Any) -> None:
    """Authlib reads any JSON. Raises ValueError; what is a failure by its status says nothing that is read."""
    if answer.status_code < 500:
        read_json(await answer.aread())


def _word(text: object) -> str:
    """An error's word (RFC 6749, section 5.2), or what is left of it."""
    return re.sub(r"[^A-Za-z0-9_-]", "", str(text)[:MAX_WORD])
