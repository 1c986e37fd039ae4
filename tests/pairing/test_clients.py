"""Pairings that let an application in and no device (RFC 8628): what differs from those of `test_service`."""

from typing import Any

import msgspec
import pytest

from pairing_ws.core import codes
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code
from pairing_ws.core.network import Network
from pairing_ws.pairing.machine import (
    ApprovalWarning,
    ClientRequest,
    Initiator,
    Pairing,
    Status,
    Verification,
    decode_pairing,
    encode_pairing,
)
from pairing_ws.pairing.types import Created, Role
from tests.support.pairing_world import (
    HERE,
    SITE,
    THERE,
    A,
    B,
    World,
    by_key,
    in_quarantine,
    nobody_there,
    refused,
    secret_of,
    word,
)

CLIENT = ClientRequest(id="tool", name="Command-line tool", scopes=("openid", "email"), logo_uri=f"{SITE}/logo.png")
NUMBERED = msgspec.structs.replace(CLIENT, takes_number=True)


async def asked(world: World, client: ClientRequest = CLIENT, ip: str = THERE) -> Created:
    return await world.creation.create_for_client(client, ip, "curl/8")


async def claimed(world: World, client: ClientRequest = CLIENT, ip: str = THERE, approver: Any = A) -> Created:
    created = await asked(world, client, ip)
    await world.claims.claim_by_user_code(created.user_code, approver, HERE)
    return created


async def approved(world: World, client: ClientRequest = CLIENT) -> Created:
    created = await claimed(world, client)
    await world.decisions.approve(created.view.pairing.id, A)
    return created


async def consume(world: World, created: Created, number: str | None = None, client_id: str = "tool") -> Pairing:
    pairing = await world.logins.consume_for_client(created.view.pairing.id, secret_of(created), client_id, number)
    return pairing


# Begin


async def test_an_application_asks_with_a_time_of_its_own_and_the_store_has_no_secret() -> None:
    world = World(client_ttl=600_000)
    created = await asked(world)
    pairing = await world.now_is(created)
    assert (pairing.initiator, pairing.status) == (Initiator.NEW_DEVICE, Status.PENDING)
    assert pairing.expires_at == world.clock.now + 600_000
    assert (created.view.role, created.view.now) == (Role.NEW_DEVICE, world.clock.now)
    secret = secret_of(created).secret
    assert len(secret) == 43
    assert pairing.client == msgspec.structs.replace(CLIENT, secret_hash=codes.digest(secret))
    assert (pairing.secret_hash, pairing.code_hash, pairing.rotate_ms) == ("", "", 0)
    assert pairing.new_device == NewDevice(code="", name="Command-line tool", ip=THERE, user_agent="curl/8")
    assert created.qr_text == f"{SITE}/link?user_code={created.user_code}"


async def test_where_pictures_rotate_no_link_tells_the_code() -> None:
    created = await asked(World(rotate=5_000))
    assert (created.qr_text, created.view.pairing.rotate_ms) == ("", 0)


async def test_its_requests_count_as_those_of_a_new_device() -> None:
    world = World()
    await asked(world)
    assert world.rates.used("create") == world.rates.used("origin") == {THERE: 1}
    world.rates.most["create"] = 1
    assert await word(asked(world)) is Code.RATE_LIMITED


async def test_its_device_sees_and_watches_it_by_its_secret() -> None:
    world = World()
    created = await claimed(world)
    view = await world.views.view(created.view.pairing.id, secret_of(created))
    assert (view.role, view.pairing.status) == (Role.NEW_DEVICE, Status.SCANNED)
    assert await word(world.views.view(created.view.pairing.id, secret_of(await asked(world)))) is Code.NOT_FOUND


# Claim and decide


@pytest.mark.security(44)
async def test_it_is_claimed_by_its_user_code_alone() -> None:
    world = World()
    created = await asked(world)
    for code in ("", created.user_code, secret_of(created).secret, "~"):
        assert await word(world.claims.claim(created.view.pairing.id, code, A, HERE)) is Code.NOT_FOUND
        assert await word(world.claims.reserve_code(created.view.pairing.id, code, A, HERE)) is Code.NOT_FOUND
    view, _ = await world.claims.claim_by_user_code(created.user_code, A, HERE)
    assert view.pairing.client == (await world.now_is(created)).client


@pytest.mark.parametrize("verify", ["never", "remote", "always"])
async def test_a_number_is_asked_for_only_where_the_client_has_said_that_it_sends_one(verify: str) -> None:
    world = World(verify=verify)
    stock, ours = await world.now_is(await claimed(world)), await world.now_is(await claimed(world, NUMBERED))
    assert stock.verification is Verification.NONE
    assert ours.verification is (Verification.NONE if verify == "never" else Verification.NUMBER)


async def test_a_client_of_the_same_network_is_claimed_from_there_alone() -> None:
    world = World()
    near = msgspec.structs.replace(CLIENT, same_network=True)
    assert await word(claimed(world, near)) is Code.NOT_FOUND
    # Nor where nothing can be compared: attackers choose their address family.
    assert await word(claimed(world, near, "2a00:1450::1")) is Code.NOT_FOUND
    assert (await world.now_is(await claimed(world, near, HERE))).network is Network.SAME


async def test_another_network_is_warned_of_also_where_the_policy_looks_away() -> None:
    world = World(network="off")
    assert (await world.now_is(await claimed(world))).warnings == (ApprovalWarning.NETWORK_DIFFERS,)
    device = await world.claimed(B)
    assert (await world.now_is(device)).warnings == ()


