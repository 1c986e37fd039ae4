"""One way for every request: with an Origin and without, mounted and not, under `serve` and under plain uvicorn, each
gets the same answer and is counted the same."""

import http.client
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from pairing_ws.app import create_app
from pairing_ws.core.clock import system_clock
from pairing_ws.web.calls import CALLS
from pairing_ws.web.oauth.endpoints import ENDPOINTS
from tests.support.admin import WITH_ADMIN, WITH_ADMIN_INSIDE
from tests.support.embedded import PLAIN_UVICORN, MovedClock, embedded, settings_in
from tests.support.limits import NO_LIMITS, NO_LIMITS_INSIDE
from tests.support.servers import running

PUBLIC = "http://localhost:8000"
APP = "capacitor://localhost"
ID = "A" * 22
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DEVICE = {"X-Device-Code": "a", "X-Device-Name": "b"}
TOO_LARGE = b" " * 17_000
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

Fields = dict[str, str]
SAMPLE: list[tuple[str, str, Fields, bytes]] = [
    *((call.method, call.path.replace("{id}", ID), {}, b"") for call in CALLS),
    *(("HEAD", call.path.replace("{id}", ID), {}, b"") for call in CALLS),
    *(("OPTIONS", call.path.replace("{id}", ID), {}, b"") for call in CALLS),
    *(("PUT", call.path.replace("{id}", ID), {}, b"") for call in CALLS),
    *((call.method, call.path.replace("{id}", ID), JSON, b"{") for call in CALLS),
    *((call.method, call.path.replace("{id}", ID), JSON, TOO_LARGE) for call in CALLS),
    *((call.method, call.path.replace("{id}", ID), {"Content-Type": "text/plain"}, b"x") for call in CALLS),
    *(
        (method, endpoint.path, fields, body)
        for endpoint in ENDPOINTS
        if endpoint.cors
        for method in (endpoint.method, "HEAD", "OPTIONS", "PUT")
        for fields, body in (({}, b""), (FORM, b"client_id=x"), (FORM, b"a=1&a=2"), (FORM, TOO_LARGE), (JSON, b"{}"))
    ),
    ("GET", f"/api/v1/pairings/{ID}", {"Pairing-Secret": "x" * 22}, b""),
    ("HEAD", f"/api/v1/pairings/{ID}", {"Pairing-Secret": "x" * 22}, b""),
    ("POST", "/api/v1/pairings", DEVICE | JSON, b'{"qr": "no such thing"}'),
    ("POST", "/api/v1/invites/accept", DEVICE | JSON, b'{"code": "x"}'),
    *(
        (method, path, more, b"")
        for method in ("GET", "HEAD", "POST", "OPTIONS", "TRACE")
        for more in ({}, BROWSER)
        for path in (
            "/healthz", "/readyz", "/.well-known/jwks.json", "/openapi.json", "/asyncapi.json", "/api", "/api/",
            "/api/v1", "/api/v1/", "/api/v1/nowhere", "/api/v1/me/", "/api/v1%2Fme", "/api/v1/m%65",
            "/oauth/", "/oauth/nowhere", "/api/v1/pairings/x%00", f"/api/v1/pairings/{ID}/nowhere",
            "/", "/phone", "/Phone", "/phone/",
            f"/pair/{ID}", "/nowhere", "/static/style.css", "/static/client/index.js",
            "/static/nowhere", "/static//style.css", "/static/",
            "/" + "a" * 2000,
        )
    ),
]  # fmt: skip
# Theirs, not ours; and what only those get who have an Origin.
UNCOMPARED = {"date", "server", "connection", "content-length", "access-control-allow-origin"}
UNCOMPARED |= {"access-control-expose-headers"}


