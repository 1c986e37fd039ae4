"""An AccountService on a real database, with a fake clock: each test once for each kind of database."""

import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pairing_ws.accounts.login_hook import LoginHook
from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.ports import Session
from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.types import LoggedIn, Policy
from pairing_ws.adapters.jwt.access_tokens import AuthKeys
from pairing_ws.adapters.jwt.key_file import make_key_file
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.memory import MemoryBus, MemoryCounters
from pairing_ws.adapters.push import NoPush
from pairing_ws.adapters.rate_limits import RateLimits
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.question_store import SqlQuestions
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused
from tests.support.clock import FakeClock

_numbers = itertools.count(1)


def device(code: str | None = None, name: str = "Test device", **more: str) -> NewDevice:
    return NewDevice(code=code or f"device-{next(_numbers)}", name=name, **more)


def as_approver(session: Session) -> Approver:
    return Approver(user_id=session.user.id, session_id=session.id, device_id=session.device.id)


async def code_of(call: Awaitable[object]) -> Code:
    """The word this call is refused with."""
    with pytest.raises(Refused) as caught:
        await call
    return caught.value.code


@dataclass
class World:
    """One process's account story. `another` makes a second one on the same database."""

    database: Database
    store: SqlAccounts
    accounts: AccountService
    clock: FakeClock
    ended: list[str]
    policy: Policy
    tokens: AuthKeys
    bus: MemoryBus = field(default_factory=MemoryBus)
    # What the audit log was told: event, facts.
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def another(self, **policy: Any) -> "World":
        """Another process: its own caches, and perhaps other settings."""
        return world(self.database, self.tokens, self.clock, replace(self.policy, **policy))

    async def by_invite(self, username: str = "alice", **of_device: str) -> Session:
        """A device of that account, logged in by an invite."""
        made = await self.accounts.operator.invite(username)
        return await self.known(await self.accounts.logins.accept_invite(made.code, device(**of_device), None))

    async def by_pairing(self, approver: Session, **of_device: str) -> Session:
        """A device that this one let in."""
        return await self.known(await self.pair(approver, device(**of_device)))

    async def pair(self, approver: Session, new: NewDevice, pairing_id: str | None = None) -> LoggedIn:
        party, secret = as_approver(approver), secrets.token_urlsafe(32)
        await self.accounts.logins.check_login(party, new)
        return await self.accounts.logins.log_in(pairing_id or secrets.token_urlsafe(16), party, new, secret)

    async def known(self, given: LoggedIn) -> Session:
        """The session of a pair of keys; asking is the authKey's first use."""
        return await self.accounts.sessions.authenticate(given.key_pair.auth_key)

    async def column(self, statement: str, **values: object) -> list[object]:
        """One column, as the database holds it."""
        return [value for value, *_ in await self.rows(statement, **values)]

    async def rows(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """Its rows, as the database holds them."""
        return await self.database.run(lambda it: [tuple(row) for row in it.execute(sa.text(statement), values)])


def world(
    database: Database,
    tokens: AuthKeys,
    clock: FakeClock,
    policy: Policy,
    bus: MemoryBus | None = None,
    hook: LoginHook | None = None,
) -> World:
    store, bus, ended = SqlAccounts(database), bus or MemoryBus(), list[str]()
    events: list[tuple[str, dict[str, Any]]] = []

    async def devices_ended(device_ids: Sequence[str]) -> None:
        ended.extend(device_ids)

    async def session_ended(approver: Approver) -> None:
        ended.append(approver.session_id)

    def audit(event: str, /, **facts: str | int | None) -> None:
        events.append((event, facts))

    monitor = SessionMonitor(store, clock, session_ended, policy.refresh_key)
    accounts = AccountService(
        store,
        SqlUsers(database),
        bus,
        RateLimits({}, MemoryCounters()),
        NoPush(),
        tokens,
        policy,
        clock,
        secrets.token_bytes,
        devices_ended,
        monitor,
        b"pepper",
        audit,
        (hook, SqlQuestions(database)) if hook else None,
    )
    return World(database, store, accounts, clock, ended, policy, tokens, bus, events)


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    make_key_file(path, FakeClock())
    return path


@pytest.fixture
async def here(database: str, key_file: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    opened = open_database(database)
    yield world(opened, AuthKeys(KeyRing(key_file, clock), "http://localhost:8000"), clock, Policy())
    await opened.close()


async def logged_in(here: World) -> LoggedIn:
    """A pair of keys of which neither has been used."""
    return await here.pair(await here.by_invite(), device())
