"""What the host application is asked about a login, by a real request, and what its answer may be."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio

from pairing_ws.accounts.login_hook import RESERVED_CLAIMS, Login, Said
from pairing_ws.accounts.ports import User
from pairing_ws.adapters.login_hook import MAX_ANSWER, MAX_CLAIMS, MAX_HOST, HttpLoginHook
from pairing_ws.adapters.targets import Targets
from pairing_ws.adapters.webhook_signature import WebhookSignatures
from pairing_ws.core.clock import system_clock
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Unavailable
from tests.support.hook import SECRET, Hook, hook_server

USER = User(id="u" * 22, username="alice", display_name="Alice", created_at=0)
DEVICE = NewDevice(code="c", name="TV ☂", os="Linux", app_version="1", ip="192.0.2.1", user_agent="curl")
APPROVER = Approver(user_id=USER.id, session_id="s" * 22, device_id="d" * 32, ip="192.0.2.2")
BY_PAIRING = Login("pairing:p", USER.id, "e" * 32, DEVICE, "qr", APPROVER)
BY_INVITE = Login("invite:i", USER.id, "e" * 32, NewDevice(code="c", name="TV", key_thumbprint="t"), "invite", None)
SESSION = "n" * 22
Ask = Callable[..., Awaitable[Said]]


# Starting a server takes as long as thirty questions.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Hook]:
    async with hook_server() as found:
        yield found


@pytest.fixture
def hook(server: Hook) -> Hook:
    server.answer, server.headers = (200, b"{}"), {}
    for each in (server.asked, server.sent, server.ids):
        each.clear()
    server.forged = 0
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking() -> AsyncIterator[HttpLoginHook]:
    async with HttpLoginHook("", WebhookSignatures([SECRET]), Targets(allow_private=True), system_clock) as opened:
        yield opened


@pytest.fixture
def ask(asking: HttpLoginHook, hook: Hook) -> Ask:
    asking.url = hook.url
    return lambda login=BY_PAIRING: asking(login, USER, SESSION)


async def test_the_question_says_who_logs_in_on_what_from_where_and_how(hook: Hook, ask: Ask) -> None:
    await ask()
    (asked,) = hook.asked
    assert asked.keys() == {"type", "timestamp", "data"}
    assert asked["type"] == "login.requested"
    assert asked["data"] == {
        "how": "qr",
        "user": {"id": USER.id, "username": "alice", "displayName": "Alice"},
        "device": {"id": "e" * 32, "name": "TV ☂", "os": "Linux", "appVersion": "1"},
        "session": {"id": SESSION, "jkt": None},
        "network": {"ip": "192.0.2.1", "userAgent": "curl"},
        "approvedBy": {"deviceId": "d" * 32, "sessionId": "s" * 22, "ip": "192.0.2.2"},
    }
    await ask(BY_INVITE)
    data = hook.asked[1]["data"]
    assert (data["how"], data["approvedBy"], data["session"]["jkt"]) == ("invite", None, "t")


@pytest.mark.security(51)
async def test_it_is_signed_by_the_secret_and_by_no_other(hook: Hook) -> None:
    other = "whsec_" + "A" * 43 + "="
    targets = Targets(allow_private=True)
    async with HttpLoginHook(hook.url, WebhookSignatures([other]), targets, system_clock) as asking:
        with pytest.raises(Unavailable):
            await asking(BY_PAIRING, USER, SESSION)
    assert (hook.asked, hook.forged) == ([], 1)


async def test_asked_again_it_is_the_same_message(hook: Hook, ask: Ask) -> None:
    await ask()
    await ask()
    assert hook.ids == [f"login_{SESSION}"] * 2


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (204, b"", Said(SESSION)),
        (200, b"{}", Said(SESSION)),
        (200, b'{"claims": {}, "host": null}', Said(SESSION)),
        (200, b'{"claims": null}', Said(SESSION)),
        (200, b'{"claims": {"https://example.com/plan": "gold", "n": [1]}}',
         Said(SESSION, b'{"https://example.com/plan":"gold","n":[1]}')),
        (200, b'{"host": {"token": "\xe2\x98\x82"}}', Said(SESSION, host=b'{"token":"\\u2602"}')),
        (200, b'{"host": 123456789012345678901234567890}', Said(SESSION, host=b"123456789012345678901234567890")),
        (200, b'{"host": false}', Said(SESSION, host=b"false")),
        (200, b'{"refuse": {"reason": "No seat\\nis left\\u202e"}}', Said(SESSION, refusal="No seat is left")),
        (200, b'{"refuse": {}}', Said(SESSION, refusal="")),
        (403, b'{"refuse": {"reason": "No"}}', Said(SESSION, refusal="No")),
        (403, b"<h1>Forbidden</h1>", Said(SESSION, refusal="")),
        (403, b"[1]", Said(SESSION, refusal="")),
    ],
    ids=[
        "204", "empty", "empty members", "no claims", "claims", "host", "large number", "false",
        "refuse", "without reason", "403 with reason", "403 with a page", "403 with a list",
    ],
)  # fmt: skip
async def test_what_an_answer_means(hook: Hook, ask: Ask, status: int, answer: bytes, said: Said) -> None:
    hook.answer = (status, answer)
    assert await ask() == said


@pytest.mark.security(51)
@pytest.mark.parametrize("name", sorted(RESERVED_CLAIMS))
async def test_an_answer_that_would_change_what_the_authkey_says_of_itself_is_unusable(
    hook: Hook, ask: Ask, name: str
) -> None:
    hook.says(claims={name: "x"})
    with pytest.raises(Unavailable):
        await ask()


DEEP = b'{"host": ' + b"[" * 40 + b"]" * 40 + b"}"


@pytest.mark.security(51)
@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b""), (200, b"<html>"), (200, b"\xff"), (200, b"[]"), (200, b"null"), (200, b'{"claim": {}}'),
        (200, b'{"claims": []}'), (200, b'{"claims": "x"}'), (200, b'{"claims": 0}'), (200, b'{"host": NaN}'),
        (200, b'{"refuse": "no"}'), (200, b'{"refuse": {"reason": 1}}'), (200, b'{"refuse": {}, "host": 1}'),
        (200, DEEP), (200, b'{"claims": {"a": "' + b"x" * MAX_CLAIMS + b'"}}'),
        (200, b'{"host": "' + b"x" * MAX_HOST + b'"}'), (200, b"{}" + b" " * MAX_ANSWER),
        (200, b'{"claims": {"x": "\\ud800"}}'), (200, b'{"claims": {"\\udc00": 1}}'), (200, b'{"host": "\\ud800"}'),
        (200, b'{"claims": {"q": 1e999}}'), (200, b'{"host": {"q": -1e999}}'), (200, b'{"host": 1, "host": 2}'),
        (200, '{"host": 1}'.encode("utf-16")), (200, b"9" * 5000), (201, b"{}"),
        (301, b""), (307, b""), (400, b"{}"), (401, b"{}"), (404, b"{}"),
        (500, b"{}"), (503, b"{}"),
    ],
    ids=[
        "nothing", "html", "no text", "list", "null", "unknown member", "claims list", "claims text", "claims number",
        "not a number", "refuse text", "reason number", "refuse and add", "deep", "long claims", "long host", "long",
        "half a pair in a claim", "half a pair as a claim", "half a pair", "infinite claim", "infinite", "doubled",
        "UTF-16", "long number", "201", "301", "307", "400", "401", "404", "500", "503",
    ],
)  # fmt: skip
async def test_an_answer_that_cannot_be_used_is_none(hook: Hook, ask: Ask, status: int, answer: bytes) -> None:
    hook.answer, hook.headers = (status, answer), {"Location": f"http://127.0.0.1:{hook.port}/elsewhere"}
    with pytest.raises(Unavailable):
        await ask()
    assert hook.elsewhere == 0


@pytest.mark.security(51)
async def test_a_compressed_answer_is_not_unpacked(hook: Hook, ask: Ask) -> None:
    hook.answer, hook.headers = (200, gzip.compress(b"{}")), {"Content-Encoding": "gzip"}
    with pytest.raises(Unavailable):
        await ask()
    assert hook.sent[-1][0]["accept-encoding"] == "identity"


@pytest.mark.security(51)
async def test_an_answer_that_does_not_come_is_not_waited_for_longer_than_two_seconds(hook: Hook, ask: Ask) -> None:
    hook.answer = None
    with pytest.raises(Unavailable):
        await ask()


@pytest.mark.security(51)
async def test_a_private_address_is_asked_only_where_the_setting_allows_it(hook: Hook) -> None:
    for url in (hook.url, hook.url.replace("http:", "https:")):
        await assert_not_asked(url, "127.0.0.1", allow_private=False)
    await assert_not_asked(hook.url, "8.8.8.8", "127.0.0.1", allow_private=False)
    await assert_not_asked(hook.url, "169.254.169.254", allow_private=True)
    assert hook.sent == []


async def assert_not_asked(url: str, *addresses: str, allow_private: bool) -> None:
    async def resolve(_: str, __: int) -> Sequence[str]:
        return addresses

    targets = Targets(allow_private=allow_private, resolve=resolve)
    async with HttpLoginHook(url, WebhookSignatures([SECRET]), targets, system_clock) as asking:
        with pytest.raises(Unavailable):
            await asking(BY_PAIRING, USER, SESSION)


async def test_the_bounds_leave_room_for_what_each_part_may_have() -> None:
    whole: dict[str, Any] = {"claims": {"a": "x" * (MAX_CLAIMS - 8)}, "host": "x" * (MAX_HOST - 2)}
    assert len(json.dumps(whole)) < MAX_ANSWER
