"""The pairing story itself, call by call, on process memory: what it stores, counts, notes and tells to whom.

In this process, without a server, so that `scripts/mutate` can try each line of it. What clients see is in `tests/web`.
"""

from collections.abc import Awaitable
from random import Random

import pytest
from msgspec.structs import replace as replace_struct

from pairing_ws.core import codes
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.network import Network, Place
from pairing_ws.pairing.claim_codes import seed
from pairing_ws.pairing.machine import ApprovalWarning, Event, Initiator, Pairing, Status, Verification, encode_pairing
from pairing_ws.pairing.notifications import StateChanged
from pairing_ws.pairing.types import ByKey, BySecret, Created, Holder, Role, View
from tests.support.pairing_world import (
    HERE,
    INDOORS,
    KEY,
    NEIGHBOUR,
    OWN,
    SITE,
    THERE,
    A,
    B,
    World,
    by_key,
    code_of,
    counted,
    in_quarantine,
    nobody_there,
    refused,
    secret_of,
    word,
)

# Create


async def test_a_new_device_gets_id_code_and_secret_and_the_store_only_their_hashes() -> None:
    world, before = World(ttl=90_000), counted("create")
    created = await world.new()
    pairing = await world.now_is(created)
    assert created.view == View(pairing, Role.NEW_DEVICE, world.clock.now)
    assert (pairing.initiator, pairing.status, pairing.version) == (Initiator.NEW_DEVICE, Status.PENDING, 1)
    assert (pairing.created_at, pairing.expires_at) == (world.clock.now, world.clock.now + 90_000)
    assert (pairing.new_device, pairing.approver, pairing.rotate_ms) == (B, None, 0)
    assert created.qr_text == f"{SITE}/pair/{pairing.id}#{code_of(created)}"
    assert created.seed is None
    # Base64url: 128, 128 and 256 bits.
    secret = secret_of(created).secret
    assert (len(pairing.id), len(code_of(created)), len(secret)) == (22, 22, 43)
    assert len({pairing.id, code_of(created), secret}) == 3
    assert pairing.code_hash == codes.digest(code_of(created))
    assert pairing.secret_hash == codes.digest(secret)
    assert pairing.user_code_hash == codes.user_code_digest(KEY, created.user_code.replace("-", ""))
    assert counted("create") == before + 1


async def test_a_new_device_may_choose_its_secret() -> None:
    world = World()
    created = await world.new(secret=OWN)
    view = await world.views.view(created.view.pairing.id, BySecret(OWN))
    assert view.role is Role.NEW_DEVICE


async def test_a_logged_in_device_shows_a_code_that_has_no_secret_yet() -> None:
    world = World()
    created = await world.creation.create(A, HERE)
    pairing = await world.now_is(created)
    assert created.view == View(pairing, Role.APPROVER, world.clock.now)
    assert (pairing.initiator, pairing.approver, pairing.new_device) == (
        Initiator.LOGGED_IN_DEVICE,
        A.approver,
        None,
    )
    assert (created.secret, pairing.secret_hash) == (None, "")
    assert created.qr_text == f"{SITE}/join/{pairing.id}#{code_of(created)}"
    # Not even one that it should not have sent.
    created = await world.creation.create(A, HERE, OWN)
    assert (created.secret, (await world.now_is(created)).secret_hash) == (None, "")


async def test_a_pairing_begins_when_it_is_stored() -> None:
    world, draw = World(ttl=90_000), Random(4).randbytes

    def slow(size: int) -> bytes:
        world.clock.forward(seconds=1)
        return draw(size)

    world.random = slow
    created = await world.new()
    pairing, now = created.view.pairing, world.clock.now
    assert (created.view.now, pairing.created_at, pairing.expires_at) == (now, now, now + 90_000)


async def test_a_device_in_quarantine_makes_no_code() -> None:
    world = World(max_live=1)
    assert await word(world.creation.create(by_key(refuse_approval=in_quarantine), HERE)) is Code.DEVICE_QUARANTINED
    # There is room still.
    await world.new()


async def test_a_rotating_picture_begins_with_the_code_of_its_first_step_and_stores_none() -> None:
    world = World(rotate=5_000)
    created = await world.new()
    pairing = await world.now_is(created)
    assert (pairing.rotate_ms, pairing.code_hash) == (5_000, "")
    assert created.seed == codes.base64url(seed(KEY, pairing.id))
    assert code_of(created).startswith("~")
    view, _ = await world.claims.claim(pairing.id, code_of(created), A, HERE)
    assert view.pairing.status is Status.SCANNED


async def test_creating_is_limited_per_address_block() -> None:
    world = World()
    world.rates.most["create"] = 1
    await world.creation.create(B, "2001:4860::1")
    assert await word(world.creation.create(B, "2001:4860::2")) is Code.RATE_LIMITED
    assert world.rates.used("create") == {"2001:4860::/64": 1}
    await world.creation.create(B, "2001:4860:0:1::1")


async def test_only_new_devices_from_the_internet_count_as_an_origin_and_too_many_are_let_in() -> None:
    world = World()
    world.rates.most["origin"] = 1
    for _ in range(2):
        await world.new()
    await world.new(INDOORS)
    await world.creation.create(A, HERE)
    assert world.rates.used("origin") == {THERE: 1}


async def test_strangers_make_no_code_at_an_origin_that_several_have_reported_and_a_private_address_is_none() -> None:
    world = World()
    world.rates.most["reported"] = 1
    for ip in (THERE, "10.0.0.7"):
        await world.rates.hit("reported", ip)
    assert await word(world.new()) is Code.RATE_LIMITED
    await world.creation.create(A, THERE)
    await world.new(INDOORS)


async def test_counters_that_are_away_refuse() -> None:
    world = World()

    async def away(rule: str, key: str) -> None:
        if rule == "origin":
            raise Unavailable("the counters")

    world.rates.hit = away  # type: ignore[method-assign]
    assert await word(world.new()) is Code.UNAVAILABLE


async def test_the_last_tenth_of_all_pairings_is_for_devices_that_are_logged_in() -> None:
    world = World(max_live=20)
    for _ in range(18):
        await world.new()
    full = await refused(world.new())
    assert (full.code, full.retry_after) == (Code.UNAVAILABLE, 10)
    for _ in range(2):
        await world.creation.create(A, HERE)
    assert await word(world.creation.create(A, HERE)) is Code.UNAVAILABLE
    # One that has ended makes room.
    world.clock.forward(seconds=120)
    await world.new()


async def test_without_a_cap_there_is_always_room() -> None:
    await World(max_live=0).new()


async def test_a_typed_code_that_is_taken_is_drawn_again_up_to_five_times() -> None:
    world = World()
    draws = Random(5)
    taken = 5

    def random(size: int) -> bytes:
        nonlocal taken
        if size == 8 and taken:
            taken -= 1
            return bytes(8)
        return draws.randbytes(size)

    world.random = random
    assert (await world.new()).user_code == "0000-0000"
    assert (await world.new()).user_code != "0000-0000", "the fifth was free"
    taken = 5
    full = await refused(world.new())
    assert (full.code, full.retry_after) == (Code.UNAVAILABLE, 1)


# Read and wait


