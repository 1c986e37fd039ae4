"""Which login the host application is asked about, how often, and what becomes of its answer."""

import asyncio
import json
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from pairing_ws.accounts.login_hook import Login, Question, Said
from pairing_ws.accounts.login_questions import ACCEPTED_MS, LoginQuestions
from pairing_ws.accounts.ports import Session, User
from pairing_ws.accounts.refresh_keys import GRACE_MS
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.adapters.memory import MemoryBus
from pairing_ws.adapters.sql.question_store import SqlQuestions
from pairing_ws.core.audit import no_audit
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused, Unavailable
from tests.accounts.conftest import World, as_approver, code_of, device, world
from tests.support.servers import eventually
from tests.support.tokens import parts

SECRET = "s" * 43
YES = Said("", b'{"plan":"gold","sub":"mallory"}', b'{"token":"t"}')
NO = Said("", refusal="No seat is left")
SILENCE = Unavailable("the application")


@dataclass
class Application:
    """The host application. `answers` are its next ones, the last for ever; with `held` it takes its time."""

    answers: list[Said | Unavailable] = field(default_factory=lambda: [YES])
    held: asyncio.Event | None = None
    asked: list[tuple[Login, User, str]] = field(default_factory=list)

    async def __call__(self, login: Login, user: User, session_id: str) -> Said:
        self.asked.append((login, user, session_id))
        if self.held:
            await self.held.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Unavailable):
            raise answer
        return Said(session_id, answer.claims, answer.host, answer.refusal)


@dataclass
class Site:
    """Processes that share a database and a bus, and an application that all of them ask."""

    here: World
    app: Application = field(default_factory=Application)
    bus: MemoryBus = field(default_factory=MemoryBus)

    def process(self, device_limit: int = 20) -> World:
        """One more of them."""
        here, policy = self.here, replace(self.here.policy, device_limit=device_limit)
        return world(here.database, here.tokens, here.clock, policy, self.bus, self.app)


@pytest.fixture
def site(here: World) -> Site:
    return Site(here)


@dataclass
class Pairing:
    """One that was approved, and the device that logs in by it."""

    approver: Session
    device: NewDevice = field(default_factory=device)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    async def log_in(self, process: World, secret: str = SECRET) -> LoggedIn:
        """As the pairing story does it, in two steps."""
        await process.accounts.logins.admit(self.id, as_approver(self.approver), self.device, secret)
        return await self.again(process, secret)

    async def again(self, process: World, secret: str = SECRET) -> LoggedIn:
        """As it does once the pairing is consumed."""
        return await process.accounts.logins.log_in(self.id, as_approver(self.approver), self.device, secret)


async def sessions(here: World) -> int:
    return len(await here.column("SELECT id FROM sessions"))


async def test_a_login_by_an_approval_is_asked_about_once_and_brings_what_the_application_adds(site: Site) -> None:
    process = site.process()
    pairing = Pairing(await site.here.by_invite())
    given = await pairing.log_in(process)
    ((login, user, session_id),) = site.app.asked
    assert (login.origin, login.how, login.device, user.username) == (
        f"pairing:{pairing.id}", "qr", pairing.device, "alice",
    )  # fmt: skip
    assert login.approver == as_approver(pairing.approver)
    claims = parts(given.key_pair.auth_key)[1]
    assert (claims["sid"], claims["did"], claims["plan"]) == (session_id, login.device_id, "gold")
    assert given.key_pair.host == b'{"token":"t"}'


@pytest.mark.security(51)
async def test_no_claim_of_the_application_takes_the_place_of_our_own(site: Site) -> None:
    pairing = Pairing(await site.here.by_invite())
    claims = parts((await pairing.log_in(site.process())).key_pair.auth_key)[1]
    assert claims["sub"] == pairing.approver.user.id


async def test_an_invite_is_asked_about_as_well(site: Site) -> None:
    process = site.process()
    made = await process.accounts.operator.invite("alice")
    given = await process.accounts.logins.accept_invite(made.code, device("one"), SECRET)
    assert [(each.how, each.approver) for each, *_ in site.app.asked] == [("invite", None)]
    assert given.key_pair.host == b'{"token":"t"}'
    again = await process.accounts.logins.accept_invite(made.code, device("one"), SECRET)
    assert again.key_pair == given.key_pair
    assert len(site.app.asked) == 1


async def test_what_the_application_enrols_itself_is_asked_about_like_any_other_login(site: Site) -> None:
    process = site.process()
    user = (await site.here.by_invite()).user
    given = await process.accounts.logins.enrol(user.id, device("one"), "key")
    assert [each.how for each, *_ in site.app.asked] == ["host"]
    assert given.key_pair.host == b'{"token":"t"}'
    assert (await process.accounts.logins.enrol(user.id, device("one"), "key")).key_pair == given.key_pair
    assert len(site.app.asked) == 1


