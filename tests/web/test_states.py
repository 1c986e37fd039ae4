"""The contract's two state tables, cell by cell, in both flows. Only what a state allows or refuses may live here."""

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.support.client import Api, NewDevice, Phone, device_headers
from tests.support.embedded import Embedded
from tests.web.conftest import NewPhone, refusal

FLOWS = ("new_device", "logged_in_device")


@dataclass
class Scene:
    """Both devices and their pairing. B is missing before the claim of a code that A shows."""

    initiator: str
    pairing: dict[str, Any]
    a: Phone
    b: NewDevice | None
    a_has_claimed: bool = False

    @property
    def id(self) -> str:
        return str(self.pairing["id"])

    async def claim(self) -> None:
        if self.initiator == "new_device":
            answer = await self.a.claim(self.pairing)
            assert answer.status_code == 200, answer.text
            self.a_has_claimed = True
        else:
            self.b = await self.a.api.join(self.pairing)

    async def cancel(self) -> httpx2.Response:
        holder = self.b if self.initiator == "new_device" else self.a
        assert holder
        return await holder.api.http.delete(f"/pairings/{self.id}", headers=holder.headers)

    async def log_in(self, number: str | None = None) -> httpx2.Response:
        assert self.b
        return await self.b.log_in({"number": number} if number else {})

    async def status(self) -> str:
        holder = self.a if self.initiator == "logged_in_device" or self.a_has_claimed else self.b
        assert holder
        return str((await holder.api.http.get(f"/pairings/{self.id}", headers=holder.headers)).json()["status"])


async def scene_in(state: str, initiator: str, clocked: Embedded, api: Api, new_phone: NewPhone) -> Scene:
    """A fresh pairing brought into a state, `after` says from which: `denied after pending`."""
    status, _, before = state.partition(" after ")
    a = await new_phone()
    if initiator == "new_device":
        b = await api.new_pairing()
        scene = Scene(initiator, b.pairing, a, b)
    else:
        scene = Scene(initiator, await a.show_code(), a, None)
    way = before or {"scanned": "pending", "approved": "scanned", "consumed": "approved"}.get(status, "scanned")
    if (status != "pending" and way in ("scanned", "approved")) or status == "scanned":
        await scene.claim()
    if way == "approved" or status == "approved":
        assert (await a.approve(scene.id)).status_code == 200
    if status == "denied":
        assert (await a.deny(scene.id)).status_code == 200
    elif status == "cancelled":
        assert (await scene.cancel()).status_code == 204
    elif status == "consumed":
        assert (await scene.log_in()).status_code == 200
    elif status == "expired":
        clocked.clock.advance(121)
    if status == "expired":
        # The clock has outlived nothing else: authKeys live for ten minutes.
        assert scene.b is None or (await scene.b.poll()).json()["status"] == "expired"
    else:
        assert await scene.status() == status
    return scene


async def ask(call: str, scene: Scene, new_phone: NewPhone) -> httpx2.Response:
    """The call by the party it belongs to; `claim` by somebody new."""
    if call == "approve":
        return await scene.a.approve(scene.id)
    if call == "deny":
        return await scene.a.deny(scene.id)
    if call == "cancel":
        return await scene.cancel()
    if call == "login":
        return await scene.log_in()
    if call == "claim again":
        assert scene.initiator == "new_device"
        return await scene.a.claim(scene.pairing)
    if scene.initiator == "new_device":
        return await (await new_phone()).claim(scene.pairing)
    code = scene.pairing["qr"]["text"].split("#")[1]
    path = f"/pairings/{scene.id}/claim"
    return await scene.a.api.http.post(path, json={"code": code}, headers=device_headers())


OK, GONE = (200, ""), (204, "")
ENDED = (409, "invalid_state")
CANCELLED, EXPIRED = (410, "pairing_cancelled"), (410, "pairing_expired")

