"""How Redis is reached: one server, the master that Sentinel names, or a Cluster; and which of them is asked for a key.

Everything above works with homes: a home is one server, "" or "host:port". Valkey speaks the same protocol.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from redis.asyncio import ConnectionPool, Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig
from redis.utils import str_if_bytes

from pairing_ws.adapters.outages import Outages, cause_of
from pairing_ws.config.redis_url import NOT_STRICT, TLS_OPTIONS, RedisAddress

log = structlog.get_logger()

# One look at Sentinel or the Cluster's nodes; it has to fit several times into a command's patience.
FIND_SECONDS = 3.0


# What redis-py raises where nodes or slots are missing: not all of it is a RedisError.
_NO_MAP = (RedisError, RedisClusterException, LookupError)


class Servers:
    """One server. Subclasses know of several, of which `find` learns who serves what; `home` then tells."""

    # Whether each key has a home of its own. Rings then travel by sharded pub/sub, in which a channel lives where the
    # key of the same name does.
    sharded = False

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._clients: dict[str, Redis] = {}
        self._finding: asyncio.Task[None] | None = None
        self._outages = Outages(
            lambda server, cause: log.warning("redis.lost", server=server, cause=cause),
            lambda server, seconds: log.warning("redis.found", server=server, after_seconds=seconds),
        )

    def name(self, home: str) -> str:
        """The home as an operator knows it."""
        return home or self._address.name

    @property
    def homes(self) -> set[str]:
        """Every server that keys have their home at; empty before the first `refresh`."""
        return {""}

    @property
    def found(self) -> bool:
        """Whether `homes` is more than empty, at less cost."""
        return True

    def home(self, key: str) -> str:
        """Who serves this key, as far as is known. Raises RedisError if nobody does."""
        return ""

    async def open(self, home: str) -> Connection:
        """A new connection, which the caller closes. Nothing is tried twice: a swap that was made, and whose answer got
        lost, must not look like a lost race, and after a subscription's reconnect somebody has to be woken."""
        connection: Connection = self._client(home).connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, RuntimeError):
                # uvloop's word for one that was closed while it was greeted.
                raise RedisConnectionError(str(error)) from error
            raise
        return connection

    def _client(self, home: str) -> Redis:
        if home not in self._clients:
            self._clients[home] = self._connect(home, retry=Retry(NoBackoff(), 0), socket_timeout=3)
        return self._clients[home]

    async def refresh(self) -> None:
        """Look again at who serves what; many who ask at once share one look. Raises RedisError, OSError or
        TimeoutError."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._look(), name="redis-find")
        await asyncio.shield(self._finding)

    async def warnings(self, home: str) -> list[str]:
        """What its operator should know about this server. Raises as `refresh`."""
        try:
            memory = await self._client(home).info("memory")
        except ResponseError:
            return []  # this user may not ask
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy == "noeviction":
            return []
        return [
            f"its maxmemory-policy is {policy}: when it is full it drops pairings and rate limits of others without a"
            " word; set noeviction"
        ]

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(FIND_SECONDS):
                await self._find()
        except (*_NO_MAP, OSError, TimeoutError) as error:
            self._outages.failed(self._address.name, cause_of(error))
            raise
        self._outages.works(self._address.name)
        for home in self._clients.keys() - self.homes:
            await self._clients.pop(home).aclose()

    async def _find(self) -> None:
        """Learn who serves what."""

    async def aclose(self) -> None:
        if self._finding:
            self._finding.cancel()
            with suppress(BaseException):
                await self._finding
        for client in self._clients.values():
            await client.aclose()

    def _connect(self, home: str, **options: Any) -> Redis:
        options = self._address.options | options
        if home:
            host, _, port = home.rpartition(":")
            options |= {"host": host.strip("[]"), "port": int(port)}
        # With maintenance notifications, redis-py takes a connection that the server has closed for a good one.
        quiet = MaintNotificationsConfig(enabled=False)
        pool = ConnectionPool(socket_connect_timeout=2, maint_notifications_config=quiet, **options)
        return Redis.from_pool(pool)


class SentinelServers(Servers):
    """The master that Sentinel names. After a failover it has another home."""

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(address)
        self._master = ""
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            address.hosts,
            sentinel_kwargs={
                "socket_timeout": 1,
                "socket_connect_timeout": 0.5,
                "retry": Retry(NoBackoff(), 0),
                **_tls(address),
                **address.sentinel_options,
            },
        )

    @property
    def homes(self) -> set[str]:
        return {self._master} if self._master else set()

    @property
    def found(self) -> bool:
        return bool(self._master)

    def home(self, key: str) -> str:
        return self._master

    async def _find(self) -> None:
        """The freshest word counts. One Sentinel that has not heard of the failover yet still names the old master,
        which may have come back empty."""
        asked = [self._word_of(sentinel) for sentinel in self._sentinel.sentinels]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        words = [answer for answer in answers if not isinstance(answer, BaseException)]
        _, name, away = max(words, default=(0, "", True))
        if away:
            said = ", ".join(
                f"{name_of(*host)} {f'says: {cause_of(answer)}' if isinstance(answer, Exception) else 'knows none'}"
                for host, answer in zip(self._address.hosts, answers, strict=True)
            )
            raise MasterNotFoundError(f"no master is in service for {self._address.service}: {said}")
        self._master = name

    async def _word_of(self, sentinel: Redis) -> tuple[int, str, bool]:
        """Which configuration it knows (they count up), who is master in it, and whether it takes that one for dead."""
        service = self._address.service
        # In this order: the address is then at least as new as the number, never older.
        state: Any = await sentinel.sentinel_master(service)
        address: Any = await sentinel.sentinel_get_master_addr_by_name(service)
        name = name_of(str_if_bytes(address[0]), address[1])
        away = state["is_sdown"] or state["is_odown"]
        return state["config-epoch"], name, away and name == name_of(state["ip"], state["port"])

    def _connect(self, home: str, **options: Any) -> Redis:
        async def greet(connection: Any) -> None:
            try:
                await connection.on_connect()
                await self._look_anew()
                if self._master != home:
                    raise RedisConnectionError(f"{home} is the master no more")
            except BaseException:
                # redis-py would keep a connection whose greeting was cut short, and use it.
                await connection.disconnect(nowait=True)
                raise

        return super()._connect(home, redis_connect_func=greet, **options)

    async def _look_anew(self) -> None:
        """A look that begins now, not one that is under way: a server that died and came back without its memory says
        that it is the master until a Sentinel tells it otherwise."""
        if self._finding and not self._finding.done():
            with suppress(RedisError, OSError, TimeoutError):
                await asyncio.shield(self._finding)
        await self.refresh()

    async def aclose(self) -> None:
        await super().aclose()
        await self._sentinel.aclose()


class ClusterServers(Servers):
    """A Cluster: keys and channels live where their hash tag's slot does."""

    sharded = True

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(address)
        self._cluster = self._open()

    def _open(self) -> RedisCluster:
        # For its map of slots alone; commands go through our own connections, so that a dead node harms only its keys.
        given = {name: value for name, value in self._address.options.items() if name in ("username", "password")}
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._address.hosts],
            require_full_coverage=False,
            socket_timeout=1,
            socket_connect_timeout=0.5,
            **given,
            **_tls(self._address),
        )

    @property
    def homes(self) -> set[str]:
        return {name_of(node.host, node.port) for node in self._cluster.get_primaries()}

    @property
    def found(self) -> bool:
        return bool(self._cluster.nodes_manager.nodes_cache)

    def home(self, key: str) -> str:
        try:
            node = self._cluster.get_node_from_key(key)
        except _NO_MAP as error:
            raise ClusterDownError(str(error)) from error
        if node is None:
            raise ClusterDownError("no node serves this slot")
        return name_of(node.host, node.port)

    async def _find(self) -> None:
        try:
            await self._cluster.nodes_manager.initialize()
        except _NO_MAP:
            # Every node it knew is gone: the names that the operator wrote may lead to others.
            before, anew = self._cluster, self._open()
            try:
                await anew.nodes_manager.initialize()
            except BaseException as error:
                await _close(anew)
                if isinstance(error, _NO_MAP):
                    raise ClusterDownError(str(error) or "no slot is served") from error
                raise
            self._cluster = anew
            await _close(before)

    async def aclose(self) -> None:
        await super().aclose()
        await _close(self._cluster)


async def _close(cluster: RedisCluster) -> None:
    # Its own `aclose` does nothing unless its commands have been used.
    await cluster.nodes_manager.aclose()
    await cluster.nodes_manager.aclose("startup_nodes")


def servers_at(url: str, authority: Path | None = None, *, verified: bool = True) -> Servers:
    """What `REDIS_URL` names. Nothing is connected before it is used. See `RedisAddress.trusting`."""
    address = RedisAddress.parse(url).trusting(authority, verified=verified)
    return {"server": Servers, "sentinel": SentinelServers, "cluster": ClusterServers}[address.kind](address)


def name_of(host: str, port: int | str) -> str:
    """The home at this address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls(address: RedisAddress) -> dict[str, Any]:
    """TLS as its keyword arguments, for redis-py's makers that take no connection class."""
    given = {name: value for name, value in address.options.items() if name in (*TLS_OPTIONS, NOT_STRICT)}
    return {"ssl": True, **given} if address.options.get("connection_class") is SSLConnection else {}
