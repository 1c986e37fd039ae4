"""Forward auth over HTTP: what a proxy is told of a request, how a browser comes to a login at a protected host, and
what is kept out. With nginx itself: tests/processes/test_forward_auth.py."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from pairing_ws import create_app
from tests.support.app_server import app_server
from tests.support.client import Api, Phone
from tests.support.embedded import Embedded, describe_in, embedded, fresh_phone, settings_in
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.protected import BEGUN, CHECK, COOKIE, NAVIGATION, Visitor, answered

WIKI, REPORTS, TOOLS = "wiki.localhost", "reports.localhost", "tools.localhost:8080"
HOSTS = f"{WIKI}, {REPORTS}=finance, {REPORTS}=audit, {TOOLS}"
ON: dict[str, Any] = {"forward_auth_hosts": HOSTS, "trusted_proxies": "127.0.0.1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded(tmp_path_factory.mktemp("forward-auth"), demo=True, **ON, **NO_LIMITS_INSIDE) as started:
        yield started


@pytest.fixture
async def phone(site: Embedded) -> AsyncIterator[Phone]:
    async with Api(site.url) as api:
        yield await fresh_phone(api, site.folder, clock=site.clock)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(verify=False, timeout=60) as client:
        yield client


@pytest.fixture
def visitor(site: Embedded, http: httpx2.AsyncClient) -> Visitor:
    return Visitor(site.url, http)


def name_of(phone: Phone) -> str:
    return str(phone.keys["user"]["username"])


# Who passes


async def test_a_login_leads_back_to_the_page_and_then_names_its_person(
    site: Embedded, visitor: Visitor, phone: Phone
) -> None:
    await describe_in(
        site.folder, name_of(phone), email="ada@example.com", email_verified=True, groups=("staff", "finance")
    )
    back = await visitor.enters(phone, WIKI, "/pages/1?x=%2Fy&z")
    assert (back.status_code, back.headers["location"]) == (303, f"http://{WIKI}/pages/1?x=%2Fy&z")
    passed = await visitor.asks(WIKI)
    assert (passed.status_code, passed.content) == (204, b"")
    told = {name: passed.headers[name] for name in ("remote-user", "remote-email", "remote-groups")}
    assert told == {
        "remote-user": name_of(phone),
        "remote-email": "ada@example.com",
        "remote-groups": "staff,finance",
    }
    for spelled in (WIKI.upper(), f"{WIKI}:80", f"{WIKI}."):
        assert (await visitor.at(WIKI, CHECK, **visitor.said(spelled))).status_code == 204


async def test_a_person_without_address_and_groups_is_told_with_empty_headers(visitor: Visitor, phone: Phone) -> None:
    """So that a proxy has something to put in the place of what its client wrote there."""
    await visitor.enters(phone, WIKI)
    passed = await visitor.asks(WIKI)
    assert (passed.headers["remote-email"], passed.headers["remote-groups"]) == ("", "")


async def test_an_address_that_nobody_has_verified_is_not_told(site: Embedded, visitor: Visitor, phone: Phone) -> None:
    await describe_in(site.folder, name_of(phone), email="boss@example.com")
    await visitor.enters(phone, WIKI)
    assert (await visitor.asks(WIKI)).headers["remote-email"] == ""


@pytest.mark.security(49)
async def test_no_name_address_or_group_breaks_out_of_its_header_or_is_taken_for_another(
    site: Embedded, visitor: Visitor
) -> None:
    async with Api(site.url) as api:
        phone = await fresh_phone(api, site.folder, "Zoë 100%, Ph.D.", clock=site.clock)
        email, groups = "zoë@example.com", ("a,b", "%2C", "Zürich", "a", "b c")
        await describe_in(site.folder, "Zoë 100%, Ph.D.", email=email, email_verified=True, groups=groups)
        await visitor.enters(phone, WIKI)
    told = (await visitor.asks(WIKI)).headers
    assert told["remote-user"] == "Zo%C3%AB 100%25%2C Ph.D."
    assert told["remote-email"] == "zo%C3%AB@example.com"
    assert told["remote-groups"] == "a%2Cb,%252C,Z%C3%BCrich,a,b c"


async def test_a_host_for_groups_lets_their_members_in_and_shows_others_a_page(
    site: Embedded, visitor: Visitor, phone: Phone
) -> None:
    refused = await visitor.enters(phone, REPORTS)
    assert (refused.status_code, COOKIE in refused.cookies) == (403, False)
    assert "not for your account" in refused.text
    assert f"http://{REPORTS}/.pairing/logout" in refused.text
    # All that is on it comes from the login host.
    assert f'href="http://localhost:{site.port}/static/style.css"' in refused.text
    assert f"style-src http://localhost:{site.port};" in refused.headers["content-security-policy"]
    await describe_in(site.folder, name_of(phone), groups=("staff", "audit"))
    assert (await visitor.enters(phone, REPORTS)).status_code == 303
    assert await visitor.passes(REPORTS)
    await describe_in(site.folder, name_of(phone), groups=("staff",))
    site.clock.advance(3)
    call, page = await visitor.asks(REPORTS), await visitor.asks(REPORTS, **NAVIGATION)
    assert (call.status_code, call.json()["error"]) == (403, "access_denied")
    # The page says why, at the end of that way.
    assert page.status_code == 302


# Who does not, and what they are told


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param("GET", NAVIGATION, 302, id="a tab"),
        pytest.param("HEAD", NAVIGATION, 302, id="its head"),
        pytest.param("GET", {"Accept": "text/html,*/*;q=0.8"}, 302, id="a browser that does not say"),
        pytest.param("POST", NAVIGATION, 401, id="a form"),
        pytest.param("GET", {"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, 401, id="a script"),
        pytest.param("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 401, id="an image"),
        pytest.param("GET", {**NAVIGATION, "Sec-Fetch-Dest": "iframe"}, 401, id="a frame"),
        pytest.param("GET", {"Sec-Fetch-Mode": "websocket"}, 401, id="a socket"),
        pytest.param("GET", {"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}, 401, id="an old script"),
        pytest.param("GET", {"Accept": "*/*"}, 401, id="a program"),
        pytest.param("X" * 999, {"Accept": "a" * 5000}, 401, id="nonsense"),
    ],
)
async def test_who_is_not_logged_in_is_sent_to_the_login_only_where_a_person_waits_for_a_page(
    visitor: Visitor, method: str, headers: dict[str, str], status: int
) -> None:
    answer = await visitor.asks(WIKI, "/a?b", method, **headers)
    assert answer.status_code == status
    wanted = f"http://{WIKI}/.pairing/login?to=%2Fa%3Fb" if status == 302 else None
    assert answer.headers.get("location") == wanted
    assert "remote-user" not in answer.headers
    if status == 401:
        assert answer.json()["error"] == "login_required"
        assert COOKIE in answer.headers["www-authenticate"]
    # nginx takes no redirect for an answer: it is told where one would lead.
    by_nginx = {"X-Original-URL": f"http://{WIKI}/a?b", "X-Original-Method": method}
    told = await visitor.at(WIKI, CHECK, **by_nginx | headers)
    assert (told.status_code, told.headers.get("location")) == (401, wanted)


@pytest.mark.security(49)
@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"X-Forwarded-Host": "evil.example"}, id="an unknown host"),
        pytest.param({"X-Forwarded-Host": f"{WIKI}, {REPORTS}"}, id="two hosts"),
        pytest.param({"X-Forwarded-Host": f"{WIKI}:8080"}, id="another port"),
        pytest.param({"X-Forwarded-Host": f"x@{WIKI}"}, id="a user"),
        pytest.param({"X-Forwarded-Host": f"{WIKI}/"}, id="a path"),
        pytest.param({"X-Forwarded-Host": ""}, id="no host"),
        pytest.param({"X-Original-URL": f"http://{REPORTS}/"}, id="hosts that disagree"),
        pytest.param({"X-Original-URL": "word"}, id="no address"),
        pytest.param({"X-Original-URL": f"http://x@{WIKI}/"}, id="an address with a user"),
    ],
)
async def test_a_proxy_that_names_no_protected_host_or_several_is_refused(
    visitor: Visitor, phone: Phone, said: dict[str, str]
) -> None:
    """What a client of the proxy writes into a header that the proxy does not set is passed on by it."""
    await visitor.enters(phone, WIKI)
    for path in (CHECK, "/.pairing/login", "/.pairing/callback?code=x", "/.pairing/logout"):
        answer = await visitor.at(WIKI, path, **NAVIGATION | said)
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
        assert "location" not in answer.headers


@pytest.mark.security(49)
async def test_forwarded_hosts_count_from_named_proxies_alone(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    with embedded(tmp_path, demo=True, **ON | {"trusted_proxies": "127.0.0.9"}) as server:
        visitor = Visitor(server.url, http)
        for path in (CHECK, "/.pairing/login", "/.pairing/callback", "/.pairing/logout"):
            assert (await visitor.at(WIKI, path, **NAVIGATION)).status_code == 403


async def test_without_hosts_there_is_none_of_it(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    with embedded(tmp_path, demo=True, trusted_proxies="127.0.0.1") as server:
        visitor = Visitor(server.url, http)
        for path in (CHECK, "/.pairing/login", "/.pairing/callback", "/.pairing/logout"):
            assert (await visitor.at(WIKI, path, **NAVIGATION)).status_code == 404


async def test_a_server_with_one_public_name_answers_for_the_hosts_that_it_protects(tmp_path: Path) -> None:
    """A proxy asks by whatever name it has for the server, and passes the protected host's own on."""
    settings = settings_in(
        tmp_path,
        public_url="https://login.example.com",
        forward_auth_hosts="wiki.example.com",
        trusted_proxies="127.0.0.1",
    )
    transport = httpx2.ASGITransport(create_app(settings))
    async with httpx2.AsyncClient(transport=transport, base_url="http://pairing-a:8000") as proxy:
        said = {"X-Forwarded-Host": "wiki.example.com:443", "X-Forwarded-Uri": "/a"} | NAVIGATION
        asked = await proxy.get(CHECK, headers=said)
        assert asked.headers["location"] == "https://wiki.example.com/.pairing/login?to=%2Fa"
        begun = await proxy.get("/.pairing/login?to=%2Fa", headers=said)
        assert begun.headers["location"].startswith("https://login.example.com/oauth/authorize?")
        cookie = begun.headers["set-cookie"].lower()
        assert cookie.startswith(f"{BEGUN}=".lower())
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= {each.strip() for each in cookie.split(";")}
        assert "domain" not in cookie
        # Nothing else is served there.
        assert (await proxy.get("/.pairing/other", headers=said)).status_code == 421
        assert (await proxy.get("/api/v1/me", headers=said)).status_code == 421