# state → call → status and code. What only one flow knows stands in OF_FLOW.
TABLE: dict[str, dict[str, tuple[int, str]]] = {
    "pending": {"claim": OK, "cancel": GONE},
    "scanned": {
        "claim": (409, "already_claimed"), "approve": OK, "deny": OK, "cancel": GONE, "login": (409, "not_approved"),
    },
    "approved": {"claim": (409, "already_claimed"), "approve": OK, "deny": OK, "cancel": GONE, "login": OK},
    "denied after scanned": {
        "claim": ENDED, "approve": ENDED, "deny": OK, "cancel": ENDED, "login": (403, "pairing_denied"),
    },
    "denied after approved": {
        "claim": ENDED, "approve": ENDED, "deny": OK, "cancel": ENDED, "login": (403, "pairing_denied"),
    },
    "cancelled after scanned": {
        "claim": CANCELLED, "approve": CANCELLED, "deny": CANCELLED, "cancel": GONE, "login": CANCELLED,
    },
    "cancelled after approved": {
        "claim": CANCELLED, "approve": CANCELLED, "deny": CANCELLED, "cancel": GONE, "login": CANCELLED,
    },
    "expired after scanned": {
        "claim": EXPIRED, "approve": EXPIRED, "deny": EXPIRED, "cancel": EXPIRED, "login": EXPIRED,
    },
    "expired after approved": {
        "claim": EXPIRED, "approve": EXPIRED, "deny": EXPIRED, "cancel": EXPIRED, "login": EXPIRED,
    },
    # Nobody has used a key yet: the same secret gets the same pair again, and the same approval the same answer.
    "consumed": {"claim": ENDED, "approve": OK, "deny": ENDED, "cancel": ENDED, "login": OK},
}  # fmt: skip

OF_FLOW: dict[tuple[str, str], dict[str, tuple[int, str]]] = {
    # Before its claim a stranger's pairing is unknown to A.
    ("new_device", "pending"): {
        "approve": (404, "not_found"), "deny": (404, "not_found"), "login": (409, "not_approved"),
    },
    ("logged_in_device", "pending"): {"approve": (409, "not_scanned"), "deny": OK},
    ("new_device", "cancelled after pending"): {"claim": CANCELLED, "cancel": GONE, "login": CANCELLED},
    ("new_device", "expired after pending"): {"claim": EXPIRED, "cancel": EXPIRED, "login": EXPIRED},
    ("logged_in_device", "cancelled after pending"): {
        "claim": CANCELLED, "approve": CANCELLED, "deny": CANCELLED, "cancel": GONE,
    },
    ("logged_in_device", "expired after pending"): {
        "claim": EXPIRED, "approve": EXPIRED, "deny": EXPIRED, "cancel": EXPIRED,
    },
    ("logged_in_device", "denied after pending"): {"claim": ENDED, "approve": ENDED, "deny": OK, "cancel": ENDED},
    ("new_device", "scanned"): {"claim again": OK},
    ("new_device", "approved"): {"claim again": OK},
    ("new_device", "denied after scanned"): {"claim again": ENDED},
    ("new_device", "cancelled after scanned"): {"claim again": CANCELLED},
    ("new_device", "expired after scanned"): {"claim again": EXPIRED},
    ("new_device", "consumed"): {"claim again": ENDED},
}  # fmt: skip

CELLS = [
    *((flow, state, call, want) for flow in FLOWS for state, row in TABLE.items() for call, want in row.items()),
    *((flow, state, call, want) for (flow, state), row in OF_FLOW.items() for call, want in row.items()),
]
assert len({cell[:3] for cell in CELLS}) == len(CELLS)