@dataclass
class Place:
    """Where a server answers, and what it has counted."""

    port: int
    counted: Callable[[], str]
    root: str = ""

    def ask(self, method: str, path: str, fields: Fields, body: bytes) -> tuple[int, Fields, bytes]:
        """Status, headers and body; of those that tell the servers apart, nothing."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, self.root + path, body or None, {"Host": "localhost:8000"} | fields)
            answer = connection.getresponse()
            headers: Fields = {}
            for name, value in answer.getheaders():
                headers[name.lower()] = ", ".join([*filter(None, [headers.get(name.lower())]), value])
            content = answer.read()
            if method != "HEAD" and "content-length" in headers:
                assert int(headers["content-length"]) == len(content)
            kept = {name: value for name, value in headers.items() if name not in UNCOMPARED}
            return answer.status, kept, content.replace(self.root.encode() + b"/", b"/")

    def counts(self) -> Counter[str]:
        lines = re.findall(r"^pairing_requests_total(\{.*\}) (\S+)$", self.counted(), re.MULTILINE)
        return Counter({labels: int(float(value)) for labels, value in lines if '"/metrics"' not in labels})


def mounted(app: ASGIApp) -> ASGIApp:
    """Below `/login` of another application, which has to run its lifespan."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):  # type: ignore[attr-defined]
            yield

    return Starlette(routes=[Mount("/login", app)], lifespan=lifespan)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    folder = tmp_path_factory.mktemp("one-way")
    inside = lambda: generate_latest(REGISTRY).decode()  # noqa: E731
    with ExitStack() as stack:
        served = stack.enter_context(
            running(folder, PAIRING_PUBLIC_URL=PUBLIC, PAIRING_ALLOWED_ORIGINS=APP, **NO_LIMITS, **WITH_ADMIN)
        )
        options: dict[str, Any] = (
            NO_LIMITS_INSIDE | WITH_ADMIN_INSIDE | {"public_url": PUBLIC, "allowed_origins": (APP,), "demo": True}
        )
        plain = stack.enter_context(embedded(folder, options=PLAIN_UVICORN, **options))
        h11 = stack.enter_context(embedded(folder, options=PLAIN_UVICORN | {"http": "h11"}, **options))
        below = stack.enter_context(embedded(folder, wrap=mounted, **options))

        def of_served() -> str:
            with closing(http.client.HTTPConnection("127.0.0.1", served.port)) as connection:
                connection.request("GET", "/metrics")
                return connection.getresponse().read().decode()

        yield {
            "serve": Place(served.port, of_served),
            "plain uvicorn": Place(plain.port, inside),
            "plain uvicorn on h11": Place(h11.port, inside),
            "mounted": Place(below.port, inside, "/login"),
        }


def test_every_request_gets_one_answer_and_is_counted_once_wherever_and_from_wherever_it_is_asked(
    places: dict[str, Place],
) -> None:
    answers: dict[str, list[Any]] = {}
    counts: dict[str, Counter[str]] = {}
    for name, place in places.items():
        for origin in (None, PUBLIC, APP, "https://evil.example", "null"):
            before = place.counts()
            fields = {} if origin is None else {"Origin": origin}
            way = f"{name}, {origin}"
            answers[way] = [place.ask(method, path, fields | own, body) for method, path, own, body in SAMPLE]
            counts[way] = place.counts() - before
    first, *others = answers
    for way in others:
        for sample, one, other in zip(SAMPLE, answers[first], answers[way], strict=True):
            assert one == other, (way, *sample[:3])
        assert counts[way] == counts[first], way
    assert counts[first].total() == len(SAMPLE)
    statuses = {answer[0] for answer in answers[first]}
    assert statuses >= {200, 204, 400, 401, 404, 405, 413, 415}
    assert not [answer for answer in answers[first] if answer[0] >= 500]


@pytest.mark.security(20)
def test_every_answer_but_a_backends_can_be_read_by_pages_of_allowed_origins_and_by_no_others(
    places: dict[str, Place],
) -> None:
    place = places["serve"]
    for origin, allowed in ((PUBLIC, True), (APP, True), ("https://evil.example", False), ("null", False)):
        for method, path, fields, body in SAMPLE:
            with closing(http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)) as connection:
                connection.request(method, path, body or None, fields | {"Host": "localhost:8000", "Origin": origin})
                answer = connection.getresponse()
                answer.read()
            # The public keys and the client's modules are everybody's to read.
            is_anybodys = path == "/.well-known/jwks.json" or path.startswith("/static/client/")
            # What the gate refuses has been asked of no call.
            by_backend = path.startswith("/api/v1/admin/") and body is not TOO_LARGE
            readable = is_anybodys or (allowed and not by_backend)
            assert answer.headers["access-control-allow-origin"] == (origin if readable else None), (method, path)
            assert by_backend or "Origin" in ", ".join(answer.headers.get_all("vary") or [])


@pytest.mark.parametrize("path", ["/api/v1/me%0a", "/api/v1/me%00", "/api/v1%2fme", "/api%2Fv1/me", "/api/v1/%6de",
                                  "/api/v1//me", "/api/v1/me/", "/API/v1/me", "/api/v1/./me", "/api/v1/me;x",
                                  f"/api/v1/pairings/{ID}%0a", "/api/v1/pairings/%00", f"/api/v1/pairings/%41{ID[1:]}",
                                  "/healthz%0a", "/metrics%0A", "/openapi%2ejson", "/phone%0a", "/%70hone",
                                  "/static/%73tyle.css", "/static/./style.css", "/static//style.css",
                                  "/static/client/../style.css", "/static/style.css%0a", "/static/style.css/",
                                  ])  # fmt: skip