async def test_each_party_sees_its_side_and_everybody_else_nothing() -> None:
    world = World()
    created = await world.new()
    pairing = created.view.pairing
    nobody: list[Holder] = [A, BySecret(""), BySecret("x"), BySecret(pairing.secret_hash)]
    for holder in nobody:
        assert await word(world.views.view(pairing.id, holder)) is Code.NOT_FOUND
    assert await word(world.views.view("unknown", secret_of(created))) is Code.NOT_FOUND
    await world.claims.claim(pairing.id, code_of(created), A, HERE)
    now = await world.now_is(created)
    world.clock.forward(seconds=1)
    assert await world.views.view(pairing.id, A) == View(now, Role.APPROVER, world.clock.now)
    assert await world.views.view(pairing.id, secret_of(created)) == View(now, Role.NEW_DEVICE, world.clock.now)
    # The same account on another device is somebody else.
    assert await word(world.views.view(pairing.id, by_key(device="tablet"))) is Code.NOT_FOUND


async def test_nobody_holds_the_absent_secret_of_a_code_that_a_logged_in_device_shows() -> None:
    world = World()
    created = await world.creation.create(A, HERE)
    for secret in ("", codes.digest("")):
        assert await word(world.views.view(created.view.pairing.id, BySecret(secret))) is Code.NOT_FOUND


async def test_a_watcher_is_woken_by_each_change_of_its_pairing_and_by_the_newest_socket() -> None:
    world = World()
    heard: list[str] = []
    watched, other = await world.new(), await world.new()
    pairing_id = watched.view.pairing.id
    async with world.views.watch(pairing_id, heard.append):
        await world.claims.claim(other.view.pairing.id, code_of(other), A, HERE)
        await world.views.take_over(other.view.pairing.id, "not here")
        assert heard == []
        await world.claims.claim(pairing_id, code_of(watched), A, HERE)
        await world.views.take_over(pairing_id, "the newest")
        await world.decisions.approve(pairing_id, A)
        assert heard == ["", "socket:the newest", ""]
    await world.views.take_over(pairing_id, "nobody listens")
    assert len(heard) == 3


# Claim


def carrying(pairing: Pairing, at: int) -> StateChanged:
    return StateChanged(f"{at} {encode_pairing(pairing).decode()}")


async def test_a_notified_state_that_is_newer_spares_the_store_and_is_for_its_parties_alone() -> None:
    world = World()
    created = await world.new()
    pairing_id, version = created.view.pairing.id, created.view.pairing.version
    denied = created.view.pairing.after(Event.DENY, created.view.now)
    read, notification = world.views.view_after_notification, carrying(denied, created.view.now + 5)
    view = await read(pairing_id, secret_of(created), notification, version)
    assert (view.pairing, view.now, view.role) == (denied, created.view.now + 5, Role.NEW_DEVICE)
    assert await word(read(pairing_id, BySecret("guessed"), notification, version)) is Code.NOT_FOUND
    assert await word(read(pairing_id, A, notification, version)) is Code.NOT_FOUND


async def test_where_no_newer_state_was_notified_the_store_is_read() -> None:
    world = World()
    created = await world.claimed()
    pairing_id, now = created.view.pairing.id, await world.now_is(created)
    read, old = world.views.view_after_notification, carrying(now, created.view.now - 1)
    for notification in (old, None):
        view = await read(pairing_id, secret_of(created), notification, now.version)
        assert (view.pairing, view.now) == (now, created.view.now)
    world.store.forget()
    assert await word(read(pairing_id, secret_of(created), old, now.version)) is Code.NOT_FOUND


async def test_a_claim_ties_the_scanning_device_to_the_pairing() -> None:
    world, before = World(), counted("claim")
    created = await world.new()
    world.clock.forward(seconds=5)
    view, secret = await world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    pairing = await world.now_is(created)
    assert view == View(pairing, Role.APPROVER, world.clock.now)
    assert secret is None
    assert (pairing.status, pairing.version, pairing.approver) == (Status.SCANNED, 2, A.approver)
    assert (pairing.scanned_at, pairing.network) == (world.clock.now, Network.DIFFERENT)
    # More than a minute is left, so nothing moves.
    assert pairing.expires_at == created.view.pairing.expires_at
    assert world.rates.used("claim") == {"user:alice": 1}
    assert counted("claim") == before + 1


@pytest.mark.parametrize("chosen", [None, OWN])
async def test_a_new_device_that_scans_gets_its_secret_with_the_claim(chosen: str | None) -> None:
    world = World()
    created = await world.creation.create(A, HERE)
    view, secret = await world.claims.claim(created.view.pairing.id, code_of(created), B, THERE, chosen)
    pairing = await world.now_is(created)
    assert secret == (chosen or secret)
    assert secret
    assert len(secret) >= 30
    assert view == View(pairing, Role.NEW_DEVICE, world.clock.now)
    assert (pairing.status, pairing.new_device, pairing.approver) == (Status.SCANNED, B, A.approver)
    assert pairing.secret_hash == codes.digest(secret)
    assert pairing.network is Network.DIFFERENT
    assert world.rates.used("claim") == {THERE: 1}
    if chosen is None:
        assert len(secret) == 43


async def test_a_late_claim_leaves_a_minute_to_decide() -> None:
    world = World()
    created = await world.new()
    world.clock.forward(seconds=119)
    view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    assert view.pairing.expires_at == world.clock.now + 60_000


async def test_a_wrong_code_an_unknown_pairing_and_a_used_up_rate_claim_nothing() -> None:
    world = World()
    created, other = await world.new(), await world.new()
    pairing_id = created.view.pairing.id
    for code in ("", code_of(other), code_of(created) + "A", created.user_code):
        assert await word(world.claims.claim(pairing_id, code, A, HERE)) is Code.NOT_FOUND
    assert await word(world.claims.claim("unknown", code_of(created), A, HERE)) is Code.NOT_FOUND
    world.rates.most["claim"] = 5
    assert await word(world.claims.claim(pairing_id, code_of(created), A, HERE)) is Code.RATE_LIMITED
    assert (await world.now_is(created)).version == 1


async def test_two_of_a_kind_can_not_pair() -> None:
    world = World()
    by_b, by_a = await world.new(), await world.creation.create(A, HERE)
    wrong = await refused(world.claims.claim(by_b.view.pairing.id, code_of(by_b), B, THERE))
    assert (wrong.code, wrong.extra) == (Code.WRONG_DIRECTION, {"initiator": "new_device"})
    wrong = await refused(world.claims.claim(by_a.view.pairing.id, code_of(by_a), by_key("bob"), HERE))
    assert (wrong.code, wrong.extra) == (Code.WRONG_DIRECTION, {"initiator": "logged_in_device"})


async def test_who_has_claimed_may_ask_again_until_it_is_over_and_nobody_else() -> None:
    world = World()
    created = await world.claimed()
    pairing_id, code = created.view.pairing.id, code_of(created)
    view, secret = await world.claims.claim(pairing_id, code, A, HERE)
    assert view == View(await world.now_is(created), Role.APPROVER, world.clock.now)
    assert (view.pairing.version, secret) == (2, None)
    for other in (by_key("bob"), by_key(device="tablet")):
        assert await word(world.claims.claim(pairing_id, code, other, HERE)) is Code.ALREADY_CLAIMED
    await world.decisions.deny(pairing_id, A)
    ended = await refused(world.claims.claim(pairing_id, code, A, HERE))
    assert (ended.code, ended.extra) == (Code.INVALID_STATE, {"pairingStatus": "denied"})


