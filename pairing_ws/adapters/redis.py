"""Redis: the pairing store with its scripts, and the bus on one pub/sub connection per process.

Keys: `pairing:{id}` hash and channel of the same name; `user-code:{digest}` → id; `open-of:{device}` set of ids;
`live-pairings` ids by deadline. Every key has a time to live.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from typing import Any, TypeVar

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from pairing_ws.adapters.bells import Bells, stop
from pairing_ws.adapters.memory import AFTERLIFE_MS
from pairing_ws.errors import Unavailable
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.ports import Loaded, pairing_channel

T = TypeVar("T")

log = structlog.get_logger()

LINK_CHECK_SECONDS = 5.0
CONFIRM_SECONDS = 5.0
# From asking to answer, waiting for a connection included.
COMMAND_SECONDS = 4.0
# The indexes outlive every pairing in them: created, claimed and approved at the last moment, with each setting at its
# upper bound, one lives for 3 h 1 min (3600 + 60 + 2 * 3600 s).
INDEX_TTL_MS = 4 * 3_600_000
_LIVE = "live-pairings"
# No process watches it; it keeps the connection in subscribed state while nobody waits.
_IDLE_CHANNEL = "pairing-ws"


def connect(url: str) -> Redis:
    """A client whose commands give up within seconds: a waiting person is told 503, not left hanging.

    It retries nothing: a swap that was made, and whose answer got lost, must not look like a lost race.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=3,
        socket_timeout=3,
        socket_connect_timeout=2,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("redis.failed", error=repr(error))
        raise Unavailable("the pairing store") from error


