"""The authorization endpoint over two processes, and while Redis is away."""

from pathlib import Path

import httpx2
import pytest

from tests.processes.conftest import ON_EACH_DATABASE, Pair, refusal
from tests.support.applications import Application, answer_in, register
from tests.support.client import Api, Phone
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, running


async def allowed(phone: Phone, app: Application) -> str:
    """The cookie of a browser in which this person has said yes."""
    answer = await phone.post("/authorizations", {"query": app.query(), "decision": "approve"})
    return str(answer.headers["set-cookie"].partition(";")[0])


async def sent(url: str, query: str, cookie: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=url, verify=False) as http:
        return await http.get(f"/oauth/authorize?{query}", headers={"Cookie": cookie})


@pytest.mark.security(39)
async def test_a_browser_that_is_known_to_one_process_is_known_to_the_other_until_it_is_logged_out(
    pair: Pair,
) -> None:
    phone, app = await pair.phone(), await register(pair.servers[0].folder, pair.database_url)
    cookie = await allowed(phone, app)
    silent = app.query(prompt="none")
    for server in pair.servers:
        assert "code" in answer_in((await sent(server.url, silent, cookie)).headers["location"])
    await phone.api.http.delete("/sessions/current", headers=phone.headers)
    for server in pair.servers:
        answer = answer_in((await sent(server.url, silent, cookie)).headers["location"])
        assert answer["error"] == "login_required"


@pytest.mark.security(36, 40)
async def test_a_login_that_has_just_ended_at_one_process_says_yes_at_neither(pair: Pair) -> None:
    """Though the other one still takes it for alive, for a moment, in other calls."""
    phone, app = await pair.phone(), await register(pair.servers[0].folder, pair.database_url)
    body = {"query": app.query(), "decision": "approve"}
    assert (await pair.two.http.post("/authorizations", json=body, headers=phone.headers)).status_code == 200
    await phone.api.http.delete("/sessions/current", headers=phone.headers)
    for api in (pair.two, pair.one):
        answer = await api.http.post("/authorizations", json=body, headers=phone.headers)
        assert refusal(answer) == (401, "unauthenticated")


@ON_EACH_DATABASE
@pytest.mark.security(25, 39)
async def test_no_character_in_a_request_is_taken_for_a_database_that_fails(pair: Pair) -> None:
    phone = await pair.phone()
    async with httpx2.AsyncClient(base_url=pair.servers[0].public_url) as browser:
        for name in ("client_id", "redirect_uri", "id_token_hint", "post_logout_redirect_uri", "state"):
            for value in ("%00", "a%00b", "%EF%BF%BF"):
                query = "&".join([f"{name}={value}", *(f"{each}=x" for each in ("client_id",) if each != name)])
                for path in ("/oauth/authorize", "/oauth/logout"):
                    assert (await browser.get(f"{path}?{query}")).status_code in (200, 400), (path, query)
                answer = await phone.post("/authorizations", {"query": query, "decision": "approve"})
                assert answer.status_code == 404, query


@pytest.mark.security(26, 39)
async def test_without_redis_nobody_gets_a_code_and_prompt_none_still_shows_no_page(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        with running(tmp_path, REDIS_URL=redis.url, **NO_LIMITS) as server:
            async with Api(server.url) as api:
                phone, app = await fresh_phone(api, tmp_path), await register(tmp_path)
                cookie = await allowed(phone, app)
                redis.stop()
                page = await sent(server.url, app.query(), cookie)
                assert (page.status_code, int(page.headers["retry-after"]) > 0) == (503, True)
                assert "Nothing is lost" in page.text
                answer = answer_in((await sent(server.url, app.query(prompt="none"), cookie)).headers["location"])
                assert answer["error"] == "temporarily_unavailable"
                decided = await phone.post("/authorizations", {"query": app.query(), "decision": "approve"})
                assert refusal(decided) == (503, "unavailable")
    finally:
        redis.stop()