def test_a_path_is_one_of_ours_to_the_letter_or_not_found(places: dict[str, Place], path: str) -> None:
    for name, place in places.items():
        status, headers, _ = place.ask("GET", path, {"Pairing-Secret": "x" * 22}, b"")
        assert (status, headers["content-type"]) == (404, "application/problem+json"), name


HARMLESS = ["traceparent", "tracestate", "baggage", "X-Requested-With", "Cache-Control", "Pragma", "sentry-trace",
            "x-request-id", "b3", "x-b3-traceid, x-b3-spanid", "Auth-Key,Content-Type,DPoP",
            "authorization,x-device-code,x-device-name,traceparent", "priority", "idempotency-key"]  # fmt: skip


@pytest.mark.parametrize("names", HARMLESS)
def test_pages_of_allowed_origins_may_send_any_harmless_header(places: dict[str, Place], names: str) -> None:
    asked = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": names}
    for path in ("/api/v1/pairings", "/api/v1/nowhere", "/phone"):
        status, headers, body = places["serve"].ask("OPTIONS", path, asked, b"")
        assert (status, body) == (204, b"")
        assert headers["access-control-allow-headers"] == names
        assert set(headers["access-control-allow-methods"].split(", ")) >= {"GET", "POST", "PATCH", "DELETE"}


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Origin": "https://evil.example"}, 403, "foreign_origin"),
        ({"Origin": "null"}, 403, "foreign_origin"),
        ({"Access-Control-Request-Method": "PUT"}, 405, "method_not_allowed"),
        ({"Access-Control-Request-Headers": "x-forwarded-for"}, 400, "bad_request"),
        ({"Access-Control-Request-Headers": "dpop, Forwarded"}, 400, "bad_request"),
        ({"Access-Control-Request-Headers": "a b"}, 400, "bad_request"),
        ({"Access-Control-Request-Headers": "a," * 1000}, 400, "bad_request"),
    ],
)
def test_a_refused_preflight_says_why(places: dict[str, Place], change: Fields, status: int, code: str) -> None:
    asked = {"Origin": APP, "Access-Control-Request-Method": "POST"} | change
    answer = places["serve"].ask("OPTIONS", "/api/v1/pairings", asked, b"")
    assert answer[0] == status
    assert answer[1]["content-type"] == "application/problem+json"
    assert f'"code":"{code}"'.encode() in answer[2]


class BrokenClock(MovedClock):
    broken = False

    def __call__(self) -> int:
        if self.broken:
            raise RuntimeError("the clock is broken")
        return super().__call__()


@pytest.mark.parametrize("origin", [None, APP])
@pytest.mark.parametrize("wrap", [lambda app: app, mounted], ids=["alone", "mounted"])
def test_a_failure_is_a_problem_document_that_is_counted_and_can_be_read(
    tmp_path: Path, origin: str | None, wrap: Callable[[ASGIApp], ASGIApp]
) -> None:
    clock = BrokenClock()
    with embedded(tmp_path, clock=clock, wrap=wrap, allowed_origins=(APP,), public_url=PUBLIC) as server:
        place = Place(server.port, lambda: generate_latest(REGISTRY).decode(), "/login" if wrap is mounted else "")
        before = place.counts()
        clock.broken = True
        with closing(http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)) as connection:
            fields = {"Auth-Key": "x.y.z"} | ({"Origin": origin} if origin else {})
            connection.request("GET", f"{place.root}/api/v1/me", headers=fields)
            answer = connection.getresponse()
            document = answer.read()
        clock.broken = False
        assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
        assert b'"code":"internal_error"' in document
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert place.counts() - before == {'{method="GET",route="/api/v1/me",status="500"}': 1}


@pytest.mark.parametrize("origin", [None, APP])
async def test_a_client_that_breaks_off_is_not_answered_and_not_counted(tmp_path: Path, origin: str | None) -> None:
    app = create_app(settings_in(tmp_path, allowed_origins=(APP,)), clock=system_clock)
    sent: list[Any] = []
    pieces = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(pieces)

    send: Callable[[Any], Awaitable[None]] = _into(sent)
    headers = [(b"content-type", b"application/json"), *([(b"origin", origin.encode())] if origin else [])]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/pairings", "query_string": b"", "headers": headers}
    place = Place(0, lambda: generate_latest(REGISTRY).decode())
    before = place.counts()
    await app(scope, receive, send)
    assert sent == []
    assert place.counts() == before


def _into(sent: list[Any]) -> Callable[[Any], Awaitable[None]]:
    async def send(message: Any) -> None:
        sent.append(message)

    return send