async def test_a_new_device_may_ask_again_with_its_secret_and_the_key_it_showed() -> None:
    world = World()
    created = await world.creation.create(A, HERE)
    pairing_id, code = created.view.pairing.id, code_of(created)
    device = NewDevice(code="laptop", name="Laptop", ip=THERE, key_thumbprint="jkt")
    await world.claims.claim(pairing_id, code, device, THERE, OWN)
    view, secret = await world.claims.claim(pairing_id, code, device, THERE, OWN)
    assert view == View(await world.now_is(created), Role.NEW_DEVICE, world.clock.now)
    assert (view.pairing.version, secret) == (2, OWN)
    assert await word(world.claims.claim(pairing_id, code, B, THERE, OWN)) is Code.DEVICE_CHANGED
    for other in (None, OWN + "x"):
        assert await word(world.claims.claim(pairing_id, code, device, THERE, other)) is Code.ALREADY_CLAIMED


async def test_a_stale_code_is_good_enough_for_who_has_claimed_with_it_alone() -> None:
    world = World(rotate=5_000)
    created = await world.claimed()
    pairing_id, code = created.view.pairing.id, code_of(created)
    world.clock.forward(seconds=40)
    view, _ = await world.claims.claim(pairing_id, code, A, HERE)
    assert view.pairing.version == 2
    assert await word(world.claims.claim(pairing_id, code, by_key("bob"), HERE)) is Code.NOT_FOUND
    assert await word(world.claims.claim(pairing_id, "~wrong", A, HERE)) is Code.NOT_FOUND
    shown = await world.creation.create(A, HERE)
    pairing_id, code = shown.view.pairing.id, code_of(shown)
    await world.claims.claim(pairing_id, code, B, THERE, OWN)
    world.clock.forward(seconds=40)
    view, _ = await world.claims.claim(pairing_id, code, B, THERE, OWN)
    assert view.pairing.version == 2
    assert await word(world.claims.claim(pairing_id, code, B, THERE, OWN + "x")) is Code.NOT_FOUND


@pytest.mark.parametrize("device", [B, NEIGHBOUR, NewDevice(code="laptop", name="Laptop", ip="2001:4860::1")])
@pytest.mark.parametrize("verify", ["never", "remote", "always"])
@pytest.mark.parametrize("typed", [False, True])
async def test_the_number_is_asked_for_as_the_policy_says(verify: str, device: NewDevice, typed: bool) -> None:
    world = World(verify=verify)
    created = await world.new(device)
    call = (
        world.claims.claim_by_user_code(created.user_code, A, HERE)
        if typed
        else world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    )
    view, _ = await call
    asked = verify == "always" or (verify == "remote" and (typed or device is not NEIGHBOUR))
    assert view.pairing.verification is (Verification.NUMBER if asked else Verification.NONE)


async def test_on_a_public_site_private_addresses_say_nothing_of_the_network() -> None:
    for public_site, network in ((False, Network.SAME), (True, Network.UNKNOWN)):
        world = World(public_site=public_site)
        created = await world.new(INDOORS)
        view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), A, INDOORS.ip)
        assert view.pairing.network is network


@pytest.mark.parametrize("ip", [THERE, "2001:4860::1"])
async def test_the_policy_deny_lets_nobody_claim_from_another_network(ip: str) -> None:
    world = World(network="deny")
    created = await world.new(NewDevice(code="laptop", name="Laptop", ip=ip))
    call = world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    assert await word(call) is Code.NETWORK_REFUSED
    assert (await world.now_is(created)).version == 1
    near = await world.new(NEIGHBOUR)
    view, _ = await world.claims.claim(near.view.pairing.id, code_of(near), A, HERE)
    assert view.pairing.warnings == ()


async def test_no_device_lets_itself_in() -> None:
    world = World()
    created = await world.new()
    same = by_key(device="alice's laptop")
    assert await word(world.claims.claim(created.view.pairing.id, code_of(created), same, HERE)) is Code.SAME_DEVICE
    shown = await world.creation.create(same, HERE)
    assert await word(world.claims.claim(shown.view.pairing.id, code_of(shown), B, THERE)) is Code.SAME_DEVICE


async def test_of_two_claims_at_once_one_wins_and_a_forgotten_pairing_is_unknown() -> None:
    world = World()
    created = await world.new()
    pairing_id, code = created.view.pairing.id, code_of(created)
    world.store.first = lambda: world.claims.claim(pairing_id, code, by_key("bob"), HERE)
    assert await word(world.claims.claim(pairing_id, code, A, HERE)) is Code.ALREADY_CLAIMED
    created = await world.new()

    async def forgotten() -> None:
        world.store.forget()

    world.store.first = forgotten
    assert await word(world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)) is Code.NOT_FOUND


# What the approver is warned of


async def warnings(world: World, device: NewDevice = B, approver: ByKey = A) -> tuple[ApprovalWarning, ...]:
    created = await world.new(device)
    view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), approver, HERE)
    return view.pairing.warnings


async def test_another_network_is_a_doubt_unless_the_policy_looks_away_and_the_unknown_is_none() -> None:
    assert await warnings(World()) == (ApprovalWarning.NETWORK_DIFFERS,)
    assert await warnings(World(network="off")) == ()
    assert await warnings(World(), NEIGHBOUR) == ()
    assert await warnings(World(), NewDevice(code="laptop", name="Laptop", ip="2001:4860::1")) == ()


async def test_another_country_is_the_first_doubt_and_the_place_is_shown() -> None:
    world = World()
    there = world.places[THERE] = Place(country_code="FR", country="France")
    created = await world.new()
    view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    # One unknown place differs from nothing.
    assert (view.pairing.place, view.pairing.warnings) == (there, (ApprovalWarning.NETWORK_DIFFERS,))
    world.places[HERE] = Place(country_code="FR")
    assert await warnings(world) == (ApprovalWarning.NETWORK_DIFFERS,)
    world.places[HERE] = Place(city="Nowhere")
    assert await warnings(world) == (ApprovalWarning.NETWORK_DIFFERS,)
    world.places[HERE] = Place(country_code="DE")
    assert await warnings(world) == (ApprovalWarning.PLACE_DIFFERS, ApprovalWarning.NETWORK_DIFFERS)


async def test_who_is_asked_often_is_warned_and_others_are_not() -> None:
    world = World(network="off")
    world.rates.most["asked"] = 2
    assert [await warnings(world) for _ in range(3)] == [(), (), (ApprovalWarning.MANY_REQUESTS,)]
    assert await warnings(world, NEIGHBOUR) == (ApprovalWarning.MANY_REQUESTS,)
    assert await warnings(world, B, by_key("bob")) == ()
    assert world.rates.used("asked") == {"alice": 2, "bob": 1}


async def test_an_origin_of_many_requests_is_a_doubt_unless_it_is_the_approvers_own_or_private() -> None:
    world = World(network="off")
    assert await warnings(world) == ()
    # Asking does not count it again: making the code did.
    assert world.rates.used("origin") == {THERE: 1}
    world.rates.most["origin"] = 2
    assert await warnings(world) == (ApprovalWarning.MANY_REQUESTS,)
    for _ in range(2):
        await world.new(NEIGHBOUR)
    await world.rates.hit("origin", "10.0.0.7")
    await world.rates.hit("origin", "10.0.0.7")
    assert await warnings(world, NEIGHBOUR) == ()
    assert await warnings(world, INDOORS) == ()


