"""The logout endpoint over HTTP: whose session ends, who is asked first, and where nobody is sent."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx2
import pytest

from pairing_ws.web.oauth.endpoints import ENDPOINTS as CALLS
from pairing_ws.web.oauth.metadata import ENDPOINTS
from tests.support.applications import CALLBACK, Application, answer_in, id_token, register
from tests.support.client import Phone
from tests.support.keys import payload
from tests.support.servers import Server

from .conftest import NewPhone

BYE = "https://app.example.com/bye"
OTHER_BYE = "com.example.app:/bye?from=here"


class Access(NamedTuple):
    """An application with tokens, and the browser that it was let in by."""

    application: Application
    tokens: dict[str, Any]
    browser: httpx2.AsyncClient

    async def works(self) -> bool:
        found = await self.browser.get(
            "/oauth/userinfo", headers={"Authorization": f"Bearer {self.tokens['access_token']}", "Cookie": ""}
        )
        assert found.status_code in (200, 401)
        return found.status_code == 200

    async def log_out(self, method: str = "GET", **parameters: Any) -> httpx2.Response:
        fields = {name: value for name, value in parameters.items() if value is not None}
        if method == "GET":
            return await self.browser.get(f"/oauth/logout?{urlencode(fields, doseq=True)}")
        return await self.browser.post("/oauth/logout", data=fields)

    @property
    def hint(self) -> str:
        return str(self.tokens["id_token"])

    async def forget_login(self) -> "Access":
        del self.browser.headers["Cookie"]
        return self


async def let_in(server: Server, phone: Phone, **settings: Any) -> Access:
    asked = {"post_logout_redirect_uris": (BYE, OTHER_BYE), **settings}
    application = await register(server.folder, **asked)
    browser = httpx2.AsyncClient(base_url=server.public_url)
    yes = await phone.post("/authorizations", {"query": application.query(), "decision": "approve"})
    browser.headers["Cookie"] = yes.headers["set-cookie"].partition(";")[0]
    form = {
        "grant_type": "authorization_code",
        "code": answer_in(yes.json()["redirectTo"])["code"],
        "redirect_uri": CALLBACK,
        "client_id": application.client.id,
        "code_verifier": application.verifier,
    }
    tokens = await browser.post("/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text
    return Access(application, tokens.json(), browser)


@pytest.fixture
async def access(server: Server, phone: Phone) -> AsyncIterator[Access]:
    made = await let_in(server, phone)
    yield made
    await made.browser.aclose()


def asked(answer: httpx2.Response, *, ended: bool, to: str = "") -> None:
    """The page that asks the person."""
    assert answer.status_code == 200, answer.text
    assert f'data-ended="{"yes" if ended else ""}"' in answer.text
    assert f'data-to="{to}"' in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_application_logs_its_person_out_and_gets_the_browser_back(access: Access, method: str) -> None:
    await access.forget_login()
    assert await access.works()
    answer = await access.log_out(
        method, id_token_hint=access.hint, post_logout_redirect_uri=BYE, state="a state & more"
    )
    if method == "POST":
        # By way of its own address, with the browser's cookie.
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{access.browser.base_url}/oauth/logout?")
        answer = await access.browser.get(answer.headers["location"])
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{BYE}?state=a%20state%20%26%20more"
    assert not await access.works()
    # And again, for a browser that goes back.
    again = await access.log_out(id_token_hint=access.hint, post_logout_redirect_uri=OTHER_BYE)
    assert (again.status_code, again.headers["location"]) == (303, OTHER_BYE)


async def test_where_this_browser_is_logged_in_the_person_is_asked_whether_it_goes_too(access: Access) -> None:
    answer = await access.log_out(id_token_hint=access.hint, post_logout_redirect_uri=BYE, state="s")
    asked(answer, ended=True, to=f"{BYE}?state=s")
    assert 'data-client="The Shop"' in answer.text
    assert not await access.works()


async def test_an_id_token_that_is_too_long_for_an_address_is_taken_from_a_form(access: Access, server: Server) -> None:
    groups = [f"group-{number}" for number in range(800)]
    long = id_token(server.folder, server.public_url, access.application, **payload(access.hint) | {"groups": groups})
    answer = await access.log_out("POST", id_token_hint=long, post_logout_redirect_uri=BYE)
    asked(answer, ended=True, to=BYE)
    assert not await access.works()


async def test_another_persons_login_in_this_browser_is_not_asked_about(
    access: Access, server: Server, new_phone: NewPhone
) -> None:
    other = await let_in(server, await new_phone("bob"))
    access.browser.headers["Cookie"] = other.browser.headers["Cookie"]
    answer = await access.log_out(id_token_hint=access.hint, post_logout_redirect_uri=BYE)
    assert (answer.status_code, answer.headers["location"]) == (303, BYE)
    assert await other.works()
    await other.browser.aclose()


@pytest.mark.security(42)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_an_id_token_of_ours_nothing_ends_before_the_person_has_said_so(
    access: Access, method: str
) -> None:
    head, claims, signature = access.hint.split(".")
    forged = f"{head}.{claims}.{signature[::-1]}"
    for hint in (None, "", "a.b.c", forged, access.tokens["access_token"], access.tokens["refresh_token"]):
        answer = await access.log_out(
            method, id_token_hint=hint, client_id=access.application.client.id, post_logout_redirect_uri=BYE
        )
        if method == "POST":
            answer = await access.browser.get(answer.headers["location"])
        asked(answer, ended=False, to=BYE)
        assert await access.works()
    asked(await access.log_out(), ended=False)


@pytest.mark.security(42)
async def test_an_id_token_ends_its_own_grant_and_no_other(access: Access, server: Server, phone: Phone) -> None:
    beside = await let_in(server, phone)
    await access.log_out(id_token_hint=access.hint)
    assert not await access.works()
    assert await beside.works()
    assert (await phone.get("/me")).status_code == 200
    await beside.browser.aclose()


LOOKALIKES = [
    "https://app.example.com/bye/", "https://app.example.com/Bye", "https://APP.example.com/bye",
    "https://app.example.com/bye#", "https://app.example.com/bye?x=y", "https://app.example.com:443/bye",
    "https://user@app.example.com/bye", "https://app.example.com/%62ye", "https://app.example.com/x/../bye",
    "http://app.example.com/bye", "//app.example.com/bye", "https://app.example.com.evil.example/bye",
    "https://evil.example/?https://app.example.com/bye", "javascript:alert(1)", "data:text/html,x", " " + BYE,
]  # fmt: skip


@pytest.mark.security(39)
@pytest.mark.parametrize("uri", LOOKALIKES)
async def test_nobody_is_sent_to_an_address_that_only_resembles_a_registered_one(access: Access, uri: str) -> None:
    for hint in (access.hint, None):
        answer = await access.log_out(
            id_token_hint=hint, client_id=access.application.client.id, post_logout_redirect_uri=uri
        )
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert "This link leads somewhere else" in answer.text
        assert "evil.example" not in answer.text
    # A broken request ends nothing.
    assert await access.works()


@pytest.mark.security(39)
async def test_a_script_is_no_way_back_though_an_operator_had_registered_it(server: Server, phone: Phone) -> None:
    wrong = "javascript:alert(1)"
    access = await let_in(server, phone, post_logout_redirect_uris=(wrong,))
    assert (await access.log_out(id_token_hint=access.hint, post_logout_redirect_uri=wrong)).status_code == 400
    await access.browser.aclose()


async def test_a_loopback_way_back_is_registered_with_its_port(server: Server, phone: Phone) -> None:
    access = await let_in(server, phone, post_logout_redirect_uris=("http://127.0.0.1:8400/bye",))
    for uri, status in (("http://127.0.0.1:8401/bye", 400), ("http://127.0.0.1:8400/bye", 200)):
        answer = await access.log_out(client_id=access.application.client.id, post_logout_redirect_uri=uri)
        assert answer.status_code == status
    await access.browser.aclose()


async def test_a_way_back_needs_a_client_and_the_same_one_as_the_id_tokens(access: Access, server: Server) -> None:
    stranger = await register(server.folder, post_logout_redirect_uris=(BYE,))
    for parameters in (
        {"post_logout_redirect_uri": BYE},
        {"post_logout_redirect_uri": BYE, "client_id": "unknown"},
        {"post_logout_redirect_uri": BYE, "client_id": stranger.client.id, "id_token_hint": access.hint},
        {"client_id": stranger.client.id, "id_token_hint": access.hint},
    ):
        answer = await access.log_out(**parameters)
        assert answer.status_code == 400, parameters
        assert "location" not in answer.headers
    assert await access.works()


@pytest.mark.parametrize(
    "query",
    [
        "state=a&state=b", "client_id=a&client_id=b", "state=%00", "state=%0d%0aX:%20y", "state=%ff",
        "state=" + "s" * 2049, "&".join(["a=b"] * 70),
    ],
)  # fmt: skip
async def test_a_broken_request_gets_a_page_that_says_so(access: Access, query: str) -> None:
    answer = await access.browser.get(f"/oauth/logout?id_token_hint={access.hint}&{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert await access.works()


async def test_what_is_unknown_or_empty_is_passed_over(access: Access) -> None:
    answer = await access.log_out(
        id_token_hint=access.hint, state="", ui_locales="de fr", logout_hint="alice", other=["a", "b"], client_id=""
    )
    asked(answer, ended=True)


@pytest.mark.security(42)
async def test_no_page_of_another_origin_reads_or_frames_the_question(access: Access) -> None:
    # Not even one that may read all else.
    assert not [call for call in CALLS if call.path == "/oauth/logout" and call.cors]
    for origin in (str(access.browser.base_url).rstrip("/"), "https://evil.example"):
        answer = await access.browser.get("/oauth/logout", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_client_that_was_removed_or_renamed_breaks_no_page(server: Server, phone: Phone) -> None:
    access = await let_in(server, phone, name='"><script>alert(1)</script>')
    answer = await access.log_out(id_token_hint=access.hint)
    asked(answer, ended=True)
    assert "<script>alert" not in answer.text
    await access.browser.aclose()


def test_discovery_names_the_endpoint() -> None:
    assert [each.member for each in ENDPOINTS if each.path == "/oauth/logout"] == ["end_session_endpoint"]
