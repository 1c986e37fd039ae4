"""Web Push against a real local push service that verifies the sender's token, opens the body, and can refuse."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import urlsplit

import http_ece
import httpx2
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from pairing_ws.adapters.jwt.vapid import VapidKey
from pairing_ws.adapters.push_delivery import (
    ATTEMPTS,
    MAX_IN_FLIGHT,
    MAX_PENDING,
    MAX_PER_SERVER,
    Answer,
    PushDelivery,
    Verdict,
)
from pairing_ws.adapters.web_push import WebPush
from pairing_ws.core.clock import system_clock
from pairing_ws.core.push_addresses import Kind, checked
from tests.support.push_service import PushServer, Subscriber, base64url, decoded, push_serving
from tests.support.servers import eventually, free_port

DATA = {"type": "device.added", "deviceId": "its-device", "at": "2026-01-01T00:00:00.000Z"}
OUTCOMES = ("sent", "failed", "timeout", "unregistered", "dropped")


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("pairing_push_messages_total", {"outcome": outcome}) or 0.0


@pytest.fixture
async def service() -> AsyncIterator[PushServer]:
    async with push_serving() as found:
        yield found


@dataclass
class Pusher:
    """A delivery by Web Push, what it said is gone, how long it paused, and what it counted since it was made."""

    push: PushDelivery
    key: VapidKey
    gone: list[str]
    pauses: list[float]
    before: dict[str, float]

    async def sends(self, outcome: str, address: str, seconds: int = 60) -> None:
        """Send one message and wait until it came to this."""
        before = counted(outcome)
        self.push.send(address, DATA, seconds)
        await eventually(lambda: counted(outcome) == before + 1, f"{outcome!r} (so far: {self.outcomes()})")

    def outcomes(self) -> dict[str, float]:
        return {name: counted(name) - before for name, before in self.before.items()}


@asynccontextmanager
async def pushing(
    timeout: float = 5.0, *, allow_private: bool = True, timer: Callable[[], float] = time.monotonic
) -> AsyncIterator[Pusher]:
    gone: list[str] = []
    pauses: list[float] = []

    async def unregistered(address: str) -> None:
        gone.append(address)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    key = VapidKey.new()
    web_push = WebPush(key, "mailto:ops@example.com", system_clock, allow_private=allow_private, timeout=timeout)
    async with PushDelivery(
        {Kind.WEB_PUSH: web_push}, unregistered, secrets.token_bytes, end_seconds=timeout, sleep=pause, timer=timer
    ) as push:
        yield Pusher(push, key, gone, pauses, {name: counted(name) for name in OUTCOMES})


# The test's own eyes first.


def test_the_stand_in_opens_the_message_of_rfc_8291() -> None:
    """Appendix A: its keys, its message."""
    private = int.from_bytes(decoded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
    subscriber = Subscriber(
        "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
        ec.derive_private_key(private, ec.SECP256R1()),
        decoded("BTBZMqHH6r4Tts7J_aSIgg"),
    )
    body = decoded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7"
        "A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert subscriber.opened(body) == b"When I grow up, I want to be a watermelon"


@pytest.mark.security(21)
async def test_a_message_arrives_encrypted_and_signed_for_that_push_service_alone(service: PushServer) -> None:
    subscriber, other = service.subscribe(), service.subscribe()
    async with pushing() as pusher:
        await pusher.sends("sent", subscriber.address, 86_400)
        await pusher.sends("sent", checked(subscriber.address, plain_http=True))
    assert service.refused == []
    assert service.messages == [(subscriber.endpoint, DATA)] * 2
    assert service.senders == {pusher.key.public}
    assert (service.headers[0]["ttl"], service.headers[0]["urgency"]) == ("86400", "high")
    # Nothing but its reader's key opens it, and no two are alike.
    assert not [word for word in (*DATA.values(), "ops") if word.encode() in service.bodies[0]]
    with pytest.raises(InvalidTag):
        other.opened(service.bodies[0])
    assert service.bodies[0] != service.bodies[1]


@pytest.mark.security(21)
async def test_the_length_of_a_message_tells_the_push_service_nothing(service: PushServer) -> None:
    subscriber = service.subscribe()
    async with pushing() as pusher:
        await pusher.sends("sent", subscriber.address)
        before = counted("sent")
        pusher.push.send(subscriber.address, {"id": "p" * 22, "status": "Approved"}, 60)
        await eventually(lambda: counted("sent") == before + 1, "the other message")
    assert len({len(body) for body in service.bodies}) == 1
    assert len(service.bodies[0]) <= 4096


async def test_a_token_is_worth_nothing_at_another_push_service(service: PushServer) -> None:
    """The other one, which an account's device may have named, has nothing that opens this one."""
    key = VapidKey.new()
    for endpoint, status in ((service.url, 201), ("https://elsewhere.example", 401)):
        subscriber = service.subscribe()
        body = http_ece.encrypt(
            b"{}",
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=subscriber.public,
            auth_secret=subscriber.auth,
        )
        async with httpx2.AsyncClient() as client:
            headers = {
                "Authorization": key.authorization(f"{endpoint}/push/1", "mailto:a@example.com", system_clock),
                "Content-Encoding": "aes128gcm",
                "TTL": "1",
            }
            answer = await client.post(subscriber.endpoint, content=body, headers=headers)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("status", [404, 410])