async def test_what_the_application_adds_is_there_after_a_refresh_and_another_one_repeats_no_host(site: Site) -> None:
    process = site.process()
    key = (await Pairing(await site.here.by_invite()).log_in(process)).key_pair.refresh_key
    for each in (process, site.here, site.process()):
        renewed = await each.accounts.sessions.refresh(key, "")
        assert parts(renewed.key_pair.auth_key)[1]["plan"] == "gold"
        assert renewed.key_pair.host == b""
        key = renewed.key_pair.refresh_key


async def test_a_login_that_is_repeated_asks_nobody_and_gets_the_same_answer(site: Site) -> None:
    process = site.process()
    pairing = Pairing(await site.here.by_invite())
    first = await pairing.log_in(process)
    for each in (process, site.process()):
        assert (await pairing.again(each)).key_pair == first.key_pair
    assert await code_of(pairing.again(process, "t" * 43)) is Code.PAIRING_CONSUMED
    site.here.clock.forward(ms=2 * ACCEPTED_MS)
    assert await code_of(pairing.again(process)) is Code.PAIRING_CONSUMED
    assert len(site.app.asked) == 1


@pytest.mark.security(51)
async def test_of_a_hundred_callers_in_two_processes_one_asks_and_all_get_one_answer(site: Site) -> None:
    processes = [site.process(), site.process()]
    pairing = Pairing(await site.here.by_invite())
    site.app.held = asyncio.Event()
    logins = [asyncio.create_task(pairing.log_in(processes[number % 2])) for number in range(100)]
    await eventually(lambda: site.app.asked, "a question")
    site.app.held.set()
    answers = await asyncio.gather(*logins)
    assert len({each.key_pair for each in answers}) == 1
    assert len(site.app.asked) == 1
    assert await sessions(site.here) == 2


@pytest.mark.security(51)
async def test_of_fifty_devices_with_one_invite_one_is_logged_in_and_no_two_questions_are_one(site: Site) -> None:
    processes = [site.process(), site.process()]
    made = await site.here.accounts.operator.invite("alice")
    answers = await asyncio.gather(
        *(processes[n % 2].accounts.logins.accept_invite(made.code, device(), f"{n:043}") for n in range(50)),
        return_exceptions=True,
    )
    won = [each for each in answers if isinstance(each, LoggedIn)]
    lost = Counter(each.code for each in answers if isinstance(each, Refused))
    assert len(won) == 1
    assert lost.keys() <= {Code.INVITE_USED, Code.UNAVAILABLE}
    ids = [session_id for _, _, session_id in site.app.asked]
    assert len(ids) == len(set(ids))
    assert await site.here.column("SELECT id FROM sessions") == [parts(won[0].key_pair.auth_key)[1]["sid"]]


@pytest.mark.security(51)
async def test_a_refusal_begins_no_session_uses_nothing_up_and_is_told_again_for_thirty_seconds(site: Site) -> None:
    process, other = site.process(), site.process()
    site.app.answers = [NO]
    made = await site.here.accounts.operator.invite("alice")

    async def accept(process: World) -> LoggedIn:
        return await process.accounts.logins.accept_invite(made.code, device("one"), SECRET)

    for each in (process, other, process):
        with pytest.raises(Refused) as caught:
            await accept(each)
        assert (caught.value.code, caught.value.detail) == (Code.LOGIN_REFUSED, "No seat is left")
    assert (len(site.app.asked), await sessions(site.here)) == (1, 0)
    ((event, facts),) = [each for each in process.events if each[0].startswith("session")]
    assert (event, facts["why"], facts["username"]) == ("session.refused", "No seat is left", "alice")
    site.here.clock.forward(ms=GRACE_MS)
    site.app.answers = [YES]
    await accept(other)
    (_, _, first), (_, _, second) = site.app.asked
    assert first != second


async def test_one_hundred_callers_that_are_refused_have_asked_once(site: Site) -> None:
    processes = [site.process(), site.process()]
    pairing = Pairing(await site.here.by_invite())
    site.app.answers = [NO]
    codes = await asyncio.gather(*(code_of(pairing.log_in(processes[number % 2])) for number in range(100)))
    assert set(codes) == {Code.LOGIN_REFUSED}
    assert len(site.app.asked) == 1


