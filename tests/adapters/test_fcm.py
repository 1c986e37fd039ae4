"""Push messages against a real local server that is token endpoint and FCM in one, and can be unkind."""

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import REGISTRY
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from pairing_ws.adapters.fcm import FcmPush
from pairing_ws.adapters.memory import MemoryBus, MemoryCounters, MemoryPairings
from pairing_ws.adapters.places import NoPlaces
from pairing_ws.adapters.push_delivery import PushDelivery
from pairing_ws.adapters.rate_limits import RateLimits
from pairing_ws.core.clock import iso, system_clock
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Refused, Unavailable
from pairing_ws.core.push_addresses import Kind
from pairing_ws.pairing.service import PairingService
from pairing_ws.pairing.types import ByKey, BySecret, Policy
from tests.support.clock import FakeClock
from tests.support.google import Google, credentials, new_key, standing_in
from tests.support.servers import eventually, free_port

DATA = {"id": "pairing", "status": "Approved", "approvedAt": "2026-01-01T00:00:00.000Z"}
UNREGISTERED = {
    "error": {
        "code": 404,
        "status": "NOT_FOUND",
        "details": [
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"},
        ],
    }
}
NO_SUCH_PROJECT = {"error": {"code": 404, "status": "NOT_FOUND", "message": "Requested entity was not found."}}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return new_key()


@pytest.fixture
async def google(key: rsa.RSAPrivateKey) -> AsyncIterator[Google]:
    async with standing_in(key) as google:
        yield google


@dataclass
class Pusher:
    """A delivery by FCM, what it said is gone, how long it paused, and what it counted since it was made."""

    push: PushDelivery
    pauses: list[float]
    gone: list[str]
    before: dict[str, float]

    async def sends(self, outcome: str, address: str = "address") -> None:
        """Send one message and wait until it came to this."""
        before = counted(outcome)
        self.push.send(address, DATA, 60)
        await eventually(lambda: counted(outcome) == before + 1, f"{outcome!r} (so far: {self.outcomes()})")

    def outcomes(self) -> dict[str, float]:
        return {name: counted(name) - before for name, before in self.before.items()}


OUTCOMES = ("sent", "failed", "timeout", "unregistered")


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("pairing_push_messages_total", {"outcome": outcome}) or 0.0


@asynccontextmanager
async def pushing(google: Google, folder: Path, timeout: float = 5.0, base_url: str = "") -> AsyncIterator[Pusher]:
    gone: list[str] = []

    async def unregistered(address: str) -> None:
        gone.append(address)

    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    fcm = FcmPush(credentials(folder, google), base_url or google.url, system_clock, timeout)
    services = {Kind.FCM_TOKEN: fcm, Kind.FCM_FID: fcm}
    async with PushDelivery(services, unregistered, secrets.token_bytes, end_seconds=timeout, sleep=pause) as push:
        yield Pusher(push, pauses, gone, {name: counted(name) for name in OUTCOMES})


@pytest.mark.security(21)
async def test_a_message_is_sent_with_a_fresh_bearer_and_exactly_this_body(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path) as pusher:
        await pusher.sends("sent")
    assert google.messages == [
        {"message": {"token": "address", "data": DATA, "android": {"priority": "high", "ttl": "60s"}}},
    ]
    assert all(isinstance(value, str) for value in google.messages[0]["message"]["data"].values())


@pytest.mark.security(19)
async def test_news_go_to_each_address_and_an_address_that_fails_stops_no_other(google: Google, tmp_path: Path) -> None:
    async def three() -> list[str]:
        return ["one", "two", "three"]

    async def away() -> list[str]:
        raise Unavailable("the database")

    async with pushing(google, tmp_path) as pusher:
        pusher.push.send_to_each(three, DATA, 60)
        await eventually(lambda: pusher.outcomes()["sent"] == 3, "three messages")
        assert {each["message"]["token"] for each in google.messages} == {"one", "two", "three"}
        google.answer = (404, UNREGISTERED)
        pusher.push.send_to_each(three, DATA, 60)
        await eventually(lambda: sorted(pusher.gone) == ["one", "three", "two"], "three addresses that are gone")
        # Whoever asked for it has long gone on.
        pusher.push.send_to_each(away, DATA, 60)
        await eventually(lambda: pusher.outcomes()["failed"] == 1, "the failure")


async def test_one_bearer_serves_many_messages(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path) as pusher:
        for number in range(20):
            pusher.push.send(f"address {number}", DATA, 60)
        await eventually(lambda: len(google.messages) == 20, "twenty messages")
    assert len(google.given) == 1
    assert {each["message"]["token"] for each in google.messages} == {f"address {number}" for number in range(20)}


