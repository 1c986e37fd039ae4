"""Key-bound sessions, as the story sees them: when it asks for a proof, and that nothing happens before."""

import secrets

import pytest

from pairing_ws.accounts.types import LoggedIn
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Prove
from tests.accounts.conftest import World, as_approver, code_of, device

JKT = "k" * 43


class Asked:
    """Takes every proof and remembers of what."""

    def __init__(self) -> None:
        self.of: list[tuple[str, str | None]] = []

    async def __call__(self, key_thumbprint: str, auth_key: str | None = None) -> None:
        self.of.append((key_thumbprint, auth_key))


async def bound(here: World, prove: Prove) -> LoggedIn:
    made = await here.accounts.operator.invite("alice")
    return await here.accounts.logins.accept_invite(made.code, device(key_thumbprint=JKT), None, prove)


async def test_each_use_asks_for_one_proof(here: World) -> None:
    asked = Asked()
    given = await bound(here, asked)
    session = await here.accounts.sessions.authenticate(given.key_pair.auth_key, asked)
    assert session.key_thumbprint == JKT
    renewed = await here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", asked)
    assert asked.of == [(JKT, None), (JKT, given.key_pair.auth_key), (JKT, None)]
    again = await here.accounts.sessions.authenticate(renewed.key_pair.auth_key, asked)
    assert again.key_thumbprint == JKT
    assert await here.column("SELECT key_thumbprint FROM sessions") == [JKT]


async def test_who_has_no_key_is_asked_for_none(here: World) -> None:
    asked = Asked()
    made = await here.accounts.operator.invite("alice")
    given = await here.accounts.logins.accept_invite(made.code, device(), None, asked)
    await here.accounts.sessions.authenticate(given.key_pair.auth_key, asked)
    await here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", asked)
    assert asked.of == []
    assert await here.column("SELECT key_thumbprint FROM sessions") == [None]


@pytest.mark.parametrize("code", [Code.INVALID_PROOF, Code.UNAVAILABLE])
async def test_without_a_proof_nothing_changes(here: World, code: Code) -> None:
    async def refuse(key_thumbprint: str, auth_key: str | None = None) -> None:
        raise Refused(code)

    made = await here.accounts.operator.invite("alice")
    assert (
        await code_of(here.accounts.logins.accept_invite(made.code, device(key_thumbprint=JKT), None, refuse)) is code
    )
    given = await bound(here, Asked())
    before = [await here.column(f"SELECT {column} FROM sessions") for column in ("refresh_hash", "sealed")]
    for _ in range(3):
        assert await code_of(here.accounts.sessions.authenticate(given.key_pair.auth_key, refuse)) is code
        assert await code_of(here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", refuse)) is code
    assert [await here.column(f"SELECT {column} FROM sessions") for column in ("refresh_hash", "sealed")] == before


async def test_a_key_that_was_exchanged_long_ago_ends_the_session_only_if_it_comes_with_a_proof(here: World) -> None:
    asked = Asked()
    given = await bound(here, asked)
    newest = await here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", asked)
    assert await here.accounts.sessions.authenticate(newest.key_pair.auth_key, asked)
    here.clock.forward(seconds=31)
    assert await code_of(here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1")) is Code.INVALID_PROOF
    assert await here.accounts.sessions.authenticate(newest.key_pair.auth_key, asked)
    assert (
        await code_of(here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", asked))
        is Code.UNAUTHENTICATED
    )
    assert await code_of(here.accounts.sessions.authenticate(newest.key_pair.auth_key, asked)) is Code.UNAUTHENTICATED


@pytest.mark.security(14)
async def test_a_bound_device_repeats_a_lost_refresh_hours_later_by_its_key_and_nobody_else_does(here: World) -> None:
    asked = Asked()
    given = await bound(here, asked)
    lost = await here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", asked)
    here.clock.forward(seconds=3600)
    assert await code_of(here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.66")) is Code.INVALID_PROOF
    again = await here.accounts.sessions.refresh(given.key_pair.refresh_key, "192.0.2.1", asked)
    assert again.key_pair.refresh_key == lost.key_pair.refresh_key
    assert (await here.accounts.sessions.authenticate(again.key_pair.auth_key, asked)).key_thumbprint == JKT


async def test_a_login_binds_to_the_key_that_the_approver_was_asked_about(here: World) -> None:
    approver = as_approver(await here.by_invite("alice"))
    given = await here.accounts.logins.log_in(secrets.token_urlsafe(16), approver, device(key_thumbprint=JKT), "s" * 43)
    assert await code_of(here.accounts.sessions.authenticate(given.key_pair.auth_key)) is Code.INVALID_PROOF
    assert (await here.accounts.sessions.authenticate(given.key_pair.auth_key, Asked())).key_thumbprint == JKT
