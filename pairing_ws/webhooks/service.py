"""Sends the events that wait, as `core.deliveries` says, and watches how many those are."""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge

from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock, iso
from pairing_ws.core.deliveries import Deliveries, Delivery, Outcome
from pairing_ws.webhooks.events import TEST, body
from pairing_ws.webhooks.ports import Backlog, Event, Reply, Send, WebhookStore

OUTCOMES = Counter("pairing_webhooks", "Webhooks, by what came of them", ["outcome"])
WAITING = Gauge("pairing_webhooks_waiting", "Webhooks that wait", multiprocess_mode="livemostrecent")
OLDEST = Gauge(
    "pairing_webhooks_oldest_seconds", "Age of the oldest webhook that waits", multiprocess_mode="livemostrecent"
)

# On their way at once, by one process: so many accounts can have a slow answer before others wait for them.
MOST_AT_ONCE = 20
# In all. Beyond that the oldest are dropped.
MOST_WAITING = 100_000
# A receiver that is gone is asked whether it still is; longer than that no receiver is left alone.
LONGEST_PAUSE_MS = 3_600_000
GONE = 410
# With `Retry-After` they are about the receiver, and not about this event.
BUSY = frozenset({429, 502, 503, 504})
# Older than this, what waits is worth a line of the log.
LATE_MS = 300_000


_AUDIT_EVENTS = {"delivered": "webhook.delivered", "failed": "webhook.failed", "given_up": "webhook.given_up"}


def new_id(random: codes.RandomBytes) -> str:
    """A `webhook-id`: unique, and without a full stop, for it is signed with one behind it."""
    return f"msg_{codes.token(random)}"


class Webhooks:
    """`deliver_due` and `look_at_backlog` are called again and again by each process that serves. `send_test` stores
    nothing."""

    def __init__(self, store: WebhookStore, send: Send, clock: Clock, random: codes.RandomBytes, audit: Audit) -> None:
        self._store = store
        self._queue = _Queue(store)
        self._send = send
        self._clock = clock
        self._random = random
        self._audit = audit
        self._is_late = False
        self._deliveries = Deliveries(self._queue, self._attempt, self._report, clock, MOST_AT_ONCE)

    async def deliver_due(self) -> None:
        """See `Deliveries.deliver_due`. Nothing is sent while the receiver wants to be left alone."""
        await self._deliveries.deliver_due()

    async def send_test(self) -> Reply:
        """What the receiver says to an event of the type `webhook.test`."""
        return await self._send(new_id(self._random), body(TEST, self._clock(), None))

    async def backlog(self) -> Backlog:
        return await self._store.backlog()

    async def look_at_backlog(self) -> None:
        """Count what waits, for the metrics; say once in the log that it waits for long; drop what is too much."""
        waiting, oldest = await self._store.backlog()
        age = self._clock() - oldest if waiting else 0
        WAITING.set(waiting)
        OLDEST.set(age / 1000)
        if (age > LATE_MS) is not self._is_late:
            self._is_late = not self._is_late
            self._audit("webhook.late" if self._is_late else "webhook.in_time", waiting=waiting, seconds=age // 1000)
        if waiting > MOST_WAITING:
            dropped = await self._store.drop_oldest(MOST_WAITING)
            OUTCOMES.labels("dropped").inc(dropped)
            self._audit("webhook.dropped", events=dropped, why=f"more than {MOST_WAITING} wait")

    async def _attempt(self, event: Event) -> Delivery:
        status, why, retry_after = await self._send(event.id, event.body)
        if 200 <= status < 300:
            return Delivery(Outcome.TOLD)
        pause = LONGEST_PAUSE_MS if status == GONE else min(retry_after, LONGEST_PAUSE_MS)
        not_before = self._clock() + pause if pause else 0
        if pause and (status == GONE or status in BUSY):
            if self._queue.paused_until <= self._clock():
                self._audit("webhook.paused", why=f"it answered {status}", until=iso(not_before))
            self._queue.paused_until = max(self._queue.paused_until, not_before)
        return Delivery(Outcome.FAILED, why or f"it answered {status}", not_before)

    def _report(self, event: Event, delivery: Delivery, again: int | None) -> None:
        told = delivery.outcome is Outcome.TOLD
        outcome = "delivered" if told else "failed" if again else "given_up"
        OUTCOMES.labels(outcome).inc()
        self._audit(
            _AUDIT_EVENTS[outcome],
            webhook=event.id,
            type=event.type,
            account=event.user_id,
            attempts=event.attempts + 1,
            why=delivery.why or None,
        )


class _Queue:
    """The store as a `core.deliveries.Queue`: nothing is due while the receiver wants to be left alone."""

    def __init__(self, store: WebhookStore) -> None:
        self._store = store
        self.paused_until = 0
        self.forget = store.forget
        self.put_off = store.put_off

    async def take_due(self, now: int, lease_ms: int, most: int) -> Sequence[Event]:
        return await self._store.take_due(now, lease_ms, most) if now >= self.paused_until else ()