@pytest.mark.security(51)
async def test_without_an_answer_nobody_is_logged_in_and_the_next_try_asks_the_same_question(site: Site) -> None:
    processes = [site.process(), site.process()]
    pairing = Pairing(await site.here.by_invite())
    site.app.answers, site.app.held = [SILENCE, YES], asyncio.Event()
    logins = [asyncio.create_task(code_of(pairing.log_in(processes[number % 2]))) for number in range(50)]
    await eventually(lambda: site.app.asked, "a question")
    site.app.held.set()
    assert Code.UNAVAILABLE in await asyncio.gather(*logins, return_exceptions=True)
    given = await pairing.log_in(processes[0])
    assert len({session_id for _, _, session_id in site.app.asked}) == 1
    assert parts(given.key_pair.auth_key)[1]["sid"] == site.app.asked[0][2]


async def test_of_fifty_that_take_the_same_turn_one_gets_it(here: World) -> None:
    store, user = SqlQuestions(here.database), (await here.by_invite()).user
    first = Question(origin="pairing:p", user_id=user.id, turn=1, asker="a" * 44, session_id="s" * 22, asked_at=0)
    for turn in (1, 2, 3):
        question = msgspec.structs.replace(first, turn=turn)
        assert (await asyncio.gather(*(store.begin(question) for _ in range(50)))).count(True) == 1
        found = await store.question(first.origin)
        assert found
        assert found.turn == turn


async def test_a_caller_that_breaks_off_leaves_the_answer_for_its_next_try(site: Site) -> None:
    process = site.process()
    pairing = Pairing(await site.here.by_invite())
    site.app.held = asyncio.Event()
    login = asyncio.create_task(pairing.log_in(process))
    await eventually(lambda: site.app.asked, "a question")
    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    again = asyncio.create_task(pairing.log_in(site.process()))
    site.app.held.set()
    assert (await again).key_pair.host == b'{"token":"t"}'
    assert len(site.app.asked) == 1


async def test_a_question_whose_process_was_killed_is_asked_again_as_the_same_one(site: Site) -> None:
    store, approver = SqlQuestions(site.here.database), await site.here.by_invite()
    pairing = Pairing(approver)
    killed = Application(held=asyncio.Event())
    login = Login(f"pairing:{pairing.id}", approver.user.id, "d", device(), "qr", as_approver(approver))

    def questions(app: Application) -> LoginQuestions:
        return LoginQuestions(
            store, site.bus, app, site.here.clock, secrets.token_bytes, no_audit, abandoned_seconds=0.05
        )

    lost = asyncio.create_task(questions(killed).answer(login, SECRET))
    await eventually(lambda: killed.asked, "a question")
    said = await questions(site.app).answer(login, SECRET)
    assert said.session_id == site.app.asked[0][2] == killed.asked[0][2]
    # It was only very slow, and is too late.
    killed.answers = [NO]
    assert killed.held
    killed.held.set()
    with pytest.raises(Refused):
        await lost
    assert await questions(Application([NO])).answer(login, SECRET) == said


async def test_a_locked_account_is_not_asked_about(site: Site) -> None:
    process = site.process()
    made = await site.here.accounts.operator.invite("alice")
    await site.here.accounts.operator.lock("alice", locked=True)
    assert await code_of(process.accounts.logins.accept_invite(made.code, device(), SECRET)) is Code.ACCOUNT_LOCKED
    assert site.app.asked == []


async def test_a_login_that_fails_for_want_of_room_asks_nobody_when_it_comes_again(site: Site) -> None:
    process = site.process(device_limit=1)
    first = await site.here.by_invite()
    made = await site.here.accounts.operator.invite("alice")

    async def accept() -> LoggedIn:
        return await process.accounts.logins.accept_invite(made.code, device("two"), SECRET)

    assert await code_of(accept()) is Code.DEVICE_LIMIT
    await site.here.accounts.sessions.log_out(first, "")
    assert (await accept()).key_pair.host == b'{"token":"t"}'
    assert len(site.app.asked) == 1


@pytest.mark.security(17)
async def test_what_the_application_gives_a_client_is_not_to_be_read_in_the_database(site: Site) -> None:
    await Pairing(await site.here.by_invite()).log_in(site.process())
    stored = [value for row in await site.here.rows("SELECT * FROM login_questions") for value in row]
    stored += [value for row in await site.here.rows("SELECT * FROM sessions") for value in row]
    assert b"token" not in b"".join(bytes(each) for each in stored if isinstance(each, bytes | memoryview))
    kept = await site.here.column("SELECT claims FROM sessions WHERE claims IS NOT NULL")
    assert [json.loads(bytes(each)) for each in kept if isinstance(each, bytes)] == [json.loads(YES.claims)]


async def test_old_questions_are_swept(site: Site) -> None:
    await Pairing(await site.here.by_invite()).log_in(site.process())
    await site.here.accounts.operator.tidy()
    assert len(await site.here.column("SELECT origin FROM login_questions")) == 1
    site.here.clock.forward(ms=2 * 86_400_000)
    await site.here.accounts.operator.tidy()
    assert await site.here.column("SELECT origin FROM login_questions") == []
