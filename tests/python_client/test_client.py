"""The Python client against a real server: logins, what it waits for, what it keeps and renews."""

import asyncio
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from pairing_ws.client import (
    Client,
    Device,
    DeviceKey,
    Keys,
    KeyStore,
    NewPairing,
    NotLoggedIn,
    Problem,
    Session,
    UnsafeStorage,
    log_in,
)
from tests.support.client import Api, Phone
from tests.support.embedded import embedded, fresh_phone, invite_in
from tests.support.person import Person
from tests.support.servers import Server
from tests.support.tokens import parts

HERE = Device(code="tool-1", name="Tööl", os="Linux", app_version="1.0")


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.public_url) as opened:
        yield opened


@pytest.fixture
async def bound(server: Server) -> AsyncIterator[Client]:
    async with Client(server.public_url, DeviceKey.make()) as opened:
        yield opened


@pytest.fixture
async def phone(api: Api, server: Server) -> Phone:
    return await fresh_phone(api, server.folder)


async def logged_in(client: Client, server: Server, device: Device = HERE) -> Keys:
    """By an invite, in an account of its own."""
    return await client.accept_invite(await invite_in(server.folder, f"user-{os.urandom(6).hex()}"), device)


class Screen:
    """What the person in front of the program sees and types; the phone lets in what is shown, if it is to."""

    def __init__(self, phone: Phone, decide: Callable[[Phone, str], Awaitable[Any]] | None = None) -> None:
        self.phone, self.decide = phone, decide or Phone.approve
        self.shown: list[NewPairing] = []
        self.wrong = 0
        self.asked: list[int | None] = []
        self.states: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    def show(self, pairing: NewPairing) -> None:
        self.shown.append(pairing)
        self._tasks.append(asyncio.create_task(self._scan(pairing)))

    async def _scan(self, pairing: NewPairing) -> None:
        claimed = await self.phone.post("/pairings/claim", {"userCode": pairing.user_code})
        assert claimed.json()["newDevice"]["reported"]["name"] == HERE.name
        await self.decide(self.phone, pairing.id)

    async def number(self, attempts_left: int | None) -> str:
        self.asked.append(attempts_left)
        if self.wrong >= len(self.asked):
            return "no number"
        answer = await self.phone.get(f"/pairings/{self.shown[-1].id}")
        return str(answer.json()["number"])

    async def log_in(self, client: Client) -> Keys:
        return await log_in(client, HERE, self.show, self.number, lambda state: self.states.append(state.status))


async def test_a_person_lets_the_program_in_and_types_the_number(client: Client, phone: Phone) -> None:
    screen = Screen(phone)
    keys = await screen.log_in(client)
    assert keys.username == phone.keys["user"]["username"]
    assert (await client.me(keys.auth_key))["device"]["name"] == HERE.name
    assert screen.asked == [None]
    assert screen.shown[0].text.endswith(screen.shown[0].text.split("#")[1])
    assert screen.states[-1] == "approved"


async def test_a_wrong_number_is_asked_for_again_with_what_is_left(client: Client, phone: Phone) -> None:
    screen = Screen(phone)
    screen.wrong = 1
    await screen.log_in(client)
    assert screen.asked == [None, 3]


async def test_a_program_that_is_refused_says_so(client: Client, phone: Phone) -> None:
    with pytest.raises(Problem) as caught:
        await Screen(phone, Phone.deny).log_in(client)
    assert caught.value.code == "pairing_denied"


async def test_a_bound_session_is_proved_with_each_call_and_worth_nothing_without_its_key(
    bound: Client, client: Client, phone: Phone
) -> None:
    keys = await Screen(phone).log_in(bound)
    assert bound.key
    assert parts(keys.auth_key)[1]["cnf"] == {"jkt": bound.key.thumbprint}
    for _ in range(2):
        assert (await bound.me(keys.auth_key))["session"]["jkt"] == bound.key.thumbprint
    for call in (client.me(keys.auth_key), client.refresh(keys.refresh_key)):
        with pytest.raises(Problem) as caught:
            await call
        assert caught.value.code in ("invalid_proof", "use_dpop_nonce")
    renewed = await bound.refresh(keys.refresh_key)
    again = Client(bound.url, DeviceKey.read(bound.key.private))
    async with again:
        assert (await again.me(renewed.auth_key))["device"]["id"] == keys.device_id
        headers = await again.headers("GET", "/devices", renewed.auth_key)
    answer = await phone.api.http.get("/devices", headers=headers)
    assert answer.status_code == 200


