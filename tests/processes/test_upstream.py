"""Logins by another issuer's word over two processes: whichever is asked, each word counts once."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest

from pairing_ws.components import build
from tests.support.app_server import AppServer, app_server
from tests.support.client import Api, Phone, device_headers
from tests.support.embedded import settings_in
from tests.support.issuer import CLIENT, SECRET, Issuer, issuing
from tests.support.limits import NO_LIMITS
from tests.support.postgres import Postgres
from tests.support.servers import RedisServer, Server, running
from tests.upstream.conftest import Browser, exchange

pytestmark = pytest.mark.security(54)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, postgres_server: Postgres, issuer: Issuer
) -> Iterator[tuple[Server, Server]]:
    """Two processes on one Redis and one PostgreSQL."""
    folder, url = tmp_path_factory.mktemp("upstream"), postgres_server.database()
    trusted = [{"issuer": issuer.url, "audience": CLIENT, "opens_accounts": True}]
    shared = {
        "REDIS_URL": redis_server.url,
        "DATABASE_URL": url,
        "PAIRING_UPSTREAM_ISSUER": issuer.url,
        "PAIRING_UPSTREAM_CLIENT_ID": CLIENT,
        "PAIRING_UPSTREAM_CLIENT_SECRET": SECRET,
        "PAIRING_TRUSTED_ISSUERS": json.dumps(trusted),
        "PAIRING_ALLOW_PRIVATE_TARGETS": "true",
        **NO_LIMITS,
    }
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other
    postgres_server.drop(url)


async def application(two: tuple[Server, Server]) -> tuple[AppServer, AppServer]:
    """One that may exchange tokens, asking each."""
    one = await app_server(two[0].url, two[0].folder, two[0].env["DATABASE_URL"], token_exchange=True)
    return one, one.at(two[1].url)


async def devices_of(server: Server, answer: httpx2.Response) -> int:
    async with Api(server.url) as api:
        keys = answer.json()
        phone = Phone(api, {"authKey": keys.get("access_token") or keys.get("authKey")})
        return len((await phone.get("/devices")).json()["devices"])


async def test_a_token_that_is_exchanged_at_both_begins_one_session(two: tuple[Server, Server], issuer: Issuer) -> None:
    apps = await application(two)
    token, headers = issuer.token(sub=secrets.token_hex(8)), device_headers()
    answers = await asyncio.gather(*(exchange(apps[n % 2], token, headers) for n in range(100)))
    assert {each.status_code for each in answers} == {200}
    assert len({each.json()["refresh_token"] for each in answers}) == 1
    # For as many devices as there are callers, one gets it.
    token = issuer.token(sub=secrets.token_hex(8))
    answers = await asyncio.gather(*(exchange(apps[n % 2], token) for n in range(60)))
    assert Counter(each.status_code for each in answers) == {200: 1, 400: 59}
    assert {each.json()["error"] for each in answers if each.status_code == 400} == {"invalid_grant"}
    assert await devices_of(two[1], next(each for each in answers if each.status_code == 200)) == 1
    for each in apps:
        await each.http.aclose()


async def test_a_person_whom_both_see_first_gets_one_account(two: tuple[Server, Server], issuer: Issuer) -> None:
    apps = await application(two)
    subject, headers = secrets.token_hex(8), device_headers()
    tokens = [issuer.token(sub=subject, preferred_username=subject) for _ in range(50)]
    answers = await asyncio.gather(*(exchange(apps[n % 2], each, headers) for n, each in enumerate(tokens)))
    assert {each.status_code for each in answers} == {200}
    built = build(settings_in(two[0].folder, database_url=two[0].env["DATABASE_URL"]))
    names = [each.user.username for each in await built.services.accounts.operator.accounts()]
    await built.database.close()
    assert len([each for each in names if each.startswith(subject)]) == 1
    for app in apps:
        await app.http.aclose()


async def test_a_login_that_is_begun_at_one_ends_at_the_other_and_counts_once(
    two: tuple[Server, Server], issuer: Issuer
) -> None:
    issuer.subject = secrets.token_hex(8)
    built = build(settings_in(two[0].folder, database_url=two[0].env["DATABASE_URL"]))
    await built.services.accounts.operator.invite(issuer.subject)
    await built.services.people.link(issuer.subject, issuer.url, issuer.subject)
    await built.database.close()
    first = Browser(two[0].public_url)
    answer = await first.answer()
    cookie = first.cookie
    # The other process has another port here; behind a proxy both have one.
    async with httpx2.AsyncClient(base_url=two[1].url, headers={"Host": f"localhost:{two[0].port}"}) as second:
        path = answer.removeprefix(first.origin)
        told = await asyncio.gather(
            *(first.get(answer, cookie) for _ in range(30)),
            *(second.get(path, headers={"Cookie": cookie}) for _ in range(30)),
        )
        assert Counter(each.status_code for each in told) == {303: 1, 409: 59}
        won = next(each for each in told if each.status_code == 303).headers["set-cookie"].partition(";")[0]
        headers = first.headers | {"Cookie": won, "Origin": first.origin}
        calls = (http.post("/api/v1/upstream/login", json={}, headers=headers) for http in (first.http, second) * 30)
        answers = await asyncio.gather(*calls)
    assert {each.status_code for each in answers} == {200}
    assert len({each.json()["refreshKey"] for each in answers}) == 1
    assert await devices_of(two[1], answers[0]) == 1
    await first.http.aclose()
