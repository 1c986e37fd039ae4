"""A login that lasts: keys that are kept, and exchanged for new ones before they expire."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pairing_ws.client.client import Client
from pairing_ws.client.device_key import DeviceKey
from pairing_ws.client.problems import Problem
from pairing_ws.client.records import Keys
from pairing_ws.client.storage import KeyStore, Stored

# An authKey that is given out lives at least so long, or half its life.
LEFT_SECONDS = 60.0


class NotLoggedIn(Exception):
    """There is no session, or it has ended. `reason` is the server's word for why, "" where there is none."""

    def __init__(self, url: str, reason: str = "") -> None:
        super().__init__(f"not logged in at {url}" + (f" ({reason})" if reason else ""))
        self.reason = reason


class Session:
    """The login at one server that `store` keeps. Several tasks and programs may use it at once."""

    def __init__(self, client: Client, store: KeyStore, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._renewing = asyncio.Lock()

    @classmethod
    def at(cls, url: str, store: KeyStore, clock: Callable[[], float] = time.time) -> "Session":
        """Its client has the device's key, if the login is bound to one. Raises NotLoggedIn."""
        url = url.rstrip("/")
        stored = store.load(url)
        if stored is None:
            raise NotLoggedIn(url)
        key = DeviceKey.read(stored.key) if stored.key else None
        return cls(Client(url, key), store, clock)

    @property
    def client(self) -> Client:
        return self._client

    def keep(self, keys: Keys, device_code: str) -> None:
        """A login that has just happened."""
        key = self._client.key
        self._store.save(
            self._client.url,
            Stored(
                device_code=device_code,
                auth_key=keys.auth_key,
                refresh_key=keys.refresh_key,
                expires_at=self._clock() + keys.expires_in,
                username=keys.username,
                key=key.private if key else None,
            ),
        )

    async def auth_key(self, stale: str | None = None) -> str:
        """One that lives for a while, renewed if it has to be; `stale` is one that a server has refused. Raises
        NotLoggedIn, Problem if the server can't be asked, and what the store raises."""
        stored = self._stored()
        if self._is_fresh(stored) and stored.auth_key != stale:
            return stored.auth_key
        async with self._renewing:
            # To its end: an exchanged key that was not kept would be lost.
            return await asyncio.shield(asyncio.ensure_future(self._renewed(stale)))

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """See `Client.call`; with this session's authKey, and once more with another one if that was refused."""
        auth_key = await self.auth_key()
        try:
            return await self._client.call(method, path, body, auth_key=auth_key)
        except Problem as problem:
            if problem.code != "unauthenticated":
                raise
        return await self._client.call(method, path, body, auth_key=await self.auth_key(stale=auth_key))

    async def headers(self, method: str, path: str) -> Mapping[str, str]:
        """See `Client.headers`."""
        return await self._client.headers(method, path, await self.auth_key())

    async def log_out(self) -> None:
        """End it at the server, and forget it. Raises Problem if the server can't be told, and forgets nothing then."""
        try:
            await self._client.log_out(await self.auth_key())
        except NotLoggedIn:
            pass
        except Problem as problem:
            if problem.code not in ("unauthenticated", "account_locked"):
                raise
        self._store.forget(self._client.url)

    async def _renewed(self, stale: str | None) -> str:
        lock = self._store.locked(self._client.url)
        await asyncio.to_thread(lock.__enter__)
        try:
            # Another program may have been here meanwhile.
            stored = self._stored()
            if self._is_fresh(stored) and stored.auth_key != stale:
                return stored.auth_key
            try:
                keys = await self._client.refresh(stored.refresh_key)
            except Problem as problem:
                if problem.code in ("unauthenticated", "already_refreshed"):
                    raise NotLoggedIn(self._client.url, str(problem.members.get("reason", ""))) from problem
                raise
            # Before anything of it is used, which ends the exchange's repetition.
            self._store.save(
                self._client.url,
                replace(
                    stored,
                    auth_key=keys.auth_key,
                    refresh_key=keys.refresh_key,
                    expires_at=self._clock() + keys.expires_in,
                ),
            )
            return keys.auth_key
        finally:
            lock.__exit__(None, None, None)

    def _stored(self) -> Stored:
        stored = self._store.load(self._client.url)
        if stored is None:
            raise NotLoggedIn(self._client.url)
        return stored

    def _is_fresh(self, stored: Stored) -> bool:
        return self._clock() < stored.expires_at - LEFT_SECONDS