class Commands:
    """Sends the commands of one event-loop tick as one pipeline: redis-py then costs a third of the CPU per command.

    Commands asked for in one tick are executed in that order. A caller that is cancelled leaves the connection clean,
    for it is the batch's task that reads.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._batches: set[asyncio.Task[None]] = set()

    def ask(self, *command: Any) -> asyncio.Future[Any]:
        """The answer to come. It raises RedisError, OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send)
        answer = loop.create_future()
        self._waiting.append((command, answer))
        return answer

    async def run(self, script: "Script", key: str, *arguments: Any) -> Any:
        """The script's answer; a Redis that does not know it (new, or flushed) is told."""
        try:
            return await self.ask("EVALSHA", script.sha, 1, key, *arguments)
        except NoScriptError:
            return await self.ask("EVAL", script.text, 1, key, *arguments)

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        task = asyncio.create_task(self._execute(batch))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _execute(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        answers: list[Any]
        try:
            async with asyncio.timeout(COMMAND_SECONDS), self._client.pipeline(transaction=False) as pipe:
                for command, _ in batch:
                    pipe.execute_command(*command)
                answers = await pipe.execute(raise_on_error=False)
        except Exception as error:
            # Whatever it was, nobody may be left waiting.
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # its caller was cancelled
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class Script:
    """A Lua script from `lua/`, with one key."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("pairing_ws.adapters").joinpath("lua", name).read_text()
        # Redis names scripts by this digest; nothing secret hangs on it.
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisPairings:
    """The pairing store that all processes share. See `ports.PairingStore` for its promises."""

    def __init__(self, client: Redis) -> None:
        self._commands = Commands(client)
        self._replace = Script("replace.lua")
        self._read = Script("read.lua")

    async def now(self) -> int:
        with _translated():
            return _milliseconds(await self._commands.ask("TIME"))

    async def add(self, pairing: Pairing) -> bool:
        ask, key = self._commands.ask, pairing_channel(pairing.id)
        with _translated():
            # Reserved first and alone: in a Cluster it lives in another slot than the pairing.
            code = f"user-code:{pairing.user_code_hash}"
            if not await ask("SET", code, pairing.id, "PX", _ttl(pairing), "NX"):
                return False
            fields = ("version", pairing.version, "deadline", pairing.expires_at, "record", _encode(pairing))
            await asyncio.gather(
                *self._index(pairing),
                ask("HSET", key, *fields),
                ask("PEXPIREAT", key, pairing.expires_at + AFTERLIFE_MS),
                ask("ZADD", _LIVE, pairing.expires_at, pairing.id),
                ask("PEXPIRE", _LIVE, INDEX_TTL_MS),
            )
        return True

    async def get(self, pairing_id: str) -> Loaded | None:
        with _translated():
            record, time = await self._commands.run(self._read, pairing_channel(pairing_id))
        if record is None:
            return None
        now = _milliseconds(time)
        return Loaded(_decode(record).seen_at(now), now)

    async def id_of_user_code(self, user_code_hash: str) -> str | None:
        with _translated():
            found = await self._commands.ask("GET", f"user-code:{user_code_hash}")
        return _text(found) if found else None

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        ask = self._commands.ask
        state = (old.version, new.version, _encode(new), new.expires_at, AFTERLIFE_MS, int(new.final))
        with _translated():
            # Indexed before the swap: an entry too many is harmless, one too few survives a revocation.
            if not old.approver:
                await asyncio.gather(*self._index(new))
            won = await self._commands.run(self._replace, pairing_channel(old.id), *state)
            if won and new.final:
                ended = [ask("ZREM", _LIVE, new.id)]
                if new.approver:
                    ended.append(ask("SREM", _open_of(new.approver.device_id), new.id))
                await asyncio.gather(*ended)
            elif won and new.expires_at != old.expires_at:
                await ask("ZADD", _LIVE, new.expires_at, new.id)
        return bool(won)

    async def live(self) -> int:
        with _translated():
            now = await self.now()
            _, count = await asyncio.gather(
                self._commands.ask("ZREMRANGEBYSCORE", _LIVE, "-inf", now), self._commands.ask("ZCARD", _LIVE)
            )
        return int(count)

    async def open_of(self, device_id: str) -> Sequence[str]:
        with _translated():
            return [_text(member) for member in await self._commands.ask("SMEMBERS", _open_of(device_id))]

    def _index(self, pairing: Pairing) -> list[asyncio.Future[Any]]:
        if pairing.approver is None:
            return []
        key = _open_of(pairing.approver.device_id)
        return [self._commands.ask("SADD", key, pairing.id), self._commands.ask("PEXPIRE", key, INDEX_TTL_MS)]


class _NoRetry(Retry):
    """redis-py's own reconnects and subscribes anew before it raises: rings in between would be lost unnoticed."""

    async def call_with_retry(self, do: Callable[[], Awaitable[T]], *_: Any, **__: Any) -> T:
        return await do()


class RedisBus(Bells):
    """Doorbells over one pub/sub connection, which it keeps, checks every 5 s, and replaces when it is dead.

    It closes `client`, which it shares with the store, when it ends.
    """

    def __init__(self, client: Redis, url: str) -> None:
        super().__init__()
        self._client = client
        self._commands = Commands(client)
        # Its own connection without redis-py's silent reconnects: only we know whom to wake after one.
        self._link = Redis.from_url(
            url, socket_connect_timeout=2, socket_timeout=3, retry=_NoRetry(NoBackoff(), 0), health_check_interval=0
        )
        self._pubsub: PubSub | None = None
        self._sending = asyncio.Lock()
        # SUBSCRIBE commands whose confirmation has not come; an old one's must not confirm a new one.
        self._unconfirmed: dict[str, int] = {}
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        # Channels a new link has not confirmed yet: their watchers may have missed rings and are woken when it has.
        self._relinked: set[str] = set()
        self._reader: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "RedisBus":
        await super().__aenter__()
        self._reader = asyncio.create_task(self._keep_link(), name="redis-bus")
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop(self._reader)
        await super().__aexit__()
        await self._link.aclose()
        await self._client.aclose()

    async def ring(self, channel: str, note: str = "") -> None:
        try:
            await self._commands.ask("PUBLISH", channel, note)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("bus.ring_failed", error=repr(error))

    async def _listen(self, channels: Sequence[str], new: Sequence[str]) -> None:
        for channel in new:
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
        waits = [self._confirmed[channel] for channel in channels]
        if new:
            # Without a link, the next one subscribes to all that is in the table.
            self._start_sending("SUBSCRIBE", new)
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                # Shielded: other watchers of the channel await the same confirmation.
                await asyncio.gather(*(asyncio.shield(wait) for wait in waits))
        except TimeoutError:
            raise Unavailable("the bus") from None

    def _unlisten(self, channels: Sequence[str]) -> None:
        for channel in channels:
            self._confirmed.pop(channel, None)
        self._start_sending("UNSUBSCRIBE", channels)

    def _start_sending(self, command: str, channels: Sequence[str]) -> None:
        # In a task of its own: a watcher that is cancelled while redis-py writes would take the link down for all, and
        # Python 3.11's wait_for, in which redis-py writes, can swallow the cancellation.
        task = asyncio.create_task(self._send(command, channels))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _send(self, command: str, channels: Sequence[str]) -> None:
        async with self._sending:
            # Decided under the lock: meanwhile a channel may have lost its last watcher or found a new one.
            wanted = command == "SUBSCRIBE"
            now = [channel for channel in channels if (channel in self._watchers) is wanted]
            if self._pubsub is None or not now:
                return
            try:
                if wanted:
                    for channel in now:
                        self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
                    await self._pubsub.subscribe(*now)
                else:
                    await self._pubsub.unsubscribe(*now)
            except Exception as error:
                # redis-py also raises AttributeError here while its connection closes. The next link subscribes anew.
                log.warning("bus.send_failed", error=repr(error))

    async def _keep_link(self) -> None:
        """Connect, subscribe to all that is watched, read until the link dies; for ever."""
        failures = 0
        while True:
            try:
                async with self._subscribed() as pubsub:
                    failures = 0
                    await self._read_rings(pubsub)
            except (RedisError, OSError, TimeoutError, EOFError) as error:
                failures += 1
                log.warning("bus.link_lost", error=repr(error), failures=failures)
            except Exception:
                # A dead listener would let every waiting device wait in vain, so nothing may end this loop.
                failures += 1
                log.exception("bus.link_crashed")
            await asyncio.sleep(min(2.0, 0.05 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[PubSub]:
        pubsub = self._link.pubsub()
        try:
            async with self._sending:
                self._unconfirmed = dict.fromkeys(self._watchers, 1)
                self._relinked = set(self._watchers)
                for channel in self._watchers:
                    if self._confirmed[channel].done():
                        self._confirmed[channel] = asyncio.get_running_loop().create_future()
                await pubsub.subscribe(_IDLE_CHANNEL, *self._watchers)
                self._pubsub = pubsub
            yield pubsub
        finally:
            self._pubsub = None
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _read_rings(self, pubsub: PubSub) -> None:
        pinged = False
        while True:
            # A failed write has closed it, and get_message would connect again without telling us.
            if pubsub.connection is None or not pubsub.connection.is_connected:
                raise ConnectionError("the link was closed")
            message = await pubsub.get_message(timeout=LINK_CHECK_SECONDS)
            if message is None:
                if pinged:
                    raise ConnectionError("no pong")
                pinged = True
                async with self._sending:
                    await pubsub.ping()
                continue
            pinged = False
            if message["type"] == "message":
                self._rang(message["channel"].decode(), message["data"].decode())
            elif message["type"] == "subscribe":
                self._confirm(message["channel"].decode())

    def _confirm(self, channel: str) -> None:
        left = self._unconfirmed.get(channel, 0) - 1
        if left > 0:
            self._unconfirmed[channel] = left
            return
        self._unconfirmed.pop(channel, None)
        wait = self._confirmed.get(channel)
        if wait and not wait.done():
            wait.set_result(None)
        if channel in self._relinked:
            self._relinked.discard(channel)
            self._rang(channel, "")


def _open_of(device_id: str) -> str:
    return f"open-of:{device_id}"


def _encode(pairing: Pairing) -> bytes:
    return msgspec.json.encode(pairing)


_decode = msgspec.json.Decoder(Pairing).decode


def _text(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


def _milliseconds(time: Sequence[int | bytes]) -> int:
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000


def _ttl(pairing: Pairing) -> int:
    return pairing.expires_at - pairing.created_at + AFTERLIFE_MS
