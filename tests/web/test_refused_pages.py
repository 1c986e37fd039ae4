"""What people are shown who ask for a page that there is not, with the way on; and what programs get instead."""

import re

import pytest

from tests.support.answers import assert_safe
from tests.support.client import Api
from tests.support.servers import Server
from tests.web.conftest import refusal

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.security(22)
@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/phone/", "/phone"), ("/Phone", "/phone"), ("/PHONE/", "/phone"), ("/phone.html", "/phone"),
        ("/devices/", "/devices"), ("/Devices", "/devices"), ("/nowhere", "/"), ("/pair", "/"), ("/pair/", "/"),
        ("/join/", "/"), ("/pair/a/b", "/"), ("/static/", "/"), ("/static/nowhere.js", "/"), ("/phone%0a", "/phone"),
        ("/<script>alert(1)</script>", "/"), ("/" + "a" * 3000, "/"), ("/index.html", "/"), ("//phone", "/phone"),
    ],
)  # fmt: skip
async def test_a_person_is_shown_a_page_with_the_way_on(api: Api, server: Server, path: str, first: str) -> None:
    answer = await api.http.get(server.url + path, headers={"Accept": BROWSER})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert_safe(answer.headers)
    assert "Accept" in answer.headers["vary"]
    assert "<script" not in answer.text
    ways = re.findall(r'class="button [a-z]+" href="([^"]+)"', answer.text)
    assert ways[0] == first
    assert sorted(ways) == ["/", "/devices", "/link", "/phone"]
    for link in {*ways, *re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text)}:
        assert (await api.http.get(server.public_url + link)).status_code == 200


async def test_a_method_that_a_page_has_not_is_told_to_people_as_well(api: Api, server: Server) -> None:
    answer = await api.http.post(f"{server.url}/phone", headers={"Accept": BROWSER})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "accept",
    [None, "", "*/*", "application/json", "application/problem+json", "application/json, text/html;q=0.5",
     "text/html;q=0", "image/png,*/*", "text/html;q=0.2, application/problem+json;q=0.3", "," * 9000],
)  # fmt: skip
async def test_a_program_gets_a_problem_document(api: Api, server: Server, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    for path in ("/phone/", "/nowhere", "/static/nowhere.js"):
        assert refusal(await api.http.get(server.url + path, headers=headers)) == (404, "not_found")


async def test_a_call_is_answered_in_json_whoever_asks(api: Api) -> None:
    for path in ("/me", "/nowhere"):
        refusal(await api.http.get(path, headers={"Accept": BROWSER}))
