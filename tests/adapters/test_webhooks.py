"""Posts webhooks: signed, to the address that was checked, whatever the receiver does with them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from standardwebhooks import Webhook

from pairing_ws.adapters.targets import Targets
from pairing_ws.adapters.webhook_signature import WebhookSignatures
from pairing_ws.adapters.webhooks import HttpWebhooks
from pairing_ws.core.clock import system_clock
from pairing_ws.webhooks.ports import Reply
from tests.support.clock import FakeClock
from tests.support.receiver import SECRET, receiving

BODY = b'{"type":"webhook.test"}'
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def to(url: str, *secrets: str, allow_private: bool = True) -> HttpWebhooks:
    signatures = WebhookSignatures(secrets or (SECRET,))
    return HttpWebhooks(url, signatures, Targets(allow_private=allow_private), system_clock)


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says these one after the other, whatever it is sent: its address, and the heads that came."""
    left, heads = list(answers), list[bytes]()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            writer.write(left.pop(0))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks", heads
    finally:
        server.close()


def head(status: int, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} So", *lines, "", ""]).encode()


@pytest.mark.security(52)
async def test_a_receiver_with_either_secret_takes_what_is_sent_while_they_are_exchanged() -> None:
    async with receiving() as receiver:
        url = receiver.env["PAIRING_WEBHOOK_URL"]
        async with to(url, OTHER, SECRET) as send:
            assert await send("msg_1", b'{"type":"t","data":{}}') == Reply(204)
        assert [(each.id, each.type) for each in receiver.heard] == [("msg_1", "t")]


async def test_the_request_says_what_it_is() -> None:
    async with saying(head(200)) as (url, heads), to(url) as send:
        assert await send("msg_1", BODY) == Reply(200)
    lines = dict(line.lower().split(": ", 1) for line in heads[0].decode().splitlines()[1:] if line)
    assert heads[0].startswith(b"POST /hooks HTTP/1.1\r\n")
    assert (lines["content-type"], lines["user-agent"]) == ("application/json", "pairing_ws")
    assert lines["webhook-id"] == "msg_1"
    # A signature's letters count.
    signature = heads[0].decode().partition("webhook-signature: ")[2].split("\r\n")[0]
    at = datetime.fromtimestamp(int(lines["webhook-timestamp"]), UTC)
    assert signature == Webhook(SECRET).sign("msg_1", at, BODY.decode())


@pytest.mark.security(41, 52)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_leads_nowhere(status: int) -> None:
    async with (
        saying(head(200)) as (elsewhere, heads),
        saying(head(status, f"Location: {elsewhere}", "Content-Length: 0")) as (url, _),
        to(url) as send,
    ):
        assert await send("msg_1", BODY) == Reply(status)
        assert heads == []


@pytest.mark.security(41, 52)
async def test_nothing_is_sent_to_this_machine_unless_the_setting_allows_it() -> None:
    async with saying(head(200)) as (url, heads):
        for each in (url, url.replace("http:", "https:"), url.replace("127.0.0.1", "localhost")):
            async with to(each, allow_private=False) as send:
                status, why, _ = await send("msg_1", BODY)
            assert status == 0
            assert "this machine" in why or "https" in why
        assert heads == []


@pytest.mark.security(52)
async def test_what_a_receiver_says_beside_its_status_is_not_read() -> None:
    """However much it is."""
    async with saying(head(200, "Content-Length: 1000000000") + bytes(1_000_000)) as (url, _), to(url) as send:
        async with asyncio.timeout(5):
            assert await send("msg_1", BODY) == Reply(200)


async def test_a_receiver_that_is_not_there_or_breaks_off_has_not_taken_it() -> None:
    async with saying(b"") as (url, _), to(url) as send:
        broken = await send("msg_1", BODY)
    async with to(url) as send:
        away = await send("msg_1", BODY)
    assert (broken.status, away.status) == (0, 0)
    assert broken.why
    assert away.why


async def test_a_receiver_says_in_seconds_or_by_a_date_when_to_come_again() -> None:
    clock = FakeClock()
    date = format_datetime(datetime.fromtimestamp(clock() / 1000 + 90, UTC), usegmt=True)
    past = format_datetime(datetime.fromtimestamp(clock() / 1000 - 90, UTC), usegmt=True)
    said = {"120": 120_000, date: 90_000, past: 0, "soon": 0, "-1": 0, "1.5": 0, "": 0, "9" * 400: 99_999_999_000}
    async with saying(*(head(503, f"Retry-After: {each}") for each in said)) as (url, _):
        signatures = WebhookSignatures([SECRET])
        async with HttpWebhooks(url, signatures, Targets(allow_private=True), clock) as send:
            for after in said.values():
                assert await send("msg_1", BODY) == Reply(503, retry_after=after)
