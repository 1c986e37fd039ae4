"""Applications' tokens over two processes: one set of tokens of many tries, ends that both know of at once, and stores
that fail under them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ON_EACH_DATABASE, Pair, ready
from tests.support.app_server import AppServer, app_server, assert_come_back, error, insist
from tests.support.client import Api
from tests.support.embedded import fresh_phone
from tests.support.keys import payload
from tests.support.limits import NO_LIMITS
from tests.support.postgres import PostgresServer
from tests.support.servers import RedisServer, Server, running


async def at_both(pair: Pair, **settings: Any) -> tuple[AppServer, AppServer]:
    """A new application, as it asks either process."""
    one = await app_server(pair.servers[0].url, pair.servers[0].folder, pair.database_url, **settings)
    return one, one.at(pair.servers[1].url)


@pytest.mark.security(45)
@ON_EACH_DATABASE
@pytest.mark.parametrize("public", [True, False])
async def test_a_hundred_redeems_of_one_code_at_once_are_one_set_of_tokens(pair: Pair, public: bool) -> None:
    apps = await at_both(pair, public=public)
    phone = await pair.phone()
    code = await apps[0].code(phone)
    answers = await asyncio.gather(*(insist(partial(apps[number % 2].redeem, code)) for number in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    for name in ("access_token", "refresh_token", "id_token"):
        assert len({answer.json()[name] for answer in answers}) == 1
    # It was given, and works at either.
    given = answers[0].json()
    for app in apps:
        assert (await app.user_info(given["access_token"])).status_code == 200


@pytest.mark.security(45)
@ON_EACH_DATABASE
async def test_fifty_refreshes_at_once_are_one_set_of_tokens(pair: Pair) -> None:
    apps = await at_both(pair)
    first = await apps[0].tokens(await pair.phone())
    answers = await asyncio.gather(
        *(insist(partial(apps[number % 2].refresh, first["refresh_token"])) for number in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert (await apps[1].refresh(answers[0].json()["refresh_token"])).status_code == 200


@pytest.mark.security(45)
@ON_EACH_DATABASE
async def test_a_code_against_its_own_reuse_by_the_same_client_at_the_other_process(pair: Pair) -> None:
    one, two = await at_both(pair)
    code = await one.code(await pair.phone())
    given = (await one.redeem(code)).json()
    assert (await two.user_info(given["access_token"])).status_code == 200
    assert error(await two.redeem(code)) == (400, "invalid_grant")
    assert error(await one.refresh(given["refresh_token"])) == (400, "invalid_grant")
    assert error(await one.user_info(given["access_token"])) == (401, "invalid_token")


@pytest.mark.security(48)
@ON_EACH_DATABASE
async def test_what_is_revoked_at_one_process_is_inactive_at_the_other_at_once(pair: Pair) -> None:
    one, two = await at_both(pair)
    phone = await pair.phone()
    for kind in ("access_token", "refresh_token"):
        given = await one.tokens(phone)
        for token in (given["access_token"], given["refresh_token"]):
            assert (await two.introspect(token)).json()["active"] is True
        assert (await one.revoke(given[kind])).status_code == 200
        for token in (given["access_token"], given["refresh_token"]):
            assert (await two.introspect(token)).json() == {"active": False}
        assert error(await two.user_info(given["access_token"])) == (401, "invalid_token")


@pytest.mark.security(48)
async def test_a_login_that_is_logged_out_takes_along_what_is_not_offline(pair: Pair) -> None:
    one, two = await at_both(pair)
    phone = await pair.phone()
    online, offline = await one.tokens(phone), await one.tokens(phone, "openid offline_access")
    assert (await phone.api.http.delete("/sessions/current", headers=phone.headers)).status_code == 204
    assert (await two.introspect(online["access_token"])).json() == {"active": False}
    assert error(await two.refresh(online["refresh_token"])) == (400, "invalid_grant")
    assert (await two.refresh(offline["refresh_token"])).status_code == 200


# Stores that fail


async def test_without_redis_no_code_is_redeemed_and_none_is_called_invalid(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        with running(tmp_path, **{"REDIS_URL": redis.url} | NO_LIMITS) as server:
            async with Api(server.url) as api:
                app, phone = await app_server(server.url, tmp_path), await fresh_phone(api, tmp_path)
                before, code = await app.tokens(phone), await app.code(phone)
                redis.stop()
                assert_come_back(await app.redeem(code))
                # These need SQL alone, where no limits are counted.
                assert (await app.user_info(before["access_token"])).status_code == 200
                assert (await app.introspect(before["access_token"])).json()["active"] is True
                before = (await app.refresh(before["refresh_token"])).json()
                redis.start()
                await ready(api)
                # Redis has forgotten it.
                assert error(await app.redeem(code)) == (400, "invalid_grant")
                assert (await app.redeem(await app.code(phone))).status_code == 200
                assert (await app.revoke(before["refresh_token"])).status_code == 200
    finally:
        redis.stop()


async def test_limits_without_redis_are_closed_not_open(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        with running(tmp_path, REDIS_URL=redis.url) as server:
            async with Api(server.url) as api:
                app = await app_server(server.url, tmp_path)
                given = await app.tokens(await fresh_phone(api, tmp_path))
                redis.stop()
                for call in (app.user_info, app.introspect, app.refresh, app.revoke):
                    assert_come_back(await call(given["access_token"]))
                redis.start()
                await ready(api)
                assert (await app.introspect(given["access_token"])).json()["active"] is True
    finally:
        redis.stop()


@pytest.fixture(scope="module")
def on_own_postgres(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[tuple[PostgresServer, tuple[Server, Server]]]:
    """Two processes on a PostgreSQL that the test may stop."""
    postgres, folder = PostgresServer(), tmp_path_factory.mktemp("own")
    try:
        shared = {"REDIS_URL": redis_server.url, "DATABASE_URL": postgres.database(), **NO_LIMITS}
        with running(folder, **shared) as one, running(folder, PAIRING_PUBLIC_URL=one.public_url, **shared) as two:
            yield postgres, (one, two)
    finally:
        postgres.close()


@pytest.fixture
async def own(on_own_postgres: tuple[PostgresServer, tuple[Server, Server]]) -> AsyncIterator[Pair]:
    _, servers = on_own_postgres
    async with Api(servers[0].url) as one, Api(servers[1].url) as two:
        yield Pair(one, two, servers)


async def test_tokens_come_through_restarts_of_postgresql_each_once_and_no_answer_is_wrong(
    own: Pair, on_own_postgres: tuple[PostgresServer, tuple[Server, Server]]
) -> None:
    postgres, _ = on_own_postgres
    one, two = await at_both(own)
    phone = await own.phone()
    first = await one.tokens(phone)
    sub = payload(first["access_token"])["sub"]
    codes = [await one.code(phone) for _ in range(20)]
    done = asyncio.Event()

    async def use(given: dict[str, Any], here: AppServer, there: AppServer) -> str:
        """Refresh, describe and ask who it is, over and over, at one process and the other. The last refresh token."""
        while not done.is_set():
            answer = await insist(partial(here.refresh, given["refresh_token"]))
            assert answer.status_code == 200, answer.text
            given = answer.json()
            told = await insist(partial(there.introspect, given["access_token"]))
            assert told.json()["active"] is True
            info = await insist(partial(here.user_info, given["access_token"]))
            assert info.json()["sub"] == sub
            here, there = there, here
        return str(given["refresh_token"])

    async def redeem(number: int) -> str:
        """At one process, and as if that answer had got lost, at the other."""
        await asyncio.sleep(number * 0.1)
        answer = await insist(partial((one, two)[number % 2].redeem, codes[number]))
        again = await insist(partial((two, one)[number % 2].redeem, codes[number]))
        assert (answer.status_code, again.status_code) == (200, 200), answer.text + again.text
        assert again.json()["refresh_token"] == answer.json()["refresh_token"]
        return str(answer.json()["refresh_token"])

    using = [asyncio.create_task(use(await one.tokens(phone), one, two)) for _ in range(4)]
    redeeming = [asyncio.create_task(redeem(number)) for number in range(len(codes))]
    for _ in range(3):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(postgres.stop)
        for answer in (await one.user_info(first["access_token"]), await two.introspect(first["access_token"])):
            assert_come_back(answer)
        await asyncio.to_thread(postgres.start)
    given = await asyncio.gather(*redeeming)
    done.set()
    assert len(set(given)) == len(codes)
    for token in (*given, *await asyncio.gather(*using)):
        assert (await insist(partial(two.introspect, token))).json()["active"] is True
