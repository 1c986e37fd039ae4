"""What `pairing.ports.PairingStore` promises, on every backend. What only one backend can show stands at the end."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from pairing_ws.adapters.memory import AFTERLIFE_MS, MemoryBus, MemoryPairings
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Unavailable
from pairing_ws.pairing.machine import ClientRequest, Event, Pairing, Status
from pairing_ws.pairing.notifications import ReadAgain, StateChanged, decode_notification
from pairing_ws.pairing.ports import Full, Loaded, PairingStore, pairing_channel
from tests.contract import token
from tests.contract.conftest import Backend, Ear, on_redis, one_process
from tests.support.clock import FakeClock
from tests.support.servers import RedisServer, eventually

# A pairing created late, claimed late and approved late, with every setting at its upper bound.
LONGEST_LIFE_MS = (3600 + 60 + 2 * 3600) * 1000


def approver() -> Approver:
    return Approver(user_id=token(), session_id=token(), device_id=token())


async def test_what_was_added_is_read_back_by_every_process(backend: Backend) -> None:
    pairing = msgspec.structs.replace(
        backend.pairing(approver=approver()),
        new_device=NewDevice(code="c", name="Zoës Gerät 📱", ip="::1"),
        rotate_ms=5_000,
        client=ClientRequest(id="c", name='"expires_at":1', scopes=("openid",), secret_hash=token(), same_network=True),
    )
    before = await backend.now()
    added, now = await backend.stored(pairing)
    assert before <= now <= await backend.now()
    assert added == pairing.started_at(now)
    for store in (backend.store, backend.other_store):
        loaded = await store.get(pairing.id)
        assert loaded is not None
        assert loaded.pairing == added


async def test_an_unknown_pairing_is_none(backend: Backend) -> None:
    assert await backend.store.get(token()) is None
    assert await backend.store.id_of_user_code(token()) is None
    assert await backend.store.open_of(token()) == []


async def test_a_read_comes_with_the_stores_time(backend: Backend) -> None:
    pairing = await backend.added()
    before = await backend.now()
    loaded = await backend.store.get(pairing.id)
    assert loaded is not None
    assert before <= loaded.now <= await backend.now()


async def test_a_swap_is_seen_by_every_process_and_true_once(backend: Backend) -> None:
    old = await backend.added()
    new = old.after(Event.CLAIM, await backend.now(), approver=approver())
    assert await backend.store.replace(old, new) is True
    assert await backend.other_store.replace(old, new) is False
    loaded = await backend.other_store.get(old.id)
    assert loaded is not None
    assert loaded.pairing == new


async def test_a_swap_of_what_was_never_added_is_refused_and_adds_nothing(backend: Backend) -> None:
    old = backend.pairing().started_at(await backend.now())
    assert not await backend.store.replace(old, old.after(Event.DENY, old.created_at))
    assert await backend.store.get(old.id) is None


async def test_of_fifty_claims_at_once_one_wins_and_what_is_stored_is_the_winners(backend: Backend) -> None:
    old = await backend.added()
    now = await backend.now()
    claims = [old.after(Event.CLAIM, now, approver=approver()) for _ in range(50)]
    stores = itertools.cycle([backend.store, backend.other_store])
    won = await asyncio.gather(*(store.replace(old, claim) for store, claim in zip(stores, claims, strict=False)))
    assert won.count(True) == 1
    loaded = await backend.store.get(old.id)
    assert loaded is not None
    assert loaded.pairing == claims[won.index(True)]


async def test_of_approve_deny_and_cancel_at_once_one_wins(backend: Backend) -> None:
    for _ in range(10):
        old = await backend.added()
        now = await backend.now()
        scanned = old.after(Event.CLAIM, now, approver=approver())
        assert await backend.store.replace(old, scanned)
        rivals = [scanned.after(event, now) for event in (Event.APPROVE, Event.DENY, Event.CANCEL)] * 17
        stores = itertools.cycle([backend.store, backend.other_store])
        won = await asyncio.gather(*(store.replace(scanned, new) for store, new in zip(stores, rivals, strict=False)))
        assert won.count(True) == 1
        for store in (backend.store, backend.other_store):
            loaded = await store.get(old.id)
            assert loaded is not None
            assert loaded.pairing == rivals[won.index(True)]


async def test_the_newest_of_a_devices_open_pairings_come_first_and_no_more_than_asked_for(backend: Backend) -> None:
    mine = approver()
    ids = []
    for _ in range(4):
        # They are in the order of milliseconds.
        await backend.reach(await backend.now() + 2)
        ids.append((await backend.added(approver=mine)).id)
    for store in (backend.store, backend.other_store):
        assert await store.open_of(mine.device_id) == ids[::-1]
        assert await store.open_of(mine.device_id, 2) == ids[:1:-1]


async def test_a_swap_may_bring_the_deadline_nearer_and_take_it_back(backend: Backend) -> None:
    old = await backend.added()
    now = await backend.now()
    nearer = old.after(Event.LEAVE, now, expires_at=now + 60_000, stays_until=old.expires_at)
    assert await backend.store.replace(old, nearer)
    back = nearer.after(Event.RETURN, now, expires_at=old.expires_at, stays_until=0)
    assert await backend.other_store.replace(nearer, back)
    gone = back.after(Event.LEAVE, now, expires_at=now - 1, stays_until=old.expires_at)
    assert await backend.store.replace(back, gone)
    assert not await backend.other_store.replace(gone, gone.after(Event.RETURN, now - 2, expires_at=old.expires_at))
    loaded = await backend.store.get(old.id)
    assert loaded
    assert loaded.pairing.status is Status.EXPIRED


@pytest.mark.security(9)
async def test_a_deadline_is_judged_on_the_stores_own_clock(backend: Backend) -> None:
    # As a process whose clock is late, or that was paused, would try it.
    old = await backend.added(expires_in=-1)
    new = old.after(Event.CLAIM, old.expires_at - 1, expires_at=old.expires_at + 10_000_000)
    assert not await backend.store.replace(old, new)
    loaded = await backend.store.get(old.id)
    assert loaded is not None
    assert loaded.pairing == old.seen_at(loaded.now)
    assert loaded.pairing.status is Status.EXPIRED


async def test_a_deadline_that_passes_between_reading_and_writing_refuses_the_write(backend: Backend) -> None:
    old = await backend.added(expires_in=100)
    new = old.after(Event.CLAIM, old.created_at, expires_at=old.expires_at + 10_000_000)
    await backend.reach(old.expires_at)
    assert not await backend.store.replace(old, new)


@pytest.mark.security(4)
async def test_expiry_against_approval_has_one_winner_and_every_process_agrees(backend: Backend) -> None:
    # Approvals start before the deadline and go on past it: each either happened in time or not at all.
    async def approve(store: PairingStore, pairing: Pairing) -> bool:
        # As whoever read the pairing while it was open would try.
        won, approved = (
            False,
            pairing.after(Event.APPROVE, pairing.expires_at - 1, expires_at=pairing.expires_at + 60_000),
        )
        while (loaded := await store.get(pairing.id)) and loaded.now < pairing.expires_at + 10:
            won |= await store.replace(pairing, approved)
            if backend.clock:
                backend.clock.forward(ms=1)
            await asyncio.sleep(0)
        return won

    for head_start in (-2, 0, 2, 5):
        new = msgspec.structs.replace(backend.pairing(expires_in=head_start), status=Status.SCANNED)
        scanned = (await backend.stored(new)).pairing
        won = await asyncio.gather(*(approve(store, scanned) for store in (backend.store, backend.other_store)))
        assert won.count(True) <= 1
        seen = [await store.get(scanned.id) for store in (backend.store, backend.other_store)]
        statuses = {loaded.pairing.status for loaded in seen if loaded}
        assert statuses == ({Status.APPROVED} if any(won) else {Status.EXPIRED})


async def test_expiry_is_a_version_that_nobody_had_to_write(backend: Backend) -> None:
    pairing = await backend.added(expires_in=-1)
    loaded = await backend.store.get(pairing.id)
    assert loaded is not None
    assert (loaded.pairing.status, loaded.pairing.version) == (Status.EXPIRED, pairing.version + 1)
    # It can't be swapped either, as a writer that knows of the expiry would try to.
    assert not await backend.store.replace(loaded.pairing, msgspec.structs.replace(loaded.pairing, version=9))


async def test_a_user_code_leads_to_its_pairing_from_every_process(backend: Backend) -> None:
    pairing = await backend.added()
    for store in (backend.store, backend.other_store):
        assert await store.id_of_user_code(pairing.user_code_hash) == pairing.id


async def test_a_user_code_of_a_live_pairing_is_not_given_twice_and_the_second_leaves_no_trace(
    backend: Backend,
) -> None:
    first = await backend.added()
    second = msgspec.structs.replace(backend.pairing(approver=approver()), user_code_hash=first.user_code_hash)
    live = await backend.live()
    assert not await backend.other_store.add(second)
    assert await backend.store.get(second.id) is None
    assert await backend.store.id_of_user_code(first.user_code_hash) == first.id
    assert await backend.live() == live
    assert second.approver is not None
    assert await backend.store.open_of(second.approver.device_id) == []


async def test_of_fifty_pairings_with_one_user_code_one_is_stored(backend: Backend) -> None:
    code = token()
    rivals = [msgspec.structs.replace(backend.pairing(), user_code_hash=code) for _ in range(50)]
    stores = itertools.cycle([backend.store, backend.other_store])
    added = await asyncio.gather(*(store.add(each) for store, each in zip(stores, rivals, strict=False)))
    stored = [loaded.pairing.id for loaded in added if loaded]
    assert len(stored) == 1
    assert await backend.store.id_of_user_code(code) == stored[0]
    assert [each.id for each in rivals if await backend.store.get(each.id)] == stored


async def test_live_is_what_is_neither_final_nor_expired(backend: Backend) -> None:
    before = await backend.live()
    pairings = [await backend.added() for _ in range(5)]
    assert await backend.live() == before + 5
    await backend.store.replace(pairings[0], pairings[0].after(Event.CANCEL, pairings[0].created_at))
    claimed = pairings[1].after(Event.CLAIM, pairings[1].created_at, expires_at=pairings[1].expires_at + 1)
    await backend.store.replace(pairings[1], claimed)
    assert await backend.live() == before + 4
    await backend.added(expires_in=-1)
    assert await backend.live() == before + 4
    if backend.clock:
        backend.clock.now = pairings[0].expires_at
        # The claimed one has a millisecond left.
        assert await backend.live() == before + 1


@pytest.mark.security(26)
async def test_a_full_store_lets_in_as_many_as_there_is_room_for_and_the_others_leave_no_trace(
    backend: Backend,
) -> None:
    live, mine = await backend.live(), approver()
    rivals = [backend.pairing(approver=mine) for _ in range(50)]
    stores = itertools.cycle([backend.store, backend.other_store])
    adding = (store.add(each, live + 7) for store, each in zip(stores, rivals, strict=False))
    answers = await asyncio.gather(*adding, return_exceptions=True)
    refused = [each for each, answer in zip(rivals, answers, strict=True) if isinstance(answer, Full)]
    let_in = {answer.pairing.id for answer in answers if isinstance(answer, Loaded)}
    assert (len(let_in), len(refused)) == (7, 43)
    assert await backend.live() == live + 7
    for each in refused:
        assert await backend.store.get(each.id) is None
        assert await backend.store.id_of_user_code(each.user_code_hash) is None
    assert set(await backend.store.open_of(mine.device_id)) == let_in
    # As a signed-in device, for which some room is kept.
    assert await backend.store.add(refused[0], live + 8)
    with pytest.raises(Full):
        await backend.store.add(refused[1], live + 7)


@pytest.mark.security(26)
async def test_one_whose_time_is_over_makes_room_in_a_full_store(backend: Backend) -> None:
    most = await backend.live() + 1
    ending = await backend.added(expires_in=20)
    if backend.clock:
        with pytest.raises(Full):
            await backend.store.add(backend.pairing(), most)
        backend.clock.now = ending.expires_at

    async def let_in() -> bool:
        with suppress(Full):
            return bool(await backend.store.add(backend.pairing(), most))
        return False

    async with asyncio.timeout(10):
        while not await let_in():  # noqa: ASYNC110 - a clock rings no event
            await asyncio.sleep(0.005)


async def test_open_of_names_every_live_pairing_of_a_device_and_no_other_devices(backend: Backend) -> None:
    mine, other = approver(), approver()
    shown = await backend.added(approver=mine)
    scanned = await backend.added()
    claimed = scanned.after(Event.CLAIM, scanned.created_at, approver=mine)
    assert await backend.store.replace(scanned, claimed)
    foreign = await backend.added(approver=other)
    assert set(await backend.other_store.open_of(mine.device_id)) == {shown.id, scanned.id}
    assert set(await backend.store.open_of(other.device_id)) == {foreign.id}


async def test_an_ended_pairing_can_be_read_for_five_minutes_and_is_then_unknown(backend: Backend) -> None:
    lately = await backend.added(expires_in=-AFTERLIFE_MS + 5_000)
    long_ago = await backend.added(expires_in=-AFTERLIFE_MS - 1)
    loaded = await backend.store.get(lately.id)
    assert loaded is not None
    assert loaded.pairing.status is Status.EXPIRED
    assert await backend.store.get(long_ago.id) is None


async def test_a_failing_swap_rings_no_bell_and_a_winning_one_rings_once(backend: Backend) -> None:
    old = await backend.added()
    new = old.after(Event.CLAIM, old.created_at)
    expired = await backend.added(expires_in=-1)
    ear = Ear()
    channels = [pairing_channel(old.id), pairing_channel(expired.id)]
    async with backend.other_bus.watch(channels, ear.wake):
        await asyncio.gather(*(backend.store.replace(old, new) for _ in range(20)))
        await backend.store.replace(expired, expired.after(Event.CLAIM, expired.expires_at - 1))
        for channel in channels:
            # Rings keep their order: after these nothing is on its way any more.
            await backend.bus.publish(channel, "last")
        rung = ear.heard[:1]
        await ear.hears(*rung, "last", "last")
        assert rung != ["last"]


async def test_a_notification_that_carries_the_new_state_carries_what_there_is_to_read(backend: Backend) -> None:
    old = await backend.added()
    new = old.after(Event.CLAIM, await backend.now(), approver=approver())
    ear = Ear()
    async with backend.other_bus.watch([pairing_channel(old.id)], ear.wake):
        assert await backend.store.replace(old, new)
        await eventually(lambda: ear.heard, "the ring")
    notification = decode_notification(ear.heard[0])
    if backend.name == "memory":
        # There the store is next door.
        assert notification == ReadAgain()
    else:
        assert isinstance(notification, StateChanged)
        loaded = notification.loaded()
        assert loaded.pairing == new
        assert old.created_at <= loaded.now <= await backend.now()


async def test_a_bell_comes_after_the_state_it_rings_for(backend: Backend) -> None:
    pairing = await backend.added()
    read: list[asyncio.Task[object]] = []

    def wake(_: str) -> None:
        read.append(asyncio.create_task(backend.other_store.get(pairing.id)))

    async with backend.other_bus.watch([pairing_channel(pairing.id)], wake):
        for event in (Event.CLAIM, Event.APPROVE, Event.LOGIN):
            new = pairing.after(event, pairing.created_at)
            read.clear()
            assert await backend.store.replace(pairing, new)
            await eventually(lambda: read, "waking")
            loaded = await read[0]
            assert loaded is not None
            assert loaded.pairing.version == new.version  # type: ignore[attr-defined]
            pairing = new


# Memory alone: time can be moved


async def test_memory_forgets_a_pairing_and_all_that_led_to_it_five_minutes_after_its_end() -> None:
    clock = FakeClock()
    store = MemoryPairings(MemoryBus(), clock)
    backend = Backend("memory", store, MemoryBus(), store, MemoryBus(), clock)
    mine = approver()
    expiring, ended = await backend.added(approver=mine), await backend.added(approver=mine)
    clock.forward(seconds=10)
    assert await store.replace(ended, ended.after(Event.DENY, clock()))
    clock.forward(ms=AFTERLIFE_MS - 1)
    assert await store.get(ended.id) is not None
    clock.forward(ms=1)
    assert await store.get(ended.id) is None
    assert await store.get(expiring.id) is not None
    clock.now = expiring.expires_at + AFTERLIFE_MS
    assert await store.get(expiring.id) is None
    await backend.live()
    assert await store.id_of_user_code(ended.user_code_hash) is None
    assert await store.id_of_user_code(expiring.user_code_hash) is None
    assert await store.open_of(mine.device_id) == []


async def test_memory_does_not_grow_with_the_pairings_that_have_been() -> None:
    clock = FakeClock()
    store = MemoryPairings(MemoryBus(), clock)
    backend = Backend("memory", store, MemoryBus(), store, MemoryBus(), clock)
    for _ in range(200):
        pairing = await backend.added(approver=approver())
        await store.replace(pairing, pairing.after(Event.DENY, clock()))
        clock.forward(seconds=60)
    # Those of the last seven minutes (120 s of life and five more) may still be there.
    assert max(len(each) for each in vars(store).values() if isinstance(each, dict | list | set)) <= 8


# Redis alone: times to live, outages, hostile leftovers


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.security(26)
async def test_every_redis_key_has_a_time_to_live_and_none_goes_before_its_pairing(redis_url: str) -> None:
    async with raw(redis_url) as redis:
        await redis.flushdb()
        async with on_redis(redis_url) as backend:
            mine = approver()
            shown = await backend.added(approver=mine)
            scanned = await backend.added()
            claimed = scanned.after(Event.CLAIM, scanned.created_at, approver=mine)
            assert await backend.store.replace(scanned, claimed)
            ended = await backend.added(approver=mine)
            assert await backend.store.replace(ended, ended.after(Event.DENY, ended.created_at))
            assert await backend.live() == 2
            now = await backend.now()
        keys = [key async for key in redis.scan_iter(count=1000)]
        left = {key.decode(): await redis.pttl(key) for key in keys}
    assert {key.split(":")[0] for key in left} == {"pairing", "user-code", "open-of", "live-pairings"}
    assert all(ttl > 0 for ttl in left.values()), left
    # Five minutes after its end, exactly; a few seconds for this test's own run.
    assert shown.expires_at + AFTERLIFE_MS - now - 5_000 < left[pairing_channel(shown.id)] <= 120_000 + AFTERLIFE_MS
    assert AFTERLIFE_MS - 5_000 < left[pairing_channel(ended.id)] <= AFTERLIFE_MS


async def test_no_index_expires_before_the_longest_lived_pairing_it_leads_to(redis_url: str) -> None:
    # Else a revocation would miss it, and the count of live ones forget it.
    async with raw(redis_url) as redis, on_redis(redis_url) as backend:
        mine = approver()
        await backend.added(approver=mine)
        for key in (f"open-of:{mine.device_id}", "live-pairings"):
            assert await redis.pttl(key) >= LONGEST_LIFE_MS - 5_000, key


@pytest.mark.security(16)
async def test_a_claim_that_can_not_be_indexed_is_not_made(redis_url: str) -> None:
    # A revocation would miss it.
    async with raw(redis_url) as redis, on_redis(redis_url) as backend:
        old, mine = await backend.added(), approver()
        await redis.set(f"open-of:{mine.device_id}", "no index", ex=60)
        with pytest.raises(Unavailable):
            await backend.store.replace(old, old.after(Event.CLAIM, old.created_at, approver=mine))
        loaded = await backend.store.get(old.id)
        assert loaded is not None
        assert loaded.pairing == old


@pytest.mark.parametrize("instead", ["no index", None])
async def test_a_swap_stands_and_rings_whatever_has_become_of_the_count_of_live_pairings(
    redis_url: str, instead: str | None
) -> None:
    ear = Ear()
    async with raw(redis_url) as redis, on_redis(redis_url) as backend:
        old = await backend.added()
        await redis.delete("live-pairings")
        if instead:
            await redis.set("live-pairings", instead, ex=60)
        async with backend.other_bus.watch([pairing_channel(old.id)], ear.wake):
            claimed = old.after(Event.CLAIM, old.created_at)
            assert await backend.store.replace(old, claimed)
            # One that is gone does not come back without a time to live.
            assert await redis.exists("live-pairings") == bool(instead)
            assert await backend.store.replace(claimed, claimed.after(Event.CANCEL, old.created_at))
            await eventually(lambda: len(ear.heard) == 2, "two rings")
        await redis.delete("live-pairings")


async def test_a_store_that_is_away_is_unavailable_in_every_call_and_works_when_it_is_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with one_process(server.url) as (store, bus):
        backend = Backend("redis", store, bus, store, bus)
        pairing = await backend.added()
        other = backend.pairing(approver=approver())
        new = pairing.after(Event.CLAIM, pairing.created_at, approver=approver())
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "add": lambda: store.add(other),
            "get": lambda: store.get(pairing.id),
            "id_of_user_code": lambda: store.id_of_user_code(pairing.user_code_hash),
            "replace": lambda: store.replace(pairing, new),
            "open_of": lambda: store.open_of("device"),
        }
        server.stop()
        for name, call in calls.items():
            with pytest.raises(Unavailable) as caught:
                await call()
            assert caught.value.retry_after, name
        server.start()
        for call in calls.values():
            await call()
        # Redis has forgotten everything; nothing that was lost comes back by itself.
        assert await store.get(pairing.id) is None
        assert await store.get(other.id) is not None
    server.stop()


async def test_a_store_that_refuses_writes_is_unavailable_and_still_read(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with one_process(server.url) as (store, bus):
        backend = Backend("redis", store, bus, store, bus)
        pairing = await backend.added()
        async with raw(server.url) as redis:
            await redis.config_set("maxmemory", "1")
            with pytest.raises(Unavailable):
                await store.add(backend.pairing())
            with pytest.raises(Unavailable):
                await store.replace(pairing, pairing.after(Event.CLAIM, pairing.created_at))
            loaded = await store.get(pairing.id)
            assert loaded is not None
            assert loaded.pairing == pairing
            await redis.config_set("maxmemory", "0")
            assert await store.add(backend.pairing())
    server.stop()


@pytest.mark.security(29)
async def test_a_command_aborted_in_mid_flight_never_gives_its_answer_to_another(redis_url: str) -> None:
    async with on_redis(redis_url) as backend:
        pairings = [await backend.added() for _ in range(20)]
        for round_ in range(10):
            tasks = [asyncio.create_task(backend.store.get(each.id)) for each in pairings]
            # Some have sent their command by now, some have not.
            for _ in range(round_):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for pairing, answer in zip(pairings, answers, strict=True):
                if not isinstance(answer, BaseException):
                    assert answer is not None
                    assert answer.pairing == pairing
        for pairing in pairings:
            loaded = await backend.store.get(pairing.id)
            assert loaded is not None
            assert loaded.pairing == pairing