async def test_other_methods_are_none_of_these_calls(visitor: Visitor) -> None:
    for path in (CHECK, "/.pairing/login", "/.pairing/callback", "/.pairing/logout"):
        for method in ("POST", "PUT", "DELETE"):
            answer = await visitor.http.request(method, visitor.url + path, headers=visitor.said(WIKI), content=b"x=1")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_a_server_that_is_mounted_below_a_path_answers_there(tmp_path: Path) -> None:
    login = create_app(settings_in(tmp_path, public_url="http://localhost:8000/login", **ON))
    transport = httpx2.ASGITransport(Starlette(routes=[Mount("/login", login)]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000/login") as proxy:
        said = {"X-Forwarded-Host": WIKI, "X-Forwarded-Proto": "https", **NAVIGATION}
        asked = await proxy.get(CHECK, headers=said)
        assert asked.headers["location"] == f"http://{WIKI}/.pairing/login?to=%2F"
        begun = await proxy.get("/.pairing/login?to=%2F", headers=said)
        assert begun.headers["location"].startswith("http://localhost:8000/login/oauth/authorize?")


# The way in, and what does not lead in


async def test_the_cookie_is_for_its_host_alone_and_no_script_reads_it(visitor: Visitor, phone: Phone) -> None:
    entered = await visitor.enters(phone, WIKI)
    kept = {each.strip().lower() for each in entered.headers["set-cookie"].partition(";")[2].split(";")}
    assert {"secure", "httponly", "path=/", "samesite=lax"} <= kept
    assert not [each for each in kept if each.startswith("domain")]


@pytest.mark.security(49)
async def test_the_cookie_of_one_host_opens_no_other(visitor: Visitor, phone: Phone) -> None:
    await visitor.enters(phone, WIKI)
    visitor.jars[TOOLS] = visitor.jars[REPORTS] = dict(visitor.jars[WIKI])
    assert await visitor.passes(WIKI)
    assert not await visitor.passes(TOOLS)
    assert not await visitor.passes(REPORTS)


@pytest.mark.security(49)
async def test_a_cookie_that_is_forged_doubled_or_of_another_kind_opens_nothing(visitor: Visitor, phone: Phone) -> None:
    await visitor.enters(phone, WIKI)
    mark = visitor.jars[WIKI][COOKIE]
    session, _, mac = mark.partition(".")
    allowed = await phone.post("/authorizations", {"query": urlsplit(await visitor.begins(TOOLS)).query})
    login_mark = next(iter(allowed.cookies.values()))
    forged = (
        session,
        f"{session}.",
        f"{session}.{mac[:-1]}",
        f"x{mark}",
        f"{mark}x",
        ".",
        "",
        "é",
        login_mark,
        "a" * 4000,
    )
    for value in forged:
        sent = {name.encode(): said.encode() for name, said in visitor.said(WIKI).items()}
        cookie = f"{COOKIE}={value}".encode("latin-1")
        answer = await visitor.http.get(visitor.url + CHECK, headers=[*sent.items(), (b"Cookie", cookie)])
        assert answer.status_code == 401, value
    doubled = {"Cookie": f"{COOKIE}={mark}; {COOKIE}=another"}
    assert (await visitor.asks(WIKI, **doubled)).status_code == 401
    # Nor is it worth anything where people log in.
    there = {"Cookie": f"__Host-pairing_login={mark}; pairing_login={mark}; pairing_refresh={mark}"}
    query = urlsplit(await Visitor(visitor.url, visitor.http).begins(WIKI)).query
    silent = await visitor.http.get(f"{visitor.url}/oauth/authorize?{query}&prompt=none", headers=there)
    assert parse_qs(urlsplit(silent.headers["location"]).query)["error"] == ["login_required"]


@pytest.mark.security(49)
async def test_a_login_that_another_browser_has_begun_is_not_taken_up(visitor: Visitor, phone: Phone) -> None:
    """Login CSRF: an attacker's own login, in the victim's browser."""
    ours = await visitor.is_let_in(phone, WIKI)
    for before in (False, True):
        victim = Visitor(visitor.url, visitor.http)
        if before:
            await victim.begins(WIKI)
        back = await victim.comes_back(ours)
        assert (back.status_code, COOKIE in back.cookies) == (400, False)
        assert "another browser" in back.text or "Too much time" in back.text
    # Which has cost its owner nothing.
    assert (await visitor.comes_back(ours)).status_code == 303


@pytest.mark.security(49)
async def test_a_code_counts_once_at_its_own_host_with_its_own_state(visitor: Visitor, phone: Phone) -> None:
    back = await visitor.is_let_in(phone, WIKI, "/a")
    query = parse_qs(urlsplit(back).query)

    def changed(host: str = WIKI, **fields: str) -> str:
        own = {name: each[0] for name, each in query.items()}
        return f"http://{host}/.pairing/callback?{urlencode(own | fields)}"

    visitor.jars[TOOLS] = dict(visitor.jars[WIKI])
    for wrong in (
        changed(TOOLS),
        changed(state=f"{query['state'][0]}b"),
        changed(state=""),
        changed(code="x"),
        changed(code=""),
        changed(iss="https://evil.example"),
        f"{changed()}&code=x",
        f"{changed()}&x=%00",
        f"{changed()}&x=%ff",
        f"{changed()}&{'x' * 7168}",
        changed(error="server_error"),
        f"http://{WIKI}/.pairing/callback?",
    ):
        refused = await visitor.comes_back(wrong)
        assert (refused.status_code, COOKIE in refused.cookies) == (400, False), wrong
    assert (await visitor.comes_back(back)).headers["location"] == f"http://{WIKI}/a"
    assert (await visitor.comes_back(back)).status_code == 400


@pytest.mark.security(49)
async def test_of_fifty_browsers_with_one_code_one_gets_in(visitor: Visitor, phone: Phone) -> None:
    back = await visitor.is_let_in(phone, WIKI)
    answers = await asyncio.gather(*(visitor.comes_back(back) for _ in range(50)))
    assert sorted(each.status_code for each in answers) == [303] + [400] * 49


async def test_a_code_is_worth_nothing_after_a_minute_or_once_its_login_has_ended(
    site: Embedded, visitor: Visitor, phone: Phone
) -> None:
    late = await visitor.is_let_in(phone, WIKI)
    site.clock.advance(61)
    assert (await visitor.comes_back(late)).status_code == 400
    ended = await visitor.is_let_in(phone, WIKI)
    await phone.api.http.delete("/sessions/current", headers=phone.headers)
    assert (await visitor.comes_back(ended)).status_code == 400


@pytest.mark.security(49)
async def test_a_code_that_an_application_was_given_leads_into_no_host(
    site: Embedded, visitor: Visitor, phone: Phone
) -> None:
    """A malicious application asks for it with the challenge of a login that its owner has begun at the host."""
    begun = parse_qs(urlsplit(await visitor.begins(WIKI)).query)
    async with await app_server(site.url, site.folder) as app:
        code = await app.code(phone, code_challenge=begun["code_challenge"][0], state=begun["state"][0])
    stolen = {"code": code, "state": begun["state"][0], "iss": f"http://localhost:{site.port}"}
    back = await visitor.comes_back(f"http://{WIKI}/.pairing/callback?{urlencode(stolen)}")
    assert (back.status_code, COOKIE in back.cookies) == (400, False)


async def test_no_application_can_redeem_the_code_of_a_host(visitor: Visitor, phone: Phone) -> None:
    back = parse_qs(urlsplit(await visitor.is_let_in(phone, WIKI)).query)
    form = {
        "grant_type": "authorization_code",
        "code": back["code"][0],
        "redirect_uri": f"http://{WIKI}/.pairing/callback",
        "client_id": f"forward-auth:{WIKI}",
        "code_verifier": "x" * 43,
    }
    for more in ({}, {"client_secret": ""}, {"client_secret": "x"}):
        answer = await visitor.http.post(f"{visitor.url}/oauth/token", data=form | more)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_several_pages_can_be_opened_at_once(visitor: Visitor, phone: Phone) -> None:
    first, second = await visitor.begins(WIKI, "/1"), await visitor.begins(WIKI, "/2")
    for to, url in (("/1", first), ("/2", second)):
        back = await visitor.comes_back(await answered(phone, url))
        assert back.headers["location"] == f"http://{WIKI}{to}"


async def test_a_person_who_says_no_reads_that_they_were_not_logged_in(visitor: Visitor, phone: Phone) -> None:
    query = urlsplit(await visitor.begins(WIKI)).query
    denied = (await phone.post("/authorizations", {"query": query, "decision": "deny"})).json()["redirectTo"]
    page = await visitor.comes_back(denied)
    assert (page.status_code, "You were not logged in here" in page.text) == (400, True)


@pytest.mark.security(49)
@pytest.mark.parametrize(
    "to",
    [
        pytest.param(each, id=ascii(each)[:40])
        for each in (
            "https://evil.example/", "//evil.example/", "/\\evil.example", "@evil.example", ".evil.example", "evil",
            "/a\r\nSet-Cookie: x=y", "/ü", "/.pairing/logout", "/" + "a" * 3000, "", "/\x00",
        )
    ],
)  # fmt: skip
async def test_a_login_leads_back_to_the_protected_host_and_nowhere_else(
    visitor: Visitor, phone: Phone, to: str
) -> None:
    begun = await visitor.at(WIKI, f"/.pairing/login?{urlencode({'to': to})}")
    assert begun.status_code == 303
    back = await visitor.comes_back(await answered(phone, begun.headers["location"]))
    location = urlsplit(back.headers["location"])
    assert (back.status_code, location.scheme, location.netloc) == (303, "http", WIKI)
    assert location.path.startswith("/")
    assert not location.path.startswith("/.pairing/")
    assert "x" not in back.cookies


async def test_a_login_without_a_place_to_lead_to_leads_to_the_front_page(visitor: Visitor, phone: Phone) -> None:
    for query in ("", "?to", "?to=/a&to=/b", "?x=/a", "?to=%ff"):
        begun = await visitor.at(WIKI, f"/.pairing/login{query}")
        back = await visitor.comes_back(await answered(phone, begun.headers["location"]))
        assert back.headers["location"] == f"http://{WIKI}/"


# How it ends


@pytest.mark.security(49)
@pytest.mark.parametrize("how", ["log out", "revoke", "lock"])
async def test_the_login_at_a_host_ends_with_the_browsers_own(site: Embedded, visitor: Visitor, how: str) -> None:
    async with Api(site.url) as api:
        phone = await fresh_phone(api, site.folder, "owner-" + how.replace(" ", "-"), clock=site.clock)
        other = await fresh_phone(api, site.folder, "owner-" + how.replace(" ", "-"), clock=site.clock)
        await visitor.enters(phone, WIKI)
        assert await visitor.passes(WIKI)
        if how == "log out":
            ended = await api.http.delete("/sessions/current", headers=phone.headers)
        elif how == "revoke":
            ended = await api.http.delete(f"/devices/{phone.keys['device']['id']}", headers=other.headers)
        else:
            await lock(site, name_of(phone))
        assert how == "lock" or ended.status_code == 204
    # Within 5 s is promised.
    site.clock.advance(2)
    assert not await visitor.passes(WIKI)


async def test_what_is_known_is_asked_for_again_when_a_clock_was_set_back(site: Embedded, visitor: Visitor) -> None:
    async with Api(site.url) as api:
        phone = await fresh_phone(api, site.folder, clock=site.clock)
        await visitor.enters(phone, WIKI)
        assert await visitor.passes(WIKI)
        await api.http.delete("/sessions/current", headers=phone.headers)
    site.clock.advance(-30)
    try:
        assert not await visitor.passes(WIKI)
    finally:
        site.clock.advance(30)


async def test_it_is_no_app_with_access(visitor: Visitor, phone: Phone) -> None:
    """It hangs on the browser's login, which is on the list of devices, and ends with that."""
    await visitor.enters(phone, WIKI)
    assert (await phone.get("/apps")).json() == {"apps": []}


async def test_logging_out_is_asked_about_where_people_log_in(visitor: Visitor, phone: Phone) -> None:
    """So that no other site can do it; who says yes is logged out of every protected host."""
    await visitor.enters(phone, WIKI)
    leaves = await visitor.at(WIKI, "/.pairing/logout")
    assert leaves.status_code == 303
    page = await visitor.http.get(leaves.headers["location"])
    assert page.status_code == 200
    assert WIKI in page.text
    for site in ("cross-site", "same-site"):
        await visitor.at(WIKI, "/.pairing/logout", **{"Sec-Fetch-Site": site})
        assert await visitor.passes(WIKI)
    # By the application's own link it is over there at once: nobody is known for a moment after they have logged out.
    own = await visitor.at(WIKI, "/.pairing/logout", **{"Sec-Fetch-Site": "same-origin"})
    dropped = own.headers["set-cookie"].lower()
    assert "max-age=0" in dropped
    assert dropped.startswith(f'{COOKIE}=""'.lower())


async def lock(site: Embedded, username: str) -> None:
    from pairing_ws.components import build

    parts = build(site.settings, clock=site.clock)
    try:
        await parts.services.accounts.operator.lock(username, locked=True)
    finally:
        await parts.database.close()


# Too much


async def test_coming_back_is_limited_and_says_so_to_the_person(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    with embedded(tmp_path, demo=True, **ON, limit_authorize="2/minute") as server:
        visitor = Visitor(server.url, http)
        statuses = [(await visitor.at(WIKI, "/.pairing/callback?code=x")).status_code for _ in range(3)]
        assert statuses == [400, 400, 429]
        page = await visitor.at(WIKI, "/.pairing/callback?code=x")
        assert (int(page.headers["retry-after"]) > 0, "Just a moment" in page.text) == (True, True)


async def test_the_answers_are_for_no_page_of_another_origin(visitor: Visitor, phone: Phone) -> None:
    await visitor.enters(phone, WIKI)
    for origin in (f"http://{WIKI}", "https://evil.example"):
        for path in (CHECK, "/.pairing/login", "/.pairing/callback"):
            answer = await visitor.at(WIKI, path, Origin=origin)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["cache-control"] == "no-store"