async def test_an_address_that_nobody_has_any_more_is_told_and_nothing_else_is(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path) as pusher:
        google.answer = (404, UNREGISTERED)
        await pusher.sends("unregistered", "gone")
        assert pusher.gone == ["gone"]
        # A wrong project is 404 as well and says nothing about the address.
        google.answer = (404, NO_SUCH_PROJECT)
        await pusher.sends("failed", "there")
        assert pusher.gone == ["gone"]


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"error": {}}),
        (403, {"error": {}}),
        (429, {"error": {}}),
        (500, {"error": {}}),
        (503, {"error": {}}),
        (404, []),
        (404, {"error": "text"}),
        (404, {"error": {"details": 7}}),
        (404, {"error": {"details": ["text"]}}),
        (404, {"error": {"details": None}}),
        (0, Response("<html>", 404)),
        (0, Response("", 302, {"Location": "http://127.0.0.1:9/"})),
    ],
)
async def test_a_refusal_of_any_kind_is_counted_and_the_next_message_goes_out(
    google: Google, tmp_path: Path, answer: tuple[int, Any]
) -> None:
    async with pushing(google, tmp_path) as pusher:
        kind, google.answer = google.answer, answer
        await pusher.sends("failed")
        assert pusher.gone == []
        google.answer = kind
        await pusher.sends("sent")


@pytest.mark.security(21)
async def test_a_firebase_installation_id_is_addressed_as_one(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path) as pusher:
        await pusher.sends("sent", "fid:cJ3xBoNDRtKdQ0wSmQ5pTl")
        assert [each["message"].get("fid") for each in google.messages] == ["cJ3xBoNDRtKdQ0wSmQ5pTl"]
        google.answer = (404, UNREGISTERED)
        await pusher.sends("unregistered", "fid:cJ3xBoNDRtKdQ0wSmQ5pTl")
        assert pusher.gone == ["fid:cJ3xBoNDRtKdQ0wSmQ5pTl"]


@pytest.mark.parametrize(
    ("status", "after", "pause"),
    [(503, "7", 7), (503, "", None), (500, "", None), (429, "12", 12), (429, "", 60), (503, "no number", None)],
)
async def test_a_message_that_may_be_taken_later_is_sent_again_when_the_service_says(
    google: Google, tmp_path: Path, status: int, after: str, pause: float | None
) -> None:
    google.first = [(status, JSONResponse({"error": {}}, status, {"Retry-After": after} if after else None))] * 2
    async with pushing(google, tmp_path) as pusher:
        pusher.push.send("address", DATA, 600)
        await eventually(lambda: pusher.outcomes()["sent"] == 1, "the message")
    assert len(pusher.pauses) == 2
    first, second = pusher.pauses
    if pause is None:
        assert 1 <= first <= 1.5
        assert 4 <= second <= 6
    else:
        assert first == second == pause


@pytest.mark.parametrize("after", ["301", "3600", "Fri, 31 Dec 2999 23:59:59 GMT"])
async def test_a_service_that_wants_a_long_rest_is_not_asked_again(google: Google, tmp_path: Path, after: str) -> None:
    google.first = [(503, JSONResponse({}, 503, {"Retry-After": after}))]
    async with pushing(google, tmp_path) as pusher:
        pusher.push.send("address", DATA, 86_400)
        await eventually(lambda: pusher.outcomes()["failed"] == 1, "the end")
    assert (google.asked, pusher.pauses) == (1, [])


async def test_a_message_that_would_come_too_late_is_given_up(google: Google, tmp_path: Path) -> None:
    google.first = [(503, JSONResponse({}, 503, {"Retry-After": "30"}))] * 9
    async with pushing(google, tmp_path) as pusher:
        pusher.push.send("address", DATA, 60)
        await eventually(lambda: pusher.outcomes()["failed"] == 1, "the end")
    assert (google.asked, pusher.pauses) == (2, [30])


async def test_a_bearer_that_was_withdrawn_is_replaced_and_the_message_arrives(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path) as pusher:
        await pusher.sends("sent")
        google.given.clear()
        await pusher.sends("sent")
    assert len(google.given) == 1


async def test_a_service_that_never_answers_is_given_up(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path, timeout=0.2) as pusher:
        google.answer = None
        await pusher.sends("timeout")


async def test_a_refused_bearer_is_counted_and_asked_for_again(google: Google, tmp_path: Path) -> None:
    async with pushing(google, tmp_path) as pusher:
        google.tokens = False
        await pusher.sends("failed")
        assert google.asked == 0
        google.tokens = True
        await pusher.sends("sent")