async def test_a_new_device_that_scans_counts_as_an_origin_with_its_claim() -> None:
    world = World(network="off")
    world.rates.most["origin"] = 1
    for expected in ((), (ApprovalWarning.MANY_REQUESTS,)):
        created = await world.creation.create(A, HERE)
        view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), B, THERE)
        assert view.pairing.warnings == expected
    assert world.rates.used("origin") == {THERE: 1}


# Typed codes


async def test_a_typed_code_claims_however_it_is_spelt() -> None:
    world = World(verify="remote")
    created = await world.new(NEIGHBOUR)
    typed = created.user_code.replace("-", " ").lower()
    view, secret = await world.claims.claim_by_user_code(typed, A, HERE)
    assert view.pairing == await world.now_is(created)
    assert (view.role, view.pairing.status, secret) == (Role.APPROVER, Status.SCANNED, None)
    assert (world.rates.used("claim"), world.rates.used("user_code")) == ({"user:alice": 1}, {})


async def test_a_new_device_can_type_a_code_too_and_choose_its_secret() -> None:
    world = World()
    created = await world.creation.create(A, HERE)
    view, secret = await world.claims.claim_by_user_code(created.user_code, B, THERE, OWN)
    assert (view.role, secret) == (Role.NEW_DEVICE, OWN)
    assert world.rates.used("claim") == {THERE: 1}


async def test_every_wrong_typed_code_looks_the_same_and_counts() -> None:
    world = World()
    claimed, mine = await world.claimed(), await world.creation.create(A, HERE)
    tries = ["", "nonsense!", "ABCD-EFGH", claimed.user_code, mine.user_code]
    bob = by_key("bob")
    for count, typed in enumerate(tries, 1):
        wrong = await refused(world.claims.claim_by_user_code(typed, bob, HERE))
        assert (wrong.code, wrong.extra) == (Code.NOT_FOUND, {})
        assert world.rates.used("user_code") == {"user:bob": count}
    world.rates.most["user_code"] = len(tries)
    right = (await world.new()).user_code
    assert await word(world.claims.claim_by_user_code(right, bob, HERE)) is Code.RATE_LIMITED
    await world.claims.claim_by_user_code(right, A, HERE)


async def test_a_store_that_is_away_costs_no_try_of_a_typed_code() -> None:
    world = World()
    created = await world.new()
    world.store.away = True
    assert await word(world.claims.claim_by_user_code(created.user_code, A, HERE)) is Code.UNAVAILABLE
    assert world.rates.used("user_code") == {}
    world.rates.most["claim"] = 0
    assert await word(world.claims.claim_by_user_code(created.user_code, A, HERE)) is Code.RATE_LIMITED


# Keep


@pytest.mark.parametrize("shown_by", ["new device", "logged-in device"])
async def test_a_kept_code_waits_a_minute_for_its_holder_alone(shown_by: str) -> None:
    world = World(rotate=5_000)
    creator: NewDevice | ByKey = B if shown_by == "new device" else A
    created = await world.creation.create(creator, THERE)
    holder: Holder = by_key("bob") if shown_by == "new device" else BySecret(OWN)
    pairing_id = created.view.pairing.id
    kept = await world.claims.reserve_code(pairing_id, code_of(created), holder, HERE)
    assert (await world.now_is(created)).version == 1
    assert world.rates.used("claim") == {"user:bob" if isinstance(holder, ByKey) else HERE: 1}

    def claim(by: Holder) -> Awaitable[tuple[View, str | None]]:
        if isinstance(by, ByKey):
            return world.claims.claim(pairing_id, kept, by, HERE)
        return world.claims.claim(pairing_id, kept, NEIGHBOUR, HERE, by.secret)

    world.clock.forward(seconds=59.999)
    assert await word(world.claims.claim(pairing_id, code_of(created), A, HERE)) is Code.NOT_FOUND
    assert await word(world.claims.reserve_code(pairing_id, kept, holder, HERE)) is Code.NOT_FOUND, "kept for ever"
    other: Holder = by_key("eve") if isinstance(holder, ByKey) else BySecret(OWN + "x")
    assert await word(claim(other)) is Code.NOT_FOUND
    world.clock.forward(ms=1)
    assert await word(claim(holder)) is Code.NOT_FOUND
    world.clock.forward(ms=-1)
    view, _ = await claim(holder)
    assert view.pairing.status is Status.SCANNED


async def test_a_wrong_code_is_not_kept_nor_any_at_a_used_up_rate() -> None:
    world = World()
    created = await world.new()
    assert await word(world.claims.reserve_code(created.view.pairing.id, "wrong", A, HERE)) is Code.NOT_FOUND
    assert await word(world.claims.reserve_code("unknown", code_of(created), A, HERE)) is Code.NOT_FOUND
    world.rates.most["claim"] = 2
    assert (
        await word(world.claims.reserve_code(created.view.pairing.id, code_of(created), A, HERE)) is Code.RATE_LIMITED
    )


async def test_a_kept_code_is_worth_nothing_to_a_new_device_without_a_secret() -> None:
    world = World(rotate=5_000)
    created = await world.creation.create(A, HERE)
    kept = await world.claims.reserve_code(created.view.pairing.id, code_of(created), BySecret(OWN), THERE)
    assert await word(world.claims.claim(created.view.pairing.id, kept, B, THERE)) is Code.NOT_FOUND


# Approve


async def test_an_approval_leaves_time_to_log_in_twice_as_much_with_a_number() -> None:
    for verify, seconds in (("never", 70), ("always", 140)):
        world, before = World(verify=verify, redeem=70_000), counted("approve")
        created = await world.claimed()
        world.clock.forward(seconds=110)
        view = await world.decisions.approve(created.view.pairing.id, A)
        pairing = await world.now_is(created)
        assert (view.pairing, view.role, view.now) == (pairing, Role.APPROVER, world.clock.now)
        assert (pairing.status, pairing.approved_at) == (Status.APPROVED, world.clock.now)
        assert pairing.expires_at == world.clock.now + seconds * 1000
        assert counted("approve") == before + 1


async def test_an_early_approval_takes_no_time_away() -> None:
    world = World()
    created = await world.claimed()
    view = await world.decisions.approve(created.view.pairing.id, A)
    assert view.pairing.expires_at == created.view.pairing.expires_at


async def test_only_the_approver_sees_the_number_from_the_approval_to_the_login() -> None:
    world = World(verify="always")
    created = await world.claimed()
    pairing_id = created.view.pairing.id
    number = codes.verification_number(KEY, pairing_id)
    assert (await world.views.view(pairing_id, A)).number is None
    assert (await world.decisions.approve(pairing_id, A)).number == number
    assert (await world.decisions.approve(pairing_id, A)).number == number
    assert (await world.views.view(pairing_id, A)).number == number
    assert (await world.views.view(pairing_id, secret_of(created))).number is None
    await world.log_in(created, number)
    assert (await world.views.view(pairing_id, A)).number is None


