"""Which servers there are, and which of them serves a key. Here for one server; `sentinel` and `cluster` build on it.

Everything above works with nodes. A node is one server: "" where there is only one, otherwise "host:port". Valkey
speaks the same protocol.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from pairing_ws.adapters.outages import Outages, cause_of
from pairing_ws.adapters.redis.connection import Address, Login, RequestConnections, open_connection, open_transport
from pairing_ws.adapters.redis.errors import RedisError, ReplyError
from pairing_ws.config.redis_url import RedisAddress

log = structlog.get_logger()

# Seconds for one look at Sentinel or at the Cluster's nodes. It has to fit several times into a command's deadline.
REFRESH_TIMEOUT = 3.0
# Seconds for a connection that carries data.
CONNECT_TIMEOUT, REPLY_TIMEOUT = 2.0, 3.0
# Seconds for a connection that asks who serves what: there are others to ask.
SHORT_CONNECT_TIMEOUT, SHORT_REPLY_TIMEOUT = 0.5, 1.0


class Topology:
    """One server. Subclasses know of several servers; `refresh` learns which of them serves what."""

    # Whether keys live on different servers. Messages then travel by sharded pub/sub, in which a channel lives where
    # the key of the same name does.
    sharded = False

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._login = Login(
            CONNECT_TIMEOUT,
            REPLY_TIMEOUT,
            address.username,
            address.password,
            address.database,
            address.tls,
        )
        self._requests = RequestConnections(self._login_for_requests())
        self._refreshing: asyncio.Task[None] | None = None
        self._outages = Outages(
            lambda server, cause: log.warning("redis.lost", server=server, cause=cause),
            lambda server, seconds: log.warning("redis.found", server=server, after_seconds=seconds),
        )

    def _login_for_requests(self) -> Login:
        return replace(self._login, connect_timeout=SHORT_CONNECT_TIMEOUT, reply_timeout=SHORT_REPLY_TIMEOUT)

    def display_name(self, node: str) -> str:
        """The node as an operator knows it."""
        return node or self._address.name

    @property
    def nodes(self) -> set[str]:
        """Every server that has keys; empty before the first `refresh`."""
        return {""}

    @property
    def is_discovered(self) -> bool:
        """Whether `nodes` is more than empty, at less cost."""
        return True

    def node_for_key(self, key: str) -> str:
        """Which server has this key, as far as is known. Raises ClusterDown if none has."""
        return ""

    async def connect(self, node: str) -> asyncio.Transport:
        """A new connection, logged in, which the caller closes. Raises RedisError, OSError or TimeoutError.

        Nothing is tried twice. A swap that was made, and whose answer got lost, must not look like a lost race. After
        a subscription's reconnect, subscribers have to be called.
        """
        return await open_transport(self._endpoint(node), self._login)

    def _endpoint(self, node: str) -> Address:
        if not node:
            return self._address.path or self._address.hosts[0]
        host, _, port = node.rpartition(":")
        return host.strip("[]"), int(port)

    async def refresh(self) -> None:
        """Look again at which server has what; callers at the same time share one look. Raises RedisError, OSError or
        TimeoutError."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh(), name="redis-refresh")
        await asyncio.shield(self._refreshing)

    async def warnings(self, node: str) -> list[str]:
        """What an operator should know about this server. Raises as `refresh`."""
        connection = await open_connection(self._endpoint(node), self._login)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                [memory] = await connection.request(("INFO", "memory"))
        except ReplyError:
            return []  # this user may not ask
        finally:
            connection.transport.abort()
        policy = _field(memory, "maxmemory_policy")
        if policy in ("", "noeviction"):
            return []
        return [
            f"its maxmemory-policy is {policy}: when it is full it drops pairings and rate limits of others without a"
            " word; set noeviction"
        ]

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT):
                await self._discover()
        except (RedisError, OSError, TimeoutError) as error:
            self._outages.failed(self._address.name, cause_of(error))
            raise
        self._outages.works(self._address.name)

    async def _discover(self) -> None:
        """Learn which server has what. Raises as `refresh`."""

    async def aclose(self) -> None:
        """Close what it asks by; connections of callers stay."""
        if self._refreshing:
            self._refreshing.cancel()
            with suppress(BaseException):
                await self._refreshing
        self._requests.keep(())


def _field(info: Any, name: str) -> str:
    """The value of this line in INFO's answer; "" if there is none."""
    lines = (line.partition(":") for line in info.decode().splitlines())
    return next((value for field, _, value in lines if field == name), "")
