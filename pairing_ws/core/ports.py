"""What both stories need of the world. Adapters keep these promises."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pairing_ws.core.errors import Code, Refused

# Called with the message that was published; with "" where no message stands behind the call.
Callback = Callable[[str], None]


class Bus(Protocol):
    """Messages between processes, by channel. One can get lost. Every subscriber is therefore called with "" when the
    connection is back, and at least every 30 seconds: it then reads what it waits for."""

    def watch(self, channels: Sequence[str], callback: Callback) -> AbstractAsyncContextManager[None]:
        """On entry the subscription is confirmed: a message from then on calls `callback(message)`. Raises Unavailable.

        `callback` is called on the event loop and must not block.
        """

    async def publish(self, channel: str, message: str = "") -> None:
        """Call every subscriber of the channel in every process. Best effort: logs instead of raising."""


class Push(Protocol):
    """Tells devices outside their sockets. Best effort: never raises, never changes state.

    `application_server_key` is the public key that browsers subscribe with (RFC 8292), "" where they can't.
    """

    @property
    def application_server_key(self) -> str: ...

    def send(self, address: str, data: Mapping[str, str], seconds: int) -> None:
        """Start sending `data` to a push address and return at once. After so many seconds it is worth nothing."""

    def send_to_each(
        self, addresses: Callable[[], Awaitable[Sequence[str]]], data: Mapping[str, str], seconds: int
    ) -> None:
        """The same for all of them, which are asked for in the background, and only if messages are sent at all."""


class SharedCounters(Protocol):
    """Counts and marks that all processes share. Raises Unavailable when the store is away."""

    async def count(self, key: str, most: int, window_ms: int, *, counted: bool = True) -> int:
        """Count one for this key, unless that makes more than `most` within the last `window_ms`, by a sliding window:
        what the window before had counts by the share of it that is not over.

        0 if there was room, else in how many ms there is, with nothing counted. With `counted=False` nothing is counted
        in either case. Of many callers at once no more get room than there is.
        """

    async def mark(self, key: str, ttl_ms: int) -> bool:
        """True for the first caller with this key; for others not before `ttl_ms` are over."""


class Limits(Protocol):
    """Rates per key over all processes. Raises Unavailable when the counters are away: callers then refuse."""

    async def hit(self, rule: str, key: str) -> None:
        """Count one; raises RATE_LIMITED with the seconds to wait once the rule's rate is used up."""

    async def check(self, rule: str, key: str) -> None:
        """As `hit`, without counting."""


class Prove(Protocol):
    """Checks that the caller of the present request holds a private key. Call it once per request."""

    async def __call__(self, key_thumbprint: str, auth_key: str | None = None) -> None:
        """Raises INVALID_PROOF and USE_DPOP_NONCE unless the request has a proof by this key, made for it, for
        `auth_key` and never used before. Where that can't be known, raises Unavailable unless the request is one that
        only reads or takes away."""


async def unproved(key_thumbprint: str, auth_key: str | None = None) -> None:
    """`Prove` where there is no request."""
    raise Refused(Code.INVALID_PROOF, "only the holder of this device's key may do that")


class Proofs(Protocol):
    """Proofs of possession (DPoP, RFC 9449) over all processes."""

    def nonce(self) -> str:
        """What the next proofs have to hold, for a short while: by it they are new, not by their makers' clocks."""

    def thumbprint(self, jwk: Mapping[str, str]) -> str:
        """RFC 7638. Raises ValueError if it is no public key on P-256."""

    def thumbprint_of(self, given: Sequence[str]) -> str:
        """Of the key by which the one proof says that it is: it proves nothing before `verify`. Raises
        INVALID_PROOF."""

    async def verify(
        self, given: Sequence[str], method: str, path: str, key_thumbprint: str, auth_key: str | None
    ) -> None:
        """See `Prove`. `given` is all that came as proof, `path` the one asked for, below the public address."""
