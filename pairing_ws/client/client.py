"""The calls by name, over one connection pool; each answers, or raises Problem."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Self, TypeVar

import httpx2

from pairing_ws.client.device_key import DeviceKey
from pairing_ws.client.pauses import backoff
from pairing_ws.client.problems import UNREACHABLE, Problem
from pairing_ws.client.records import Device, Keys, NewPairing, Pairing
from pairing_ws.client.watch import watch

T = TypeVar("T")

# Longer than a long poll waits, and than a call may take where a store of the server hangs.
TIMEOUT_SECONDS = 45.0
LONG_POLL_SECONDS = 25
# The server hands the answer of a login out again for 30 s.
RETRY_SECONDS = 25.0


class Client:
    """One server, as one device. `url` is the server's public address, `https://login.example.com` or with a path.

    With `key` each session that begins is bound to it, and all calls are proved. To be entered with `async with`.
    """

    def __init__(self, url: str, key: DeviceKey | None = None, *, http: httpx2.AsyncClient | None = None) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._http = http or httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False)
        self._nonce: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def create_pairing(self, device: Device, secret: str | None = None) -> NewPairing:
        """A code for a person to scan or type. With the same `secret` (22 base64url characters or more) it may be
        repeated."""
        secret = secret or secrets.token_urlsafe(32)
        headers = {**device.headers, "Pairing-Secret": secret}
        made = await self.call("POST", "/pairings", self._with_key({"qr": "none"}), headers=headers)
        return NewPairing.read(made, secret=secret, text=made["qr"]["text"], user_code=made.get("userCode", ""))

    async def read_pairing(self, pairing: NewPairing, since: int | None = None) -> Pairing:
        """As it is now; with `since`, a version, once it is newer, or after half a minute."""
        query = "" if since is None else f"?since={since}&wait={LONG_POLL_SECONDS}"
        return Pairing.read(await self.call("GET", f"/pairings/{pairing.id}{query}", headers=_by(pairing)))

    def watch(self, pairing: NewPairing) -> AsyncGenerator[Pairing, None]:
        """The present state and each newer one until the last, by a socket, and by polling where none can be had.
        Raises Problem if it ends before the pairing does: `not_found`, `taken_over`."""
        return watch(self.url, pairing, self.read_pairing)

    async def log_in(self, pairing: NewPairing, number: str | None = None) -> Keys:
        """The keys of an approved pairing, once; lost answers are asked for again. Raises Problem `number_required`,
        and `number_mismatch` (with `attemptsLeft` in `members`)."""
        body = {"number": number} if number is not None else {}
        path = f"/pairings/{pairing.id}/login"
        return Keys.read(await retrying(lambda: self.call("POST", path, body, headers=_by(pairing), proved=True)))

    async def cancel(self, pairing: NewPairing) -> None:
        await self.call("DELETE", f"/pairings/{pairing.id}", headers=_by(pairing))

    async def accept_invite(self, code: str, device: Device) -> Keys:
        """What an invite's link has behind its `#` logs this device in, once; lost answers are asked for again."""
        headers = {**device.headers, "Pairing-Secret": secrets.token_urlsafe(32)}
        body = self._with_key({"code": code})
        return Keys.read(
            await retrying(lambda: self.call("POST", "/invites/accept", body, headers=headers, proved=True))
        )

    async def refresh(self, refresh_key: str) -> Keys:
        """The next pair of keys. The key that was given is used up as soon as a key of the answer has been used."""
        body = {"refreshKey": refresh_key}
        return Keys.read(await retrying(lambda: self.call("POST", "/sessions/refresh", body, proved=True)))

    async def me(self, auth_key: str) -> Mapping[str, Any]:
        """Which account, device and session the authKey is for."""
        return dict(await self.call("GET", "/me", auth_key=auth_key))

    async def log_out(self, auth_key: str) -> None:
        await self.call("DELETE", "/sessions/current", auth_key=auth_key)

    async def headers(self, method: str, path: str, auth_key: str) -> dict[str, str]:
        """What a call below `/api/v1` needs to be this device's, for a program that makes it itself."""
        if self.key is None:
            return {"Auth-Key": auth_key}
        if self._nonce is None:
            await self.me(auth_key)
        return {"Auth-Key": auth_key, "DPoP": self.key.proof(method, self._address(path), auth_key, self._nonce)}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        auth_key: str | None = None,
        proved: bool = False,
    ) -> Any:
        """Any call of the manual: `path` is what follows `/api/v1`. The answer's JSON, None where it has none. With
        `proved` it has a proof also without an authKey, if this device has a key. Raises Problem."""
        try:
            return await self._once(method, path, body, headers, auth_key, proved)
        except Problem as problem:
            if problem.code != "use_dpop_nonce":
                raise
        # It has told us the nonce with that.
        return await self._once(method, path, body, headers, auth_key, proved)

    async def _once(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None,
        auth_key: str | None,
        proved: bool,
    ) -> Any:
        sent = dict(headers or {})
        if auth_key is not None:
            sent["Auth-Key"] = auth_key
        if self.key and (proved or auth_key is not None):
            sent["DPoP"] = self.key.proof(method, self._address(path), auth_key, self._nonce)
        try:
            answer = await self._http.request(method, self._address(path), json=body, headers=sent)
        except httpx2.TransportError as error:
            raise Problem(UNREACHABLE, detail=f"{self.url} does not answer") from error
        self._nonce = answer.headers.get("DPoP-Nonce", self._nonce)
        if not answer.is_success:
            raise Problem.read(answer.status_code, answer.content)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise Problem("no_pairing_server", answer.status_code, f"{self.url} is no pairing server") from error

    def _address(self, path: str) -> str:
        return f"{self.url}/api/v1{path}"

    def _with_key(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "deviceKey": self.key.public} if self.key else body


async def retrying(call: Callable[[], Awaitable[T]], seconds: float = RETRY_SECONDS) -> T:
    """Repeats a call that may be repeated, while nothing but the network or a store is wrong."""
    end, failures = monotonic() + seconds, 0
    while True:
        try:
            return await call()
        except Problem as problem:
            pause = backoff(failures, problem.retry_after)
            failures += 1
            if not problem.passes or monotonic() + pause > end:
                raise
        await asyncio.sleep(pause)


def _by(pairing: NewPairing) -> dict[str, str]:
    return {"Pairing-Secret": pairing.secret}
