"""The steps of a login, by the Python client on answers that a test has written: what a real server does seldom."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from pairing_ws.client import Client, Device, Keys, NewPairing, Problem, log_in

HERE = Device(code="tool-1", name="Tool")
KEYS = {
    "authKey": "a", "refreshKey": "r", "expiresIn": 600, "user": {"id": "u", "username": "ada"}, "device": {"id": "d"},
}  # fmt: skip


class Script:
    """Answers each kind of call with its next line, the last one for ever: `create`, `read`, `login`, `cancel`."""

    def __init__(self, **answers: list[tuple[int, dict[str, Any]]]) -> None:
        self.answers = answers
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        end = request.url.path.rpartition("/")[2]
        kind = {"pairings": "create", "login": "login"}.get(end, "cancel" if request.method == "DELETE" else "read")
        self.calls.append(kind)
        if kind == "login":
            self.bodies.append(json.loads(request.content))
        lines = self.answers[kind]
        status, body = lines.pop(0) if len(lines) > 1 else lines[0]
        return httpx2.Response(status, json=body)

    def client(self) -> Client:
        # Nobody listens there for a socket, so the client polls.
        return Client("http://127.0.0.1:9", http=httpx2.AsyncClient(transport=httpx2.MockTransport(self)))


def pairing(status: str, version: int, verification: str = "none") -> tuple[int, dict[str, Any]]:
    members = {
        "id": "p", "status": status, "version": version, "expiresIn": 60, "pollInterval": 0.01,
        "verification": verification, "qr": {"text": "https://login.example.com/#code"}, "userCode": "ABCD-EFGH",
    }  # fmt: skip
    return (200, members)


def refusal(code: str, status: int = 403, **members: Any) -> tuple[int, dict[str, Any]]:
    return status, {"code": code, **members}


async def run(script: Script, *numbers: str) -> tuple[Keys, list[NewPairing], list[int | None]]:
    """The keys, the codes that were shown, and what was said when the number was asked for."""
    shown: list[NewPairing] = []
    asked: list[int | None] = []
    typed = iter(numbers)

    async def ask(attempts_left: int | None) -> str:
        asked.append(attempts_left)
        return next(typed)

    async with script.client() as client, asyncio.timeout(20):
        return await log_in(client, HERE, shown.append, ask), shown, asked


async def test_a_code_that_nobody_has_scanned_in_time_is_followed_by_another_one() -> None:
    script = Script(
        create=[pairing("pending", 1)],
        read=[pairing("expired", 2), pairing("approved", 3)],
        login=[(200, KEYS)],
    )
    keys, shown, asked = await run(script)
    assert (keys.username, len(shown), asked) == ("ada", 2, [])


async def test_one_that_was_scanned_and_left_is_not() -> None:
    script = Script(create=[pairing("pending", 1)], read=[pairing("scanned", 2), pairing("expired", 3)])
    with pytest.raises(Problem) as caught:
        await run(script)
    assert caught.value.code == "pairing_expired"


async def test_the_number_is_asked_for_until_it_is_right_or_no_attempt_is_left() -> None:
    approved = [pairing("approved", 3, "number")]
    wrong = refusal("number_mismatch", attemptsLeft=2)
    script = Script(create=[pairing("pending", 1)], read=approved, login=[wrong, (200, KEYS)])
    _, _, asked = await run(script, "111", "222")
    assert asked == [None, 2]
    assert [each["number"] for each in script.bodies] == ["111", "222"]
    last = refusal("number_mismatch", attemptsLeft=0)
    with pytest.raises(Problem) as caught:
        await run(Script(create=[pairing("pending", 1)], read=approved, login=[last]), "111")
    assert caught.value.code == "number_mismatch"


async def test_a_store_that_is_away_is_waited_for_and_a_refusal_is_not() -> None:
    approved = [refusal("unavailable", 503, retryAfter=0), pairing("approved", 3)]
    away = refusal("unavailable", 503, retryAfter=0)
    script = Script(create=[pairing("pending", 1)], read=approved, login=[away, (200, KEYS)])
    await run(script)
    assert script.calls.count("login") == 2
    script.answers["login"] = [refusal("login_refused", detail="No seat is left")]
    with pytest.raises(Problem) as caught:
        await run(script)
    assert str(caught.value) == "No seat is left (login_refused)"


async def test_who_gives_up_takes_the_code_back() -> None:
    script = Script(create=[pairing("pending", 1)], read=[pairing("pending", 1)], cancel=[(200, {})])
    shown = asyncio.Event()

    async def nothing(_: int | None) -> str:
        raise AssertionError

    async with script.client() as client:
        login = asyncio.create_task(log_in(client, HERE, lambda _: shown.set(), nothing))
        await shown.wait()
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
    assert script.calls[-1] == "cancel"


@pytest.mark.parametrize(
    ("status", "body", "code", "passes"),
    [
        (502, "<html>", "unavailable", True),
        (404, "<html>", "http_404", False),
        (200, "<html>", "no_pairing_server", False),
        (403, '{"code": "account_locked", "title": "The account is locked"}', "account_locked", False),
        (403, "[]", "http_403", False),
    ],
    ids=["bad gateway", "foreign page", "another server", "problem", "list"],
)
async def test_an_answer_that_is_no_answer_is_named(status: int, body: str, code: str, passes: bool) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, text=body))
    async with Client("http://127.0.0.1:9", http=httpx2.AsyncClient(transport=transport)) as client:
        with pytest.raises(Problem) as caught:
            await client.create_pairing(HERE)
    assert (caught.value.code, caught.value.passes) == (code, passes)
