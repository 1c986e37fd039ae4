"""Redis: the pairing store with its scripts, and the bus on one pub/sub connection per process.

Keys: `pairing:{id}` hash and channel of the same name; `user-code:{digest}` → id; `open-of:{device}` set of ids;
`live-pairings` ids by deadline. Every key has a time to live.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import resources

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import RedisError

from pairing_ws.adapters.bells import Bells, stop
from pairing_ws.adapters.memory import AFTERLIFE_MS
from pairing_ws.errors import Unavailable
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.ports import Loaded, pairing_channel

log = structlog.get_logger()

LINK_CHECK_SECONDS = 5.0
CONFIRM_SECONDS = 5.0
# The indexes outlive every pairing in them: created, claimed and approved at the last moment, with each setting at its
# upper bound, one lives for 3 h 1 min (3600 + 60 + 2 * 3600 s).
INDEX_TTL_MS = 4 * 3_600_000
_LIVE = "live-pairings"
# No process watches it; it keeps the connection in subscribed state while nobody waits.
_IDLE_CHANNEL = "pairing-ws"


def connect(url: str) -> Redis:
    """A client whose commands give up within seconds: a waiting person is told 503, not left hanging.

    Its one retry is safe: every write is a compare-and-set whose repetition the story recognises.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=3,
        socket_timeout=3,
        socket_connect_timeout=2,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 1),
    )
    return Redis(connection_pool=pool)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("redis.failed", error=repr(error))
        raise Unavailable("the pairing store") from error


def _script(name: str) -> str:
    return resources.files("pairing_ws.adapters").joinpath("lua", name).read_text()


class RedisPairings:
    """The pairing store that all processes share. See `ports.PairingStore` for its promises."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._replace = client.register_script(_script("replace.lua"))
        self._read = client.register_script(_script("read.lua"))

    async def now(self) -> int:
        with _translated():
            return _milliseconds(await self._client.time())

    async def add(self, pairing: Pairing) -> bool:
        key = pairing_channel(pairing.id)
        with _translated():
            # Reserved first and alone: in a Cluster it lives in another slot than the pairing.
            if not await self._client.set(f"user-code:{pairing.user_code_hash}", pairing.id, nx=True, px=_ttl(pairing)):
                return False
            if pairing.approver:
                await self._index(pairing)
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.hset(
                    key,
                    items=["version", pairing.version, "deadline", pairing.expires_at, "record", _encode(pairing)],
                )
                pipe.pexpireat(key, pairing.expires_at + AFTERLIFE_MS)
                pipe.zadd(_LIVE, {pairing.id: pairing.expires_at})
                pipe.pexpire(_LIVE, INDEX_TTL_MS)
                await pipe.execute()
        return True

    async def get(self, pairing_id: str) -> Loaded | None:
        with _translated():
            record, time = await self._read(keys=[pairing_channel(pairing_id)])
        if record is None:
            return None
        now = _milliseconds(time)
        return Loaded(_decode(record).seen_at(now), now)

    async def id_of_user_code(self, user_code_hash: str) -> str | None:
        with _translated():
            found = await self._client.get(f"user-code:{user_code_hash}")
        return _text(found) if found else None

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        with _translated():
            if new.approver and not old.approver:
                # Before the swap: an index entry too many is harmless, one too few survives a revocation.
                await self._index(new)
            won = await self._replace(
                keys=[pairing_channel(old.id)],
                args=[old.version, new.version, _encode(new), new.expires_at, AFTERLIFE_MS, int(new.final)],
            )
            if won and new.final:
                async with self._client.pipeline(transaction=False) as pipe:
                    pipe.zrem(_LIVE, new.id)
                    if new.approver:
                        pipe.srem(f"open-of:{new.approver.device_id}", new.id)
                    await pipe.execute()
            elif won and new.expires_at != old.expires_at:
                await self._client.zadd(_LIVE, {new.id: new.expires_at})
        return bool(won)

    async def live(self) -> int:
        with _translated():
            now = await self.now()
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zremrangebyscore(_LIVE, "-inf", now)
                pipe.zcard(_LIVE)
                return int((await pipe.execute())[1])

    async def open_of(self, device_id: str) -> Sequence[str]:
        with _translated():
            return [_text(member) for member in await self._client.smembers(f"open-of:{device_id}")]

    async def _index(self, pairing: Pairing) -> None:
        assert pairing.approver is not None
        key = f"open-of:{pairing.approver.device_id}"
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.sadd(key, pairing.id)
            pipe.pexpire(key, INDEX_TTL_MS)
            await pipe.execute()


class RedisBus(Bells):
    """Doorbells over one pub/sub connection, which it keeps, checks every 5 s, and replaces when it is dead.

    It closes `client`, which it shares with the store, when it ends.
    """

    def __init__(self, client: Redis, url: str) -> None:
        super().__init__()
        self._client = client
        # Its own connection without redis-py's silent reconnects: only we know whom to wake after one.
        self._link = Redis.from_url(
            url, socket_connect_timeout=2, socket_timeout=3, retry=Retry(NoBackoff(), 0), health_check_interval=0
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
        self.relinks = 0

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
            await self._client.publish(channel, note)
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
            self.relinks += 1
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