async def test_without_the_policy_nobody_sees_a_number() -> None:
    world = World()
    created = await world.approved()
    assert (await world.views.view(created.view.pairing.id, A)).number is None


async def test_an_approval_repeated_is_the_same_also_after_the_login() -> None:
    world = World()
    created = await world.claimed(NewDevice(code="laptop", name="Laptop", ip=THERE, push_token="address"))
    pairing_id = created.view.pairing.id
    for _ in range(2):
        assert (await world.decisions.approve(pairing_id, A)).pairing.version == 3
    assert len(world.pushed) == 1
    await world.log_in(created)
    view = await world.decisions.approve(pairing_id, A)
    assert (view.pairing.status, view.pairing.version, view.now) == (Status.CONSUMED, 4, world.clock.now)


async def test_who_may_not_approve_yet_or_was_not_there_lately_does_not() -> None:
    world = World()
    created = await world.new()
    pairing_id = created.view.pairing.id
    fresh, absent = by_key(refuse_approval=in_quarantine), by_key(step_up=nobody_there)
    shown = await world.creation.create(absent, HERE)
    # Nobody is asked for a passkey over what can't be approved anyway.
    assert await word(world.decisions.approve(shown.view.pairing.id, absent)) is Code.NOT_SCANNED
    await world.claims.claim(pairing_id, code_of(created), A, HERE)
    assert await word(world.decisions.approve(pairing_id, fresh)) is Code.DEVICE_QUARANTINED
    assert await word(world.decisions.approve(pairing_id, absent)) is Code.STEP_UP_REQUIRED
    assert (await world.now_is(created)).status is Status.SCANNED
    assert await word(world.decisions.approve(pairing_id, by_key("bob"))) is Code.NOT_FOUND


async def test_an_approval_is_pushed_to_the_new_device_that_gave_an_address() -> None:
    world = World()
    with_address = await world.approved(NewDevice(code="laptop", name="Laptop", ip=THERE, push_token="address"))
    await world.approved()
    data = {"id": with_address.view.pairing.id, "status": "Approved", "approvedAt": "2026-01-01T00:00:00.000Z"}
    assert world.pushed == [("address", data)]


async def test_an_approval_that_comes_second_is_told_what_came_first() -> None:
    world = World()
    created = await world.claimed(NewDevice(code="laptop", name="Laptop", ip=THERE, push_token="address"))
    pairing_id = created.view.pairing.id
    world.store.first = lambda: world.decisions.deny(pairing_id, A)
    late = await refused(world.decisions.approve(pairing_id, A))
    assert (late.code, late.extra) == (Code.INVALID_STATE, {"pairingStatus": "denied"})
    assert world.pushed == []


# Deny and report


async def test_a_denial_ends_it_and_is_noted_once() -> None:
    world, before = World(verify="always"), counted("deny")
    created = await world.approved()
    for _ in range(2):
        view = await world.decisions.deny(created.view.pairing.id, A)
        assert view.pairing == await world.now_is(created)
        assert (view.pairing.status, view.role, view.number) == (Status.DENIED, Role.APPROVER, None)
    assert world.accounts.calls == [("pairing.denied", A.approver, B)]
    assert counted("deny") == before + 1
    # Nobody was reported.
    assert world.rates.used("report") | world.rates.used("reported") | world.rates.used("reported_by") == {}
    assert await word(world.decisions.deny(created.view.pairing.id, by_key("bob"))) is Code.NOT_FOUND


async def test_a_report_is_noted_once_and_hides_that_origin_from_the_reporter_in_both_directions() -> None:
    world = World()
    world.rates.most |= {"report": 1, "reported_by": 1}
    waiting, created = await world.new(), await world.claimed()
    for _ in range(2):
        view = await world.decisions.deny(created.view.pairing.id, A, report=True)
        assert view.pairing.status is Status.DENIED
    assert world.accounts.calls == [("pairing.reported", A.approver, B)]
    facts = {"pairing": created.view.pairing.id, "account": "alice", "by_device": A.approver.device_id, "ip": B.ip}
    assert [each for each in world.audited if each[0] == "pairing.reported"] == [("pairing.reported", facts)]
    assert world.rates.used("report") == {created.view.pairing.id: 1}
    assert world.rates.used("reported_from") == {f"{HERE} {THERE}": 1}
    assert world.rates.used("reported_by") == {f"alice {THERE}": 1}
    assert world.rates.used("reported") == {THERE: 1}
    hidden = world.claims.claim(waiting.view.pairing.id, code_of(waiting), A, HERE)
    assert await word(hidden) is Code.NOT_FOUND
    shown = await world.creation.create(A, HERE)
    hidden = world.claims.claim(shown.view.pairing.id, code_of(shown), B, THERE)
    assert await word(hidden) is Code.NOT_FOUND
    assert (await world.now_is(shown)).version == 1
    view, _ = await world.claims.claim(shown.view.pairing.id, code_of(shown), NEIGHBOUR, HERE)
    assert view.pairing.status is Status.SCANNED
    view, _ = await world.claims.claim(waiting.view.pairing.id, code_of(waiting), by_key("bob"), HERE)
    assert view.pairing.status is Status.SCANNED


async def test_what_a_device_in_quarantine_does_is_counted_for_itself_alone() -> None:
    world = World()
    newcomer = by_key(device="tablet", refuse_approval=in_quarantine)
    world.rates.most["reported_by"] = 1
    await word(world.claims.claim_by_user_code("0000-0000", newcomer, HERE))
    created = await world.new()
    await world.claims.claim(created.view.pairing.id, code_of(created), newcomer, HERE)
    await world.decisions.deny(created.view.pairing.id, newcomer, report=True)
    assert world.accounts.calls == [("pairing.denied", newcomer.approver, B)]
    for rule in ("report", "reported", "reported_from", "asked"):
        assert world.rates.used(rule) == {}
    assert world.rates.used("claim") == {"device:tablet": 2}
    assert world.rates.used("user_code") == {"device:tablet": 1}
    assert world.rates.used("reported_by") == {f"tablet {THERE}": 1}
    again = await world.new()
    call = world.claims.claim(again.view.pairing.id, code_of(again), newcomer, HERE)
    assert await word(call) is Code.NOT_FOUND
    await world.claims.claim(again.view.pairing.id, code_of(again), A, HERE)


async def test_an_origin_is_closed_for_all_when_several_accounts_report_it_and_one_account_is_not_several() -> None:
    world = World()
    world.rates.most |= {"reported": 2, "reported_by": 1}
    first, second, third = await world.claimed(), await world.claimed(), await world.new()
    last, waiting = await world.new(), await world.new()
    for created in (first, second):
        await world.decisions.deny(created.view.pairing.id, A, report=True)
    assert world.rates.used("reported") == {THERE: 1}
    for user, created in (("bob", third), ("carol", last)):
        await world.claims.claim(created.view.pairing.id, code_of(created), by_key(user), HERE)
    # That the origin is closed by then makes no report fail.
    for user, created in (("bob", third), ("carol", last)):
        await world.decisions.deny(created.view.pairing.id, by_key(user), report=True)
    assert world.rates.used("reported") == {THERE: 2}
    hidden = world.claims.claim(waiting.view.pairing.id, code_of(waiting), by_key("dave"), HERE)
    assert await word(hidden) is Code.NOT_FOUND