class Losing(httpx2.AsyncHTTPTransport):
    """Loses the first answer to each kind of call that may be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        kind = request.url.path.rpartition("/")[2]
        if kind in ("login", "refresh", "accept") and kind not in self.lost and answer.is_success:
            self.lost.add(kind)
            await answer.aread()
            raise httpx2.ReadError("lost")
        return answer


async def test_an_answer_that_got_lost_is_asked_for_again(server: Server, phone: Phone) -> None:
    losing = Losing()
    async with Client(server.public_url, http=httpx2.AsyncClient(transport=losing)) as client:
        keys = await Screen(phone).log_in(client)
        assert (await client.refresh(keys.refresh_key)).user_id == keys.user_id
        assert (await logged_in(client, server, Device("tool-2", "Two"))).refresh_key
    assert losing.lost == {"login", "refresh", "accept"}


async def test_without_sockets_it_polls(tmp_path: Path) -> None:
    with embedded(tmp_path, wrap=without_sockets, quarantine_seconds=0) as site:
        async with Api(site.url) as api, Client(site.settings.public_url) as client:
            phone = await fresh_phone(api, tmp_path)
            pairing = await client.create_pairing(HERE)
            states = []
            async with aclosing(client.watch(pairing)) as watching:
                async for state in watching:
                    states.append(state.status)
                    if state.status == "pending":
                        await Person(phone).lets_in(pairing.user_code)
                    if state.status == "approved":
                        break
            assert states[-1] == "approved"


def without_sockets(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await app(scope, receive, send)

    return wrapped


async def test_who_watches_what_is_not_theirs_is_told(client: Client) -> None:
    pairing = await client.create_pairing(HERE)
    stranger = NewPairing.read(pairing.members, secret="s" * 43, text="", user_code="")
    with pytest.raises(Problem) as caught:
        async for _ in client.watch(stranger):
            pass
    assert caught.value.code == "not_found"


async def test_a_code_that_is_taken_back_ends_the_watch(client: Client) -> None:
    pairing = await client.create_pairing(HERE)
    states = []
    async for state in client.watch(pairing):
        states.append((state.status, state.version))
        if len(states) == 1:
            await client.cancel(pairing)
    assert [status for status, _ in states] == ["pending", "cancelled"]


async def test_a_server_that_is_not_there_or_none_of_ours_is_named() -> None:
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(Problem) as caught:
            await client.create_pairing(HERE)
    assert (caught.value.code, caught.value.passes) == ("unreachable", True)


# Keeping keys


class Ring(dict[tuple[str, str], str]):
    """A keyring of the system's."""

    def get_password(self, service_name: str, username: str) -> str | None:
        return self.get((service_name, username))

    def set_password(self, service_name: str, username: str, password: str) -> None:
        self[service_name, username] = password

    def delete_password(self, service_name: str, username: str) -> None:
        del self[service_name, username]


def kept_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


async def test_a_file_of_keys_is_for_this_user_alone(client: Client, server: Server, tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    Session(client, store).keep(await logged_in(client, server), HERE.code)
    (file,) = kept_in(tmp_path / "keys")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert store.load(client.url)
    file.chmod(0o640)
    with pytest.raises(UnsafeStorage):
        store.load(client.url)
    file.chmod(0o600)
    file.write_text("garbage")
    with pytest.raises(UnsafeStorage):
        store.load(client.url)
    store.forget(client.url)
    assert store.load(client.url) is None


async def test_where_there_is_a_keyring_no_file_has_a_key(client: Client, server: Server, tmp_path: Path) -> None:
    ring = Ring()
    store = KeyStore(tmp_path, ring)
    session = Session(client, store)
    session.keep(await logged_in(client, server), HERE.code)
    assert await session.auth_key() in next(iter(ring.values()))
    assert kept_in(tmp_path) == []
    await session.log_out()
    assert ring == {}


async def test_a_key_is_used_until_it_is_old_and_then_renewed_once_for_all(
    bound: Client, server: Server, tmp_path: Path
) -> None:
    store, now = KeyStore(tmp_path), [time.time()]

    def clock() -> float:
        return now[0]

    keys = await logged_in(bound, server)
    Session(bound, store, clock).keep(keys, HERE.code)
    # Two programs, many tasks.
    programs = [Session.at(bound.url, store, clock), Session.at(bound.url, store, clock)]
    assert {await each.auth_key() for each in programs} == {keys.auth_key}
    now[0] += keys.expires_in - 30
    renewed = set(await asyncio.gather(*(programs[number % 2].auth_key() for number in range(50))))
    assert len(renewed) == 1
    assert renewed != {keys.auth_key}
    stored = store.load(bound.url)
    assert stored
    assert {stored.auth_key} == renewed
    assert stored.refresh_key != keys.refresh_key
    assert (await programs[0].call("GET", "/me"))["device"]["id"] == keys.device_id
    for each in programs:
        await each.client.__aexit__()


async def test_a_key_that_a_server_refuses_is_renewed_before_its_time(
    client: Client, server: Server, tmp_path: Path
) -> None:
    store = KeyStore(tmp_path)
    session = Session(client, store)
    keys = await logged_in(client, server)
    session.keep(keys, HERE.code)
    (file,) = kept_in(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "auth_key": keys.auth_key[:-4] + "AAAA"}))
    assert (await session.call("GET", "/me"))["user"]["id"] == keys.user_id


async def test_a_session_that_was_ended_elsewhere_says_why(client: Client, server: Server, tmp_path: Path) -> None:
    session = Session(client, KeyStore(tmp_path))
    keys = await logged_in(client, server)
    session.keep(keys, HERE.code)
    await client.log_out(keys.auth_key)
    with pytest.raises(NotLoggedIn) as caught:
        await session.auth_key(stale=keys.auth_key)
    assert caught.value.reason == "logged_out"
    with pytest.raises(NotLoggedIn):
        Session.at("http://localhost:1", KeyStore(tmp_path))