async def test_a_subscription_that_is_gone_is_told_and_not_tried_again(service: PushServer, status: int) -> None:
    subscriber = service.subscribe()
    service.answers = [status]
    async with pushing() as pusher:
        await pusher.sends("unregistered", subscriber.address)
    assert (pusher.gone, service.asked, pusher.pauses) == ([subscriber.address], 1, [])


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 413])
async def test_a_refusal_is_no_reason_to_forget_the_address_or_to_try_again(service: PushServer, status: int) -> None:
    subscriber = service.subscribe()
    service.answers = [(status, {"Location": f"{service.url}/push/elsewhere"})]
    async with pushing() as pusher:
        await pusher.sends("failed", subscriber.address)
        assert (pusher.gone, service.asked, pusher.pauses) == ([], 1, [])
        await pusher.sends("sent", subscriber.address)


@pytest.mark.parametrize(
    ("status", "after", "pause"),
    [(429, "5", 5), (503, "120", 120), (429, "", None), (503, "", None), (500, "soon", None), (502, "-1", None)],
)
async def test_a_message_is_sent_again_after_what_the_service_says_or_ever_longer_pauses(
    service: PushServer, status: int, after: str, pause: float | None
) -> None:
    subscriber = service.subscribe()
    service.answers = [(status, {"Retry-After": after} if after else {})] * 2
    async with pushing() as pusher:
        await pusher.sends("sent", subscriber.address, 600)
    first, second = pusher.pauses
    assert (first, second) == (pause, pause) if pause else 1 <= first <= 1.5 and 4 <= second <= 6
    # It is worth less to the service, which may have to keep it.
    assert int(service.headers[0]["ttl"]) <= 600 - int(first + second)


async def test_a_date_says_when_as_well(service: PushServer) -> None:
    subscriber = service.subscribe()
    service.answers = [(503, {"Retry-After": formatdate(time.time() + 30, usegmt=True)})]
    async with pushing() as pusher:
        await pusher.sends("sent", subscriber.address)
    assert 20 < pusher.pauses[0] <= 31


async def test_a_message_is_tried_no_more_than_so_often(service: PushServer) -> None:
    subscriber = service.subscribe()
    service.answers = [503] * 10
    async with pushing() as pusher:
        await pusher.sends("failed", subscriber.address, 600)
    assert (service.asked, len(pusher.pauses), pusher.gone) == (ATTEMPTS, ATTEMPTS - 1, [])


async def test_silence_is_a_timeout_and_tried_again(service: PushServer) -> None:
    subscriber = service.subscribe()
    service.answers = [None]
    async with pushing(0.3) as pusher:
        await pusher.sends("sent", subscriber.address)
        service.answers = [None] * ATTEMPTS
        await pusher.sends("timeout", subscriber.address)


async def test_a_push_service_that_is_away_is_named_once_and_when_it_is_back(service: PushServer) -> None:
    port = free_port()
    away = Subscriber(f"http://127.0.0.1:{port}/push/1")
    with capture_logs() as logs:
        async with pushing() as pusher:
            await pusher.sends("failed", away.address)
            await pusher.sends("failed", away.address)
    assert [(each["event"], each["server"]) for each in logs] == [("push.failed", f"127.0.0.1:{port}")]
    assert away.endpoint not in repr(logs)


@pytest.mark.security(41)
async def test_nothing_is_posted_to_this_machine_or_a_private_network_because_a_device_named_it(
    service: PushServer,
) -> None:
    subscriber = service.subscribe()
    endpoints = (
        subscriber.endpoint,
        subscriber.endpoint.replace("http:", "https:"),
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/push/1",
        "https://[::1]/push/1",
        "https://[::ffff:127.0.0.1]/push/1",
    )
    with capture_logs() as logs:
        async with pushing(allow_private=False) as pusher:
            for endpoint in endpoints:
                await pusher.sends("failed", Subscriber(endpoint).address)
    # One warning for each message, and for each server one a minute.
    assert [each["event"] for each in logs] == ["push.forbidden"] * len({urlsplit(each).netloc for each in endpoints})
    assert (service.asked, pusher.pauses) == (0, [])


async def test_a_server_that_refuses_is_named_once_a_minute_with_how_often(service: PushServer) -> None:
    now = 0.0
    subscriber, forbidden = service.subscribe(), Subscriber("https://10.0.0.1/push/1")

    def said() -> list[tuple[str, int]]:
        found = [(each["event"], each["since_last"]) for each in logs]
        logs.clear()
        return found

    with capture_logs() as logs:
        async with pushing(0.3, timer=lambda: now) as pusher, pushing(allow_private=False, timer=lambda: now) as strict:
            for _ in range(3):
                service.answers = [403]
                await pusher.sends("failed", subscriber.address)
                await strict.sends("failed", forbidden.address)
            assert said() == [("push.refused", 1), ("push.forbidden", 1)]
            service.answers = [None] * ATTEMPTS
            await pusher.sends("timeout", subscriber.address)
            assert said() == [("push.timeout", 1)]
            now += 60
            service.answers = [403]
            await pusher.sends("failed", subscriber.address)
            await strict.sends("failed", forbidden.address)
            assert said() == [("push.refused", 3), ("push.forbidden", 3)]