@pytest.mark.security(10)
async def test_a_report_from_the_origins_own_network_hides_it_from_the_reporter_alone() -> None:
    world = World()
    world.rates.most |= {"reported": 1, "reported_by": 1}
    created, waiting = await world.claimed(NEIGHBOUR), await world.new(NEIGHBOUR)
    await world.decisions.deny(created.view.pairing.id, A, report=True)
    assert world.accounts.calls == [("pairing.reported", A.approver, NEIGHBOUR)]
    assert world.rates.used("reported_by") == {f"alice {HERE}": 1}
    assert world.rates.used("reported") == {}
    hidden = world.claims.claim(waiting.view.pairing.id, code_of(waiting), A, HERE)
    assert await word(hidden) is Code.NOT_FOUND
    view, _ = await world.claims.claim(waiting.view.pairing.id, code_of(waiting), by_key("bob"), THERE)
    assert view.pairing.status is Status.SCANNED


@pytest.mark.security(10)
async def test_behind_a_closed_origin_its_own_people_let_their_devices_in_and_nobody_else_does() -> None:
    world = World()
    world.rates.most["reported"] = 1
    shown, waiting = await world.creation.create(A, HERE), await world.new(NEIGHBOUR)
    await world.rates.hit("reported", HERE)
    hidden = world.claims.claim(waiting.view.pairing.id, code_of(waiting), A, THERE)
    assert await word(hidden) is Code.NOT_FOUND
    for created, claimant in ((waiting, A), (shown, NEIGHBOUR)):
        view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), claimant, HERE)
        assert view.pairing.status is Status.SCANNED


async def test_a_report_of_a_private_address_closes_nothing() -> None:
    world = World()
    created = await world.claimed(INDOORS)
    await world.decisions.deny(created.view.pairing.id, A, report=True)
    assert world.accounts.calls == [("pairing.reported", A.approver, INDOORS)]
    assert world.rates.used("reported_by") | world.rates.used("reported") == {}
    world.rates.most |= {"reported": 0, "reported_by": 0}
    await world.claimed(INDOORS)


async def test_a_report_of_a_code_that_nobody_scanned_is_noted_without_a_device() -> None:
    world = World()
    created = await world.creation.create(A, HERE)
    await world.decisions.deny(created.view.pairing.id, A, report=True)
    assert world.accounts.calls == [("pairing.reported", A.approver, None)]


# Cancel


async def test_its_creator_takes_it_back_and_may_say_so_twice() -> None:
    world, before = World(), counted("cancel")
    by_b, by_a = await world.claimed(), await world.creation.create(A, HERE)
    holders: list[tuple[Created, Holder, Role]] = [
        (by_b, secret_of(by_b), Role.NEW_DEVICE),
        (by_a, A, Role.APPROVER),
    ]
    for created, holder, role in holders:
        for _ in range(2):
            view = await world.decisions.cancel(created.view.pairing.id, holder)
            assert (view.pairing.status, view.role) == (Status.CANCELLED, role)
        assert (await world.now_is(created)).finished_at == world.clock.now
    assert counted("cancel") == before + 2
    assert world.accounts.calls == []


async def test_the_other_side_can_not_cancel() -> None:
    world = World()
    by_b, by_a = await world.claimed(), await world.creation.create(A, HERE)
    await world.claims.claim(by_a.view.pairing.id, code_of(by_a), B, THERE, OWN)
    wrong = await refused(world.decisions.cancel(by_b.view.pairing.id, A))
    assert (wrong.code, wrong.extra) == (Code.WRONG_DIRECTION, {"initiator": "new_device"})
    wrong = await refused(world.decisions.cancel(by_a.view.pairing.id, BySecret(OWN)))
    assert (wrong.code, wrong.extra) == (Code.WRONG_DIRECTION, {"initiator": "logged_in_device"})
    # Deny it can: it is the approver's word, whoever showed the code.
    assert (await world.decisions.deny(by_a.view.pairing.id, A)).pairing.status is Status.DENIED


async def test_whoever_ends_it_second_is_told_who_was_first() -> None:
    world = World()
    created = await world.claimed()
    pairing_id = created.view.pairing.id
    world.store.first = lambda: world.decisions.cancel(pairing_id, secret_of(created))
    assert await word(world.decisions.deny(pairing_id, A)) is Code.PAIRING_CANCELLED
    assert world.accounts.calls == []
    # Two of the same kind agree, and one of them is noted.
    created = await world.claimed()
    world.store.first = lambda: world.decisions.deny(created.view.pairing.id, A)
    await world.decisions.deny(created.view.pairing.id, A)
    assert world.accounts.calls == [("pairing.denied", A.approver, B)]


# Revoked devices


async def test_revoked_devices_take_their_open_pairings_with_them_and_no_others() -> None:
    world = World()
    mine = await world.claimed()
    tablet, other = by_key(device="tablet"), by_key(device="watch")
    shown = await world.creation.create(tablet, HERE)
    kept = await world.creation.create(other, HERE)
    done = await world.approved()
    await world.log_in(done)
    await world.changes.end_all_of(["phone", "tablet"])
    states = [(await world.now_is(each)).status for each in (mine, shown, kept, done)]
    assert states == [Status.DENIED, Status.DENIED, Status.PENDING, Status.CONSUMED]
    assert (await world.now_is(mine)).finished_at == world.clock.now


async def test_a_pairing_that_moved_on_meanwhile_is_ended_all_the_same() -> None:
    world = World()
    created, next_one = await world.claimed(), await world.claimed()
    world.store.first = lambda: world.decisions.approve(created.view.pairing.id, A)
    await world.changes.end_all_of(["phone"])
    for each in (created, next_one):
        assert (await world.now_is(each)).status is Status.DENIED


async def test_an_index_that_names_anothers_or_a_forgotten_pairing_ends_nothing() -> None:
    world = World()
    foreign, unclaimed, mine = (
        await world.claimed(),
        await world.new(),
        await world.creation.create(by_key(device="tablet"), HERE),
    )

    async def open_of(device_id: str, most: int | None = None) -> list[str]:
        return ["forgotten", foreign.view.pairing.id, unclaimed.view.pairing.id, mine.view.pairing.id]

    world.store.open_of = open_of  # type: ignore[method-assign]
    await world.changes.end_all_of(["tablet"])
    states = [(await world.now_is(each)).status for each in (foreign, unclaimed, mine)]
    assert states == [Status.SCANNED, Status.PENDING, Status.DENIED]


async def test_the_end_of_a_session_ends_what_that_session_could_approve_and_nothing_of_its_devices_newer_one() -> None:
    world = World()
    mine = await world.claimed()
    newer = A._replace(approver=replace_struct(A.approver, session_id="a newer session"))
    its = await world.creation.create(newer, HERE)
    await world.changes.end_all_of_session(A.approver)
    assert [(await world.now_is(each)).status for each in (mine, its)] == [Status.DENIED, Status.PENDING]


async def test_whoever_a_new_device_waits_for_is_expected_as_long_as_it_waits() -> None:
    world = World()
    created = await world.new()
    assert world.accounts.expected == []
    world.clock.forward(seconds=100)
    await world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    await world.decisions.approve(created.view.pairing.id, A)
    await world.log_in(created)
    assert world.accounts.expected == [(A.approver, 60_000), (A.approver, 60_000)]