@pytest.mark.security(44)
async def test_its_approval_needs_what_a_devices_needs() -> None:
    world = World()
    for approver, code in (
        (by_key(refuse_approval=in_quarantine), Code.DEVICE_QUARANTINED),
        (by_key(step_up=nobody_there), Code.STEP_UP_REQUIRED),
    ):
        created = await claimed(world, approver=approver)
        assert await word(world.decisions.approve(created.view.pairing.id, approver)) is code


async def test_an_application_takes_no_devices_place() -> None:
    world = World()
    created = await approved(world)
    await consume(world, created)
    assert world.accounts.calls == [("check", A.approver, None)]
    assert set(world.accounts.asked) == {(A.approver, None)}


# Use


async def test_an_approved_one_is_used_up_and_the_same_holder_may_come_again() -> None:
    world = World()
    created = await approved(world)
    consumed = await consume(world, created)
    assert (consumed.status, consumed.login_device_id, consumed.approver) == (Status.CONSUMED, None, A.approver)
    assert await consume(world, created) == consumed
    assert [call for call in world.accounts.calls if call[0] == "log in"] == []


async def test_another_client_finds_none_and_uses_nothing_up() -> None:
    world = World()
    created = await approved(world, NUMBERED)
    assert await word(consume(world, created, client_id="other")) is Code.NOT_FOUND
    assert (await world.now_is(created)).failed_attempts == 0
    device = await world.approved()
    assert await word(consume(world, device, client_id="")) is Code.NOT_FOUND
    assert (await world.now_is(device)).status is Status.APPROVED


async def test_it_logs_no_device_in() -> None:
    world = World()
    for created in (await asked(world), await claimed(world), await approved(world)):
        assert await word(world.log_in(created)) is Code.CLIENT_PAIRING
    assert (await world.now_is(created)).status is Status.APPROVED


async def test_before_the_approval_and_after_another_end_nobody_uses_it() -> None:
    world = World()
    created = await asked(world)
    assert await word(consume(world, created)) is Code.NOT_APPROVED
    created = await claimed(world)
    assert await word(consume(world, created)) is Code.NOT_APPROVED
    await world.decisions.deny(created.view.pairing.id, A)
    assert await word(consume(world, created)) is Code.PAIRING_DENIED
    created = await asked(world)
    await world.decisions.cancel(created.view.pairing.id, secret_of(created))
    assert await word(consume(world, created)) is Code.PAIRING_CANCELLED
    created = await asked(world)
    world.clock.forward(seconds=601)
    assert await word(consume(world, created)) is Code.PAIRING_EXPIRED


async def test_the_number_is_judged_as_a_devices_is() -> None:
    world = World(verify="remote")
    created = await approved(world, NUMBERED)
    number = (await world.views.view(created.view.pairing.id, A)).number
    assert number
    assert await word(consume(world, created)) is Code.NUMBER_REQUIRED
    wrong = await refused(consume(world, created, f"{(int(number) + 1) % 1000:03}"))
    assert (wrong.code, wrong.extra) == (Code.NUMBER_MISMATCH, {"attemptsLeft": 2})
    assert (await consume(world, created, number)).status is Status.CONSUMED


async def test_the_third_wrong_number_gets_the_same_answer_when_it_comes_again() -> None:
    world = World(verify="remote")
    created = await approved(world, NUMBERED)
    number = (await world.views.view(created.view.pairing.id, A)).number
    assert number
    wrong = [f"{(int(number) + off) % 1000:03}" for off in (1, 2, 3)]
    for each, left in zip([*wrong, wrong[2]], (2, 1, 0, 0), strict=True):
        refusal = await refused(consume(world, created, each))
        assert (refusal.code, refusal.extra) == (Code.NUMBER_MISMATCH, {"attemptsLeft": left})
    assert await word(consume(world, created, number)) is Code.PAIRING_DENIED


async def test_what_the_accounts_refuse_uses_nothing_up() -> None:
    world = World()
    created = await approved(world)
    world.accounts.refuses = Code.ACCOUNT_LOCKED
    assert await word(consume(world, created)) is Code.ACCOUNT_LOCKED
    assert (await world.now_is(created)).status is Status.APPROVED


async def test_one_that_loses_the_swap_reads_again() -> None:
    world = World()
    created = await approved(world)
    world.store.first = lambda: world.decisions.deny(created.view.pairing.id, A)
    assert await word(consume(world, created)) is Code.PAIRING_DENIED


@pytest.mark.security(43)
async def test_a_version_that_knows_no_clients_lets_nobody_in_with_one() -> None:
    """It drops the client's part when it claims or approves: then the secret opens nothing, here and there."""
    world = World()
    created = await approved(world)
    record = msgspec.json.decode(encode_pairing(await world.now_is(created)))
    del record["client"]
    stripped = decode_pairing(msgspec.json.encode(record | {"version": record["version"] + 1}))
    assert await world.store.replace(await world.now_is(created), stripped)
    for call in (
        world.log_in(created),
        consume(world, created),
        world.views.view(created.view.pairing.id, secret_of(created)),
        world.decisions.cancel(created.view.pairing.id, secret_of(created)),
    ):
        assert await word(call) is Code.NOT_FOUND


async def test_a_report_hides_its_origin() -> None:
    world = World()
    world.rates.most["reported_by"] = 1
    created = await claimed(world)
    await world.decisions.deny(created.view.pairing.id, A, report=True)
    assert await word(claimed(world)) is Code.NOT_FOUND
    await claimed(world, approver=by_key("bob"))
