"""What people do, hundreds at once and not always in order: the kinds of cases, and the world that they happen in.

An honest case is a client as the documentation asks for: it repeats and reconnects, with the same secret, until it is
in or its time is over. In the others people race, repeat, guess, change their minds and come too late.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.history.case import FINAL, Case
from tests.history.checker import Violation, check
from tests.history.clients import Party, RecordingClient
from tests.history.model import Rules
from tests.history.record import Operation

PHONES_IN_A_CASE = 4
# Cases that wait for a deadline; more of them would only be memory.
WAITING = 60


@dataclass
class World:
    """The servers, the people, and what has come of it so far."""

    client: RecordingClient
    phones: list[Party]
    rules: Rules
    random: random.Random
    # Of 1, how often each kind of case.
    mix: dict[str, float]
    # Told of each violation at once.
    report: Callable[[Violation], None] = lambda _: None
    violations: list[Violation] = field(default_factory=list)
    pairings: int = 0
    logins: int = 0
    # Of honest cases: approved and finished; approved and not, though Redis forgot nothing; not, because it did.
    approved: int = 0
    lost: list[Violation] = field(default_factory=list)
    forgotten: int = 0
    # From the approval's answer to the new device's knowing, in milliseconds.
    told: list[float] = field(default_factory=list)
    # Of pairings that have been checked, what the look into the database at the end needs.
    kept: dict[str, list[Operation]] = field(default_factory=dict)

    async def run(self, at_once: int, goes_on: Callable[[], bool]) -> None:
        """Cases, some at a time, as long as `goes_on`. Those under way are finished."""
        waiting: set[asyncio.Task[None]] = set()

        async def one_after_the_other() -> None:
            while goes_on():
                kind = self.random.choices(list(self.mix), list(self.mix.values()))[0]
                if kind not in SLOW:
                    await self.one(kind)
                elif len(waiting) < WAITING:
                    task = group.create_task(self.one(kind))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                else:
                    await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_after_the_other())

    async def one(self, kind: str) -> None:
        phones = self.random.sample(self.phones, min(PHONES_IN_A_CASE, len(self.phones)))
        case = Case(self.client, phones, self.random)
        if not await case.create():
            # Nobody listened, or nobody answered.
            await case.pause(0.05, 0.2)
            return
        self.pairings += 1
        await KINDS[kind](self, case)
        self.settle(case.id)

    def settle(self, pairing: str) -> None:
        """Check a history that has come to its end."""
        recorder = self.client.recorder
        history = recorder.history(pairing)
        self.logins += any(each.call == "login" and each.answer and each.answer.status == 200 for each in history)
        violation = check(history, self.rules._replace(slack=recorder.slack))
        if violation is not None:
            self.violations.append(violation)
            self.report(violation)
        self.kept[pairing] = [each for each in recorder.operations.pop(pairing) if each.call in ("login", "approve")]


Kind = Callable[[World, Case], Awaitable[None]]


async def honest(world: World, case: Case) -> None:
    """As the documentation asks for it. Whoever has been approved is in, unless Redis forgot."""
    typed = "typed" if case.random.random() < 0.2 else ""
    waiting = None
    if case.flow_2:
        waiting = asyncio.create_task(case.wait_for(case.device, "approved"))
        await case.pause(0, 0.2)
    claimed = await case.persist(lambda: case.claim(case.claimant, typed))
    if waiting is None:
        if claimed.answer is None or claimed.answer.status != 200:
            return
        waiting = asyncio.create_task(case.wait_for(case.device, "approved"))
    await case.pause(0, 0.3)
    approved = await case.persist(lambda: case.approve(case.phone))
    status = await waiting
    if approved.answer is None or approved.answer.status != 200:
        return
    world.told.append(max(0.0, world.client.recorder.now() - approved.returned))
    world.approved += 1
    tries = case.random.choice((1, 1, 2, 3))
    asked = await asyncio.gather(*(case.persist(lambda: case.log_in(case.device)) for _ in range(tries)))
    if any(each.answer and each.answer.status == 200 for each in asked):
        await leave(case)
    elif world.client.recorder.events_between(case.began, world.client.recorder.now()):
        world.forgotten += 1
    else:
        history = world.client.recorder.history(case.id)
        lost = Violation(case.id, f"approved, told {status or 'nothing'}, and not logged in", history)
        world.lost.append(lost)
        world.report(lost)


async def leave(case: Case) -> None:
    """Use the keys, perhaps ask for them again, and mostly log out, so that accounts do not fill with devices."""
    if case.random.random() < 0.3:
        await case.use("me")
    if case.random.random() < 0.3:
        await case.log_in(case.device)
    if case.random.random() < 0.95:
        await case.persist(lambda: case.use("logout"))


async def rush(world: World, case: Case) -> None:
    """Everybody at once, step by step: claims, then decisions, then logins."""
    chance = case.random.random
    devices = [case.device, *([] if case.flow_2 else [case.new_device(), case.new_device()])]
    claimants = case.phones if case.flow_2 else devices
    watching = [
        asyncio.create_task(_watch(case, party, case.random.uniform(0.5, 3)))
        for party in (case.device, case.phone)
        if chance() < 0.4
    ]
    await _at_once(case, [lambda party=party: case.claim(party) for party in [*claimants, case.claimant]])
    await _at_once(
        case,
        [
            *[lambda party=party: case.approve(party) for party in [case.phone, *case.phones]],
            *[lambda: case.deny(case.phone)] * (chance() < 0.3),
            *[lambda: case.cancel(case.creator)] * (chance() < 0.3),
            *[lambda party=party: case.log_in(party) for party in devices],
            lambda: case.read(case.device),
            lambda: case.read(case.phone),
        ],
    )
    await _at_once(
        case,
        [
            *[lambda party=party: case.log_in(party) for party in devices * case.random.randint(1, 4)],
            *[lambda party=party: case.deny(party) for party in case.phones if chance() < 0.1],
            *[lambda: case.cancel(case.creator)] * (chance() < 0.1),
            lambda: case.approve(case.phone),
        ],
    )
    await _look(case)
    await asyncio.gather(*watching)


async def scramble(world: World, case: Case) -> None:
    """Anything by anybody at any time."""
    devices = [case.device, case.new_device()]
    people = [*case.phones[:2], *devices]

    def anything() -> Awaitable[object]:
        choose = case.random.choice
        act = case.random.choices(
            ("claim", "typed", "wrong", "approve", "deny", "cancel", "login", "read", "if news", "poll", "watch"),
            (20, 4, 2, 20, 4, 4, 16, 10, 4, 8, 6),
        )[0]
        phone, device = choose([case.phone, case.phone, *case.phones[:3]]), choose([case.device, *devices])
        if act in ("claim", "typed", "wrong"):
            return case.claim(choose([case.claimant, *people]), "" if act == "claim" else act)
        if act in ("approve", "deny"):
            return case.approve(phone) if act == "approve" else case.deny(phone)
        if act == "cancel":
            return case.cancel(choose([case.creator, *people]))
        if act == "login":
            return case.log_in(device, choose(["right", "right", "", "wrong"]))
        anybody, version = choose(people), case.random.randint(1, 4)
        if act == "watch":
            return _watch(case, anybody, 1.0)
        if act == "poll":
            return case.long_poll(anybody, version - 1, 1)
        return case.read(anybody) if act == "read" else case.read_if_news(anybody, version)

    for _ in range(case.random.randint(3, 6)):
        await _at_once(case, [anything for _ in range(case.random.randint(1, 6))])
        await case.pause(0, 0.05)
    await _look(case)


async def numbers(world: World, case: Case) -> None:
    """A typed code, so a number is asked for; some type it wrong, three times end it."""
    await case.persist(lambda: case.claim(case.claimant, "typed"))
    await case.persist(lambda: case.approve(case.phone))
    hows = case.random.choices(("right", "wrong", ""), (3, 4, 1), k=case.random.randint(2, 7))
    await _at_once(case, [lambda how=how: case.log_in(case.device, how) for how in hows])
    await _look(case)


async def deadline(world: World, case: Case) -> None:
    """A code that nobody has scanned when its time ends, and then somebody does."""
    await _around_the_end(case, [lambda: case.claim(case.claimant), lambda: case.cancel(case.creator)])


async def late(world: World, case: Case) -> None:
    """Scanned and perhaps approved, and left for the minute there is to decide."""
    await case.persist(lambda: case.claim(case.claimant))
    if case.random.random() < 0.5:
        await case.persist(lambda: case.approve(case.phone))
        await _around_the_end(case, [lambda: case.log_in(case.device), lambda: case.deny(case.phone)])
    else:
        await _around_the_end(case, [lambda: case.approve(case.phone), lambda: case.deny(case.phone)])


KINDS: dict[str, Kind] = {each.__name__: each for each in (honest, rush, scramble, numbers, deadline, late)}
SLOW = frozenset({"deadline", "late"})


async def _around_the_end(case: Case, acts: list[Callable[[], Awaitable[Operation]]]) -> None:
    """Somebody watches at one process while others act, some of it just before the end and decided just after it."""
    left = (case.deadline - case.client.recorder.now()) / 1000
    await asyncio.sleep(max(0.0, left - 2))
    watching = [
        asyncio.create_task(case.client.watch(case.id, case.creator, process, FINAL, 4.0))
        for process in range(len(case.client.servers))
    ]
    left = (case.deadline - case.client.recorder.now()) / 1000
    await asyncio.sleep(max(0.0, left - 0.5))
    await _at_once(case, acts, most=0.7)
    await asyncio.gather(*watching)
    await _at_once(case, acts)
    await _look(case)


async def _at_once(case: Case, acts: list[Any], most: float = 0.03) -> None:
    """Each begins within so many seconds, in any order."""

    async def one(act: Callable[[], Awaitable[object]]) -> None:
        await case.pause(0, most)
        await act()

    case.random.shuffle(acts)
    await asyncio.gather(*(one(act) for act in acts))


async def _watch(case: Case, party: Party, seconds: float) -> None:
    process = case.random.randrange(len(case.client.servers))
    await case.client.watch(case.id, party, process, frozenset(), seconds)


async def _look(case: Case) -> None:
    """The state as both processes and both sides see it, when nothing is going on any more."""
    for process in range(len(case.client.servers)):
        await asyncio.gather(case.read(case.device, process=process), case.read(case.phone, process=process))