async def test_devices_are_revoked_also_while_the_store_is_away() -> None:
    world = World()
    created = await world.claimed()
    world.store.away = True
    await world.changes.end_all_of(["phone"])
    await world.changes.end_all_of_session(A.approver)
    world.store.away = False
    assert (await world.now_is(created)).status is Status.SCANNED


# Before the consent, after a reload


async def test_what_would_refuse_the_login_is_told_with_the_scan_and_refuses_the_approval() -> None:
    world = World()
    created = await world.new()
    world.accounts.refuses = Code.DEVICE_LIMIT
    view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    assert view.obstacle is Code.DEVICE_LIMIT
    # Nobody is asked for a passkey over what can't be approved anyway.
    nobody = by_key(step_up=nobody_there)
    assert await word(world.decisions.approve(created.view.pairing.id, nobody)) is Code.DEVICE_LIMIT
    assert (await world.views.view(created.view.pairing.id, secret_of(created))).obstacle is None
    world.accounts.refuses = None
    assert (await world.views.view(created.view.pairing.id, A)).obstacle is None
    assert (await world.decisions.approve(created.view.pairing.id, A)).pairing.status is Status.APPROVED


async def test_an_approver_in_quarantine_is_told_with_the_scan_that_they_can_only_deny() -> None:
    world, newcomer = World(), by_key(refuse_approval=in_quarantine)
    created = await world.new()
    view, _ = await world.claims.claim(created.view.pairing.id, code_of(created), newcomer, HERE)
    assert view.obstacle is Code.DEVICE_QUARANTINED


async def test_a_session_gets_what_it_may_still_decide_or_show_and_nothing_else() -> None:
    world = World(verify="always")
    scanned, approved, ended = await world.claimed(), await world.approved(), await world.approved()
    await world.decisions.deny(ended.view.pairing.id, A)
    newer = A._replace(approver=replace_struct(A.approver, session_id="a newer session"))
    its = await world.creation.create(newer, HERE)
    world.accounts.asked.clear()
    found = await world.views.open_of(A)
    # Of an obstacle only who has still to approve is told.
    assert world.accounts.asked == [(A.approver, B)]
    assert {each.now for each in found} == {world.clock.now}
    assert [each.pairing.id for each in found] == [approved.view.pairing.id, scanned.view.pairing.id]
    assert [each.number is not None for each in found] == [True, False]
    assert [each.pairing.id for each in await world.views.open_of(newer)] == [its.view.pairing.id]


async def test_of_very_many_open_pairings_the_newest_twenty_are_listed_and_none_that_has_gone_meanwhile() -> None:
    world = World()
    shown = [await world.creation.create(A, HERE) for _ in range(21)]
    newest = [each.view.pairing.id for each in reversed(shown[1:])]
    assert [each.pairing.id for each in await world.views.open_of(A)] == newest
    await world.decisions.cancel(newest[0], A)
    open_of = world.store.open_of

    async def with_what_has_gone(device_id: str, most: int | None = None) -> list[str]:
        return ["forgotten", newest[0], *await open_of(device_id, most)]

    world.store.open_of = with_what_has_gone  # type: ignore[method-assign]
    assert newest[0] not in [each.pairing.id for each in await world.views.open_of(A)]


async def test_a_page_that_was_left_ends_its_pairing_soon_unless_it_comes_back() -> None:
    world = World()
    created = await world.claimed()
    pairing_id, secret = created.view.pairing.id, secret_of(created)
    before = (await world.now_is(created)).expires_at
    left = (await world.decisions.be_present(pairing_id, secret, here=False)).pairing
    assert (left.expires_at, left.stays_until, left.away) == (world.clock.now + 15_000, before, True)
    assert (await world.decisions.be_present(pairing_id, secret, here=False)).pairing == left
    assert world.rates.used("presence") == {pairing_id: 1}
    back = (await world.decisions.be_present(pairing_id, secret, here=True)).pairing
    assert (back.expires_at, back.stays_until, back.away) == (before, 0, False)
    assert (await world.decisions.be_present(pairing_id, secret, here=True)).pairing == back
    # A swap that is lost is tried again on what is there by then.
    world.store.first = lambda: world.decisions.approve(pairing_id, A)
    left = (await world.decisions.be_present(pairing_id, secret, here=False)).pairing
    assert (left.status, left.away) == (Status.APPROVED, True)
    world.clock.forward(seconds=15)
    assert (await world.now_is(created)).status is Status.EXPIRED
    assert (await world.decisions.be_present(pairing_id, secret, here=True)).pairing.status is Status.EXPIRED


async def test_leaving_never_gives_more_time_and_an_approval_meanwhile_gives_it_to_who_comes_back() -> None:
    world = World()
    created = await world.claimed()
    pairing_id, secret = created.view.pairing.id, secret_of(created)
    world.clock.forward(seconds=110)
    left = (await world.decisions.be_present(pairing_id, secret, here=False)).pairing
    assert left.expires_at == world.clock.now + 10_000 == left.stays_until
    approved = (await world.decisions.approve(pairing_id, A)).pairing
    assert (approved.expires_at, approved.stays_until) == (left.expires_at, world.clock.now + 60_000)
    assert (await world.decisions.be_present(pairing_id, secret, here=True)).pairing.expires_at == approved.stays_until


# Log in


async def test_a_login_checks_consumes_and_then_begins_the_session() -> None:
    world, before = World(), counted("login")
    created = await world.approved()
    pairing_id = created.view.pairing.id
    for _ in range(2):
        assert await world.log_in(created) == f"session {pairing_id}"
    pairing = await world.now_is(created)
    assert (pairing.status, pairing.login_device_id) == (Status.CONSUMED, "alice's laptop")
    begun = ("log in", pairing_id, A.approver, B, created.secret)
    # Repeated, it asks for the same session again; nothing else is done twice.
    asked = ("admit", pairing_id, A.approver, B, created.secret)
    assert world.accounts.calls == [("check", A.approver, B), asked, begun, begun]
    assert counted("login") == before + 1


async def test_nobody_logs_in_before_the_approval_or_after_another_end() -> None:
    world = World()
    created = await world.new()
    assert await word(world.log_in(created)) is Code.NOT_APPROVED
    await world.claims.claim(created.view.pairing.id, code_of(created), A, HERE)
    assert await word(world.log_in(created)) is Code.NOT_APPROVED
    await world.decisions.deny(created.view.pairing.id, A)
    assert await word(world.log_in(created)) is Code.PAIRING_DENIED
    cancelled, late = await world.approved(), await world.approved()
    await world.decisions.cancel(cancelled.view.pairing.id, secret_of(cancelled))
    assert await word(world.log_in(cancelled)) is Code.PAIRING_CANCELLED
    world.clock.forward(seconds=120)
    assert await word(world.log_in(late)) is Code.PAIRING_EXPIRED
    foreign = world.logins.log_in(late.view.pairing.id, secret_of(created))
    assert await word(foreign) is Code.NOT_FOUND
    assert world.accounts.calls == [("pairing.denied", A.approver, B)]