@pytest.mark.security(2, 4, 6)
@pytest.mark.parametrize(("flow", "state", "call", "want"), CELLS, ids=lambda each: str(each).replace(" ", "-"))
async def test_each_call_in_each_state_answers_as_the_table_says(
    flow: str,
    state: str,
    call: str,
    want: tuple[int, str],
    clocked: Embedded,
    clocked_api: Api,
    clocked_phone: NewPhone,
) -> None:
    scene = await scene_in(state, flow, clocked, clocked_api, clocked_phone)
    answer = await ask(call, scene, clocked_phone)
    if want[0] < 300:
        assert answer.status_code == want[0], answer.text
        return
    assert refusal(answer) == want
    if want == ENDED:
        assert answer.json()["pairingStatus"] == state.partition(" ")[0]
    # What was refused has changed nothing.
    if not state.startswith("pending") or flow == "logged_in_device":
        assert await scene.status() == state.partition(" ")[0]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("call", "state"),
    [("approve", "approved"), ("deny", "denied after scanned"), ("cancel", "cancelled after scanned")],
)
async def test_the_winner_who_repeats_its_call_gets_the_same_answer_and_no_new_version(
    flow: str, call: str, state: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in(state, flow, clocked, clocked_api, clocked_phone)
    assert scene.b
    before = (await scene.b.poll()).json()
    for _ in range(3):
        assert (await ask(call, scene, clocked_phone)).status_code in (200, 204)
    after = (await scene.b.poll()).json()
    assert (after["version"], after["status"]) == (before["version"], before["status"])


@pytest.mark.security(4)
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_denied_pairing_stays_denied_though_its_approver_changes_its_mind(
    flow: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in("denied after approved", flow, clocked, clocked_api, clocked_phone)
    assert refusal(await scene.a.approve(scene.id)) == ENDED
    assert refusal(await scene.log_in()) == (403, "pairing_denied")


@pytest.mark.security(5)
@pytest.mark.mitigation("6.1.3")
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_used_login_is_consumed_once_one_of_its_keys_was_used(
    flow: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in("approved", flow, clocked, clocked_api, clocked_phone)
    keys = (await scene.log_in()).json()
    assert (await scene.log_in()).json()["refreshKey"] == keys["refreshKey"]
    assert (await Phone(clocked_api, keys).get("/me")).status_code == 200
    assert refusal(await scene.log_in()) == (409, "pairing_consumed")


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_used_login_is_consumed_after_30_seconds(
    flow: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in("approved", flow, clocked, clocked_api, clocked_phone)
    keys = (await scene.log_in()).json()
    clocked.clock.advance(25)
    assert (await scene.log_in()).json()["authKey"] == keys["authKey"]
    clocked.clock.advance(6)
    assert refusal(await scene.log_in()) == (409, "pairing_consumed")


@pytest.mark.security(6)
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_finished_pairing_can_be_read_for_five_minutes_then_it_is_unknown(
    flow: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in("denied after scanned", flow, clocked, clocked_api, clocked_phone)
    assert scene.b
    clocked.clock.advance(295)
    assert (await scene.b.poll()).json()["status"] == "denied"
    clocked.clock.advance(10)
    assert refusal(await scene.b.poll()) == (404, "not_found")


@pytest.mark.mitigation("6.1.2")
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_claim_leaves_a_minute_to_decide_and_an_approval_a_minute_to_log_in(
    flow: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in("pending", flow, clocked, clocked_api, clocked_phone)
    assert 119 <= scene.pairing["expiresIn"] <= 120
    clocked.clock.advance(110)
    await scene.claim()
    assert scene.b
    scanned = (await scene.b.poll()).json()
    assert 59 <= scanned["expiresIn"] <= 60
    assert scanned["expiresAt"] > scene.pairing["expiresAt"]
    clocked.clock.advance(50)
    approved = (await scene.a.approve(scene.id)).json()
    assert 59 <= approved["expiresIn"] <= 60
    assert approved["expiresAt"] > scanned["expiresAt"]
    clocked.clock.advance(55)
    assert (await scene.log_in()).status_code == 200


async def test_an_early_claim_or_approval_shortens_no_lifetime(
    clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in("approved", "new_device", clocked, clocked_api, clocked_phone)
    assert scene.b
    assert (await scene.b.poll()).json()["expiresAt"] == scene.pairing["expiresAt"]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("before", ["pending", "scanned", "approved"])
async def test_expiry_counts_as_a_version(
    flow: str, before: str, clocked: Embedded, clocked_api: Api, clocked_phone: NewPhone
) -> None:
    scene = await scene_in(before, flow, clocked, clocked_api, clocked_phone)
    path, holder = f"/pairings/{scene.id}", scene.b or scene.a
    old = (await clocked_api.http.get(path, headers=holder.headers)).json()
    clocked.clock.advance(125)
    new = (await clocked_api.http.get(path, headers=holder.headers)).json()
    assert (new["status"], new["version"], new["expiresIn"]) == ("expired", old["version"] + 1, 0)