async def test_an_address_of_another_service_is_passed_over(service: PushServer) -> None:
    async with pushing() as pusher:
        pusher.push.send("a registration token", DATA, 60)
        pusher.push.send("fid:cJ3xBoNDRtKdQ0wSmQ5pTl", DATA, 60)
        await pusher.sends("sent", service.subscribe().address)
    assert pusher.outcomes() == {"sent": 1, "failed": 0, "timeout": 0, "unregistered": 0, "dropped": 0}


# How many at once


class Held:
    """A service of many servers, which answers once it may; `most` is how many messages were with it at once."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.now = self.most = 0
        self.per_server: dict[str, int] = {}

    def server(self, address: str) -> str:
        return address.split('"')[3]

    async def post(self, address: str, data: Mapping[str, str], seconds: int) -> Answer:
        server = self.server(address)
        if server != "slow" and "quick" in server:
            return Answer(Verdict.SENT, 201)
        self.now += 1
        self.per_server[server] = self.per_server.get(server, 0) + 1
        self.most = max(self.most, self.now)
        await self.may.wait()
        self.now -= 1
        self.per_server[server] -= 1
        return Answer(Verdict.SENT, 201)

    async def aclose(self) -> None:
        pass


async def nobody(_: str) -> None:
    raise AssertionError


@pytest.mark.security(26)
async def test_a_slow_push_service_holds_up_nobody_and_has_few_messages_at_once() -> None:
    held = Held()
    before = {name: counted(name) for name in OUTCOMES}
    async with PushDelivery({Kind.WEB_PUSH: held}, nobody, secrets.token_bytes) as push:
        for _ in range(200):
            push.send('{"endpoint":"slow"}', DATA, 60)
        await eventually(lambda: held.now == MAX_PER_SERVER, "its share")
        for number in range(50):
            push.send(f'{{"endpoint":"quick {number}"}}', DATA, 60)
        await eventually(lambda: counted("sent") == before["sent"] + 50, "all others")
        assert held.per_server == {"slow": MAX_PER_SERVER}
        for server in range(30):
            for _ in range(10):
                push.send(f'{{"endpoint":"other {server}"}}', DATA, 60)
        await eventually(lambda: held.now == MAX_IN_FLIGHT, "no more in all")
        held.may.set()
        await eventually(lambda: counted("sent") == before["sent"] + 550, "the rest")
    assert held.most == MAX_IN_FLIGHT


@pytest.mark.security(26)
async def test_messages_that_nobody_takes_are_bounded_and_the_rest_is_counted_as_dropped() -> None:
    held = Held()
    before = counted("dropped")
    async with PushDelivery({Kind.WEB_PUSH: held}, nobody, secrets.token_bytes, end_seconds=0.01) as push:
        for _ in range(MAX_PENDING + 7):
            push.send('{"endpoint":"slow"}', DATA, 60)
        assert counted("dropped") == before + 7


async def test_an_end_waits_for_no_message_that_waits_for_another_time(service: PushServer) -> None:
    service.answers = [(503, {"Retry-After": "60"})]
    web_push = WebPush(VapidKey.new(), "mailto:ops@example.com", system_clock, allow_private=True)
    async with PushDelivery({Kind.WEB_PUSH: web_push}, nobody, secrets.token_bytes, end_seconds=30) as push:
        push.send(service.subscribe().address, DATA, 600)
        await eventually(lambda: service.asked, "the first try")
        began = time.monotonic()
    assert time.monotonic() - began < 10


# The key


def test_a_key_is_read_in_each_form_that_there_is() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    scalar = key.private_numbers().private_value.to_bytes(32)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    sec1 = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    forms = (base64url(scalar), base64.urlsafe_b64encode(scalar).decode(), f" {base64url(scalar)}\n", pkcs8, sec1)
    assert len({VapidKey.parse(each).public for each in forms}) == 1
    assert VapidKey.parse(VapidKey.parse(pkcs8).text()).text() == base64url(scalar)
    assert len(VapidKey.new().text()) == 43


@pytest.mark.security(31)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "A" * 42,
        "A" * 43,
        "A" * 44,
        "/" * 43,
        "\u00e9" * 43,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
    ids=["empty", "hunter2", "short", "zero", "long", "base64", "letters", "pem"],
)
def test_what_is_no_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="should be a private key on P-256") as refused:
        VapidKey.parse(text)
    assert not text or text not in str(refused.value)


@pytest.mark.security(31)
def test_a_key_of_another_curve_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ValueError, match="P-256"):
        VapidKey.parse(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