async def test_an_unreachable_service_is_counted_and_named_with_the_cause_once_and_when_it_is_back(
    google: Google, tmp_path: Path
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}}")
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    port = free_port()
    with capture_logs() as logs:
        async with pushing(google, tmp_path, base_url=f"http://127.0.0.1:{port}") as pusher:
            await pusher.sends("failed")
            await pusher.sends("failed")
            assert [(each["event"], each["server"]) for each in logs] == [("push.failed", f"127.0.0.1:{port}")]
            assert "Connection refused" in logs[0]["cause"]
            async with await asyncio.start_server(refuse, "127.0.0.1", port):
                await pusher.sends("failed")
    assert [each["event"] for each in logs] == ["push.failed", "push.back", "push.refused"]


async def test_a_token_endpoint_that_cannot_be_reached_is_named(google: Google, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(google, url=f"http://127.0.0.1:{free_port()}")
    with capture_logs() as logs:
        async with pushing(elsewhere, tmp_path, base_url=google.url) as pusher:
            await pusher.sends("failed")
    assert logs[0]["cause"].startswith("127.0.0.1: ")
    assert "Connection refused" in logs[0]["cause"]


async def test_an_end_does_not_wait_for_a_service_that_never_answers(google: Google, tmp_path: Path) -> None:
    google.answer = None
    async with pushing(google, tmp_path, timeout=0.2) as pusher:
        pusher.push.send("address", DATA, 60)
        await eventually(lambda: google.asked, "the message to arrive")
    await eventually(lambda: not [task for task in asyncio.all_tasks() if "PushDelivery" in repr(task)], "the end")


class Anybody:
    """The accounts room, to whom all devices are different and all logins fine."""

    def device_id(self, approver: Approver, device: NewDevice) -> str:
        return device.code

    async def check_login(self, approver: Approver, device: NewDevice | None) -> None:
        pass

    async def admit(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> None:
        pass

    async def log_in(self, pairing_id: str, approver: Approver, device: NewDevice, secret: str) -> str:
        return "keys"

    async def note(self, event: str, approver: Approver, device: NewDevice | None, pairing_id: str) -> None:
        pass

    async def obstacle(self, approver: Approver, device: NewDevice | None) -> Refused | None:
        return None

    def expect(self, approver: Approver, milliseconds: int) -> None:
        pass


async def somebody_is_there() -> None:
    pass


@pytest.mark.parametrize("mood", ["kind", "refusing", "silent", "no tokens"])
async def test_whatever_the_push_service_does_the_approval_stands_and_is_told_to_its_device(
    google: Google, tmp_path: Path, mood: str
) -> None:
    google.tokens = mood != "no tokens"
    google.answer = {"refusing": (500, {}), "silent": None}.get(mood, google.answer)
    clock, bus = FakeClock(), MemoryBus()
    approver = ByKey(Approver(user_id="u", session_id="s", device_id="d"), lambda: None, somebody_is_there)
    async with pushing(google, tmp_path, timeout=0.2) as pusher:
        service: PairingService[str] = PairingService(
            MemoryPairings(bus, clock),
            bus,
            Anybody(),
            RateLimits({}, MemoryCounters()),
            pusher.push,
            NoPlaces(),
            Policy(verify="never"),
            secrets.token_bytes,
            b"k" * 32,
        )
        for address in ("address", ""):
            made = await service.creation.create(NewDevice(code="c", name="n", push_token=address), "192.0.2.1")
            pairing_id = made.view.pairing.id
            await service.claims.claim(pairing_id, made.qr_text.split("#")[1], approver, "192.0.2.1")
            began = time.monotonic()
            approved = await service.decisions.approve(pairing_id, approver)
            # It did not wait for the service, not even for the timeout.
            assert time.monotonic() - began < 0.15
            assert approved.pairing.status == "approved"
            assert await service.decisions.approve(pairing_id, approver)
            assert made.secret is not None
            assert await service.logins.log_in(pairing_id, BySecret(made.secret)) == "keys"
            if address and mood == "kind":
                await eventually(lambda: google.messages, "the message")
                data = {"id": pairing_id, "status": "Approved", "approvedAt": iso(clock())}
                assert google.messages[0]["message"] == {
                    "token": "address",
                    "data": data,
                    "android": {"priority": "high", "ttl": "120s"},
                }
        if mood == "kind":
            # Approved four times in two pairings: one message, to the one that gave an address.
            await eventually(lambda: pusher.outcomes()["sent"] == 1, "the count")
            assert len(google.messages) == 1