async def test_a_pairing_whose_login_the_application_is_against_stays_approved() -> None:
    world = World()
    created = await world.approved()
    world.accounts.against = Code.LOGIN_REFUSED
    assert await word(world.log_in(created)) is Code.LOGIN_REFUSED
    assert (await world.now_is(created)).status is Status.APPROVED
    world.accounts.against = None
    await world.log_in(created)
    assert (await world.now_is(created)).status is Status.CONSUMED


async def test_what_the_accounts_refuse_consumes_nothing() -> None:
    world = World()
    created = await world.approved()
    world.accounts.refuses = Code.ACCOUNT_LOCKED
    assert await word(world.log_in(created)) is Code.ACCOUNT_LOCKED
    assert (await world.now_is(created)).status is Status.APPROVED


async def test_another_device_code_at_login_is_refused_and_the_same_is_not() -> None:
    world = World()
    created = await world.approved()
    assert await word(world.log_in(created, device_code="another")) is Code.DEVICE_CHANGED
    assert await world.log_in(created, device_code="laptop")
    assert await word(world.log_in(created, device_code="another")) is Code.DEVICE_CHANGED


async def test_a_login_that_loses_the_swap_reads_again() -> None:
    world = World()
    created = await world.approved()
    world.store.first = lambda: world.log_in(created)
    assert await world.log_in(created) == f"session {created.view.pairing.id}"
    created = await world.approved()
    world.store.first = lambda: world.decisions.deny(created.view.pairing.id, A)
    assert await word(world.log_in(created)) is Code.PAIRING_DENIED


class Proofs:
    """Which keys were asked for; `fails` is the word they are refused with."""

    def __init__(self, fails: Code | None = None) -> None:
        self.asked: list[str] = []
        self.fails = fails

    async def __call__(self, key_thumbprint: str, auth_key: str | None = None) -> None:
        self.asked.append(key_thumbprint)
        if self.fails:
            raise Refused(self.fails)


async def test_a_device_that_showed_a_key_proves_it_once_per_login_and_before_the_number() -> None:
    world = World(verify="always")
    created = await world.approved(NewDevice(code="laptop", name="Laptop", ip=THERE, key_thumbprint="jkt"))
    number = codes.verification_number(KEY, created.view.pairing.id)
    assert await word(world.log_in(created, "wrong", prove=Proofs(Code.INVALID_PROOF))) is Code.INVALID_PROOF
    assert await word(world.log_in(created, "wrong")) is Code.INVALID_PROOF, "no proof is none"
    assert (await world.now_is(created)).failed_attempts == 0
    proofs = Proofs()
    # A swap that was lost asks for no second proof: one request has one.
    wrong = wrong_numbers(created)[0]
    world.store.first = lambda: refused(world.log_in(created, wrong, prove=Proofs()))
    assert await world.log_in(created, number, prove=proofs)
    assert proofs.asked == ["jkt"]
    assert await word(world.log_in(created, number, prove=Proofs(Code.INVALID_PROOF))) is Code.INVALID_PROOF


async def test_a_device_without_a_key_proves_none() -> None:
    world, proofs = World(), Proofs()
    await world.log_in(await world.approved(), prove=proofs)
    assert proofs.asked == []


# Numbers


def wrong_numbers(created: Created) -> list[str]:
    right = codes.verification_number(KEY, created.view.pairing.id)
    return [f"{(int(right) + off) % 1000:03}" for off in (1, 2, 3)]


async def test_the_number_lets_in_and_without_it_nothing_is_used_up() -> None:
    world = World(verify="always")
    created = await world.approved()
    assert await word(world.log_in(created)) is Code.NUMBER_REQUIRED
    assert (await world.now_is(created)).version == 3
    number = codes.verification_number(KEY, created.view.pairing.id)
    assert len(number) == 3
    assert await world.log_in(created, number)
    # Once it is consumed, the holder of the secret may ask again without it.
    assert await world.log_in(created)
    assert world.rates.used("number") == {}


async def test_the_third_wrong_number_ends_it_and_the_account_hears_of_it() -> None:
    world, before = World(verify="always"), (counted("wrong number"), counted("deny"))
    created = await world.approved()
    for left, number in zip((2, 1, 0), wrong_numbers(created), strict=True):
        miss = await refused(world.log_in(created, number))
        assert (miss.code, miss.extra) == (Code.NUMBER_MISMATCH, {"attemptsLeft": left})
        assert world.rates.used("number") == {"alice": 3 - left}
    pairing = await world.now_is(created)
    assert (pairing.status, pairing.failed_attempts, pairing.version) == (Status.DENIED, 3, 6)
    assert world.accounts.calls == [("pairing.number_missed", A.approver, B)]
    assert (counted("wrong number"), counted("deny")) == (before[0] + 2, before[1] + 1)
    number = codes.verification_number(KEY, created.view.pairing.id)
    assert await word(world.log_in(created, number)) is Code.PAIRING_DENIED


async def test_what_can_not_be_a_number_uses_nothing_up_and_any_script_does() -> None:
    world = World(verify="always")
    created = await world.approved()
    await refused(world.log_in(created, wrong_numbers(created)[0]))
    before = await world.now_is(created)
    for odd in ("", "12", "1234", "abc", "\u00bd2"):
        miss = await refused(world.log_in(created, odd))
        assert (miss.code, miss.extra) == (Code.NUMBER_MISMATCH, {"attemptsLeft": 2})
    assert await world.now_is(created) == before
    assert world.rates.used("number") == {"alice": 1}
    number = codes.verification_number(KEY, created.view.pairing.id)
    assert await world.log_in(created, "".join(chr(0x660 + int(digit)) for digit in number))


async def test_a_wrong_number_that_comes_again_counts_once_for_the_pairing_and_the_account() -> None:
    world = World(verify="always")
    created = await world.approved()
    first, second, third = wrong_numbers(created)
    for number, left in ((first, 2), (first, 2), (second, 1), (first, 1), (third, 0), (third, 0), (first, 0)):
        miss = await refused(world.log_in(created, number))
        assert (miss.code, miss.extra) == (Code.NUMBER_MISMATCH, {"attemptsLeft": left})
    pairing = await world.now_is(created)
    assert (pairing.failed_attempts, pairing.version, len(set(pairing.wrong_numbers))) == (3, 6, 3)
    assert world.rates.used("number") == {"alice": 3}
    # What is stored says no number.
    assert not {first, second, third} & set(pairing.wrong_numbers)


async def test_a_new_pairing_brings_the_account_no_new_numbers() -> None:
    world = World(verify="always")
    world.rates.most["number"] = 1
    first, second = await world.approved(), await world.approved()
    await refused(world.log_in(first, wrong_numbers(first)[0]))
    number = codes.verification_number(KEY, second.view.pairing.id)
    assert await word(world.log_in(second, number)) is Code.RATE_LIMITED
    assert (await world.now_is(second)).status is Status.APPROVED


async def test_a_wrong_number_that_loses_the_swap_is_looked_at_again() -> None:
    world = World(verify="always")
    created = await world.approved()
    world.store.first = lambda: world.decisions.deny(created.view.pairing.id, A)
    assert await word(world.log_in(created, wrong_numbers(created)[0])) is Code.PAIRING_DENIED
    assert world.rates.used("number") == {}
    assert world.accounts.calls == [("pairing.denied", A.approver, B)], "a number that did not fit went on to the login"
