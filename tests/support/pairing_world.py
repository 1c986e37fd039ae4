"""The pairing story on process memory, with all around it that a test can look at: what was stored, counted, noted and
pushed."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from prometheus_client import REGISTRY

from pairing_ws.adapters.memory import MemoryBus, MemoryPairings
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.network import Place
from pairing_ws.pairing.machine import Pairing
from pairing_ws.pairing.service import PairingService
from pairing_ws.pairing.types import ByKey, BySecret, Created, Policy
from tests.support.clock import FakeClock

KEY = bytes(range(32))
# Documentation addresses are not global; these are.
HERE, THERE = "9.9.9.9", "8.8.4.4"
SITE = "https://login.test"


class Rates:
    """Limits that remember what was counted; `most` says how often a rule lets pass, without a word always."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self.counted: Counter[tuple[str, str]] = Counter()

    async def hit(self, rule: str, key: str) -> None:
        await self.check(rule, key)
        self.counted[rule, key] += 1

    async def check(self, rule: str, key: str) -> None:
        if rule in self.most and self.counted[rule, key] >= self.most[rule]:
            raise Refused(Code.RATE_LIMITED, retry_after=7)

    def used(self, rule: str) -> dict[str, int]:
        return {key: count for (name, key), count in self.counted.items() if name == rule}


class AccountsRoom:
    """The other room, as far as this one knows it."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.refuses: Code | None = None
        # Who else has a say in logins, and is against them.
        self.against: Code | None = None
        # Whose obstacles were asked for, and with which device.
        self.asked: list[tuple[Approver, NewDevice | None]] = []
        self.expected: list[tuple[Approver, int]] = []

    def device_id(self, approver: Approver, device: NewDevice) -> str:
        return f"{approver.user_id}'s {device.code}"

    async def check_login(self, approver: Approver, device: NewDevice | None) -> None:
        self.calls.append(("check", approver, device))
        if self.refuses:
            raise Refused(self.refuses)

    async def admit(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> None:
        self.calls.append(("admit", pairing_id, approver, device, secret))
        if self.against:
            raise Refused(self.against)

    async def obstacle(self, approver: Approver, device: NewDevice | None) -> Refused | None:
        self.asked.append((approver, device))
        return Refused(self.refuses) if self.refuses else None

    async def log_in(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> str:
        self.calls.append(("log in", pairing_id, approver, device, secret))
        return f"session {pairing_id}"

    def expect(self, approver: Approver, milliseconds: int) -> None:
        self.expected.append((approver, milliseconds))

    async def note(self, event: str, approver: Approver, device: NewDevice | None, pairing_id: str) -> None:
        self.calls.append((event, approver, device))


class Pushed(list[tuple[str, Mapping[str, str]]]):
    application_server_key = ""

    def send(self, address: str, data: Mapping[str, str], seconds: int) -> None:
        self.append((address, data))

    def send_to_each(self, addresses: object, data: Mapping[str, str], seconds: int) -> None:
        raise AssertionError


class Map(dict[str, Place]):
    def of(self, ip: str) -> Place | None:
        return self.get(ip)


class Store(MemoryPairings):
    """In which, once, somebody else is faster: `first` happens just before the next swap."""

    first: Callable[[], Awaitable[object]] | None = None
    away = False

    async def replace(self, old: Pairing, new: Pairing) -> bool:
        first, self.first = self.first, None
        if first:
            await first()
        return await super().replace(old, new)

    async def get(self, pairing_id: str) -> Any:
        if self.away:
            raise Unavailable("the store")
        return await super().get(pairing_id)

    def forget(self) -> None:
        self._pairings.clear()


class World:
    def __init__(self, clock: FakeClock | None = None, **policy: Any) -> None:
        self.clock, self.bus, self.rates = clock or FakeClock(), MemoryBus(), Rates()
        self.store = Store(self.bus, self.clock)
        self.accounts, self.pushed, self.places = AccountsRoom(), Pushed(), Map()
        self.random: Callable[[int], bytes] = Random(4).randbytes
        self.audited: list[tuple[str, dict[str, object]]] = []
        self.service = service = PairingService(
            self.store,
            self.bus,
            self.accounts,
            self.rates,
            self.pushed,
            self.places,
            replace(Policy(public_url=SITE, verify="never"), **policy),
            lambda size: self.random(size),
            KEY,
            lambda event, /, **facts: self.audited.append((event, facts)),
        )
        self.creation, self.claims, self.decisions = service.creation, service.claims, service.decisions
        self.logins, self.views, self.changes = service.logins, service.views, service.changes

    async def new(self, device: NewDevice | None = None, secret: str | None = None) -> Created:
        device = device or B
        return await self.creation.create(device, device.ip, secret)

    async def claimed(self, device: NewDevice | None = None) -> Created:
        created = await self.new(device)
        await self.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
        return created

    async def approved(self, device: NewDevice | None = None) -> Created:
        created = await self.claimed(device)
        await self.decisions.approve(created.view.pairing.id, A)
        return created

    async def now_is(self, created: Created) -> Pairing:
        loaded = await self.store.get(created.view.pairing.id)
        assert loaded
        pairing: Pairing = loaded.pairing
        return pairing

    async def log_in(self, created: Created, number: str | None = None, **more: Any) -> str:
        return await self.logins.log_in(created.view.pairing.id, secret_of(created), number, **more)


def code_of(created: Created) -> str:
    return created.qr_text.partition("#")[2]


def secret_of(created: Created) -> BySecret:
    assert created.secret
    return BySecret(created.secret)


async def lately_there() -> None: ...


def by_key(user: str = "alice", device: str = "phone", **more: Any) -> ByKey:
    approver = Approver(user_id=user, session_id=f"{user}'s session on {device}", device_id=device, ip=HERE)
    return ByKey(approver, **({"refuse_approval": lambda: None, "step_up": lately_there} | more))


def in_quarantine() -> None:
    raise Refused(Code.DEVICE_QUARANTINED)


async def nobody_there() -> None:
    raise Refused(Code.STEP_UP_REQUIRED)


A = by_key()
B = NewDevice(code="laptop", name="Laptop", ip=THERE)
NEIGHBOUR = NewDevice(code="laptop", name="Laptop", ip=HERE)
INDOORS = NewDevice(code="laptop", name="Laptop", ip="10.0.0.7")
OWN = "an-own-secret-of-22-characters"


async def refused(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def word(call: Awaitable[object]) -> Code:
    return (await refused(call)).code


def counted(event: str) -> float:
    return REGISTRY.get_sample_value("pairing_events_total", {"event": event}) or 0
