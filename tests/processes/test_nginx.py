"""nginx as shipped (`scripts/deploy/nginx.conf`) in front of two processes: what passes, what is kept out, and what
clients notice when a process ends. Ports, names, files and upstreams are replaced in its text, nothing else."""

import asyncio
import json
import re
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from tests.processes.conftest import refusal, watched
from tests.support.admin import BEARER, WITH_ADMIN
from tests.support.client import Api, NewDevice, Phone, device_headers, told, until
from tests.support.embedded import fresh_phone
from tests.support.limits import NO_LIMITS
from tests.support.nginx import CONFIGURATION, NAME, Nginx, started
from tests.support.servers import RedisServer, Server, eventually, free_port, running, wait_for

HOME, AWAY = "127.0.0.2", "127.0.0.3"
OPEN = "pairing_sockets_open"


@dataclass
class Web(Api):
    """The API as a browser at that address reaches it. `url` is `https://NAME:PORT`."""

    nginx: Nginx = field(kw_only=True)
    ip: str = field(kw_only=True)

    def __post_init__(self) -> None:
        async def prepare(request: httpx2.Request) -> None:
            request.extensions["sni_hostname"] = NAME

        self.http = httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{self.nginx.port}/api/v1",
            headers={"Host": self.nginx.host},
            transport=httpx2.AsyncHTTPTransport(verify=self.nginx.trust, local_address=self.ip),
            event_hooks={"request": [prepare]},
            timeout=30,
        )

    @asynccontextmanager
    async def socket(self, pairing_id: str, **credential: str) -> AsyncIterator[websockets.ClientConnection]:
        async with websockets.connect(
            f"wss://{self.nginx.host}/api/v1/pairings/{pairing_id}/socket",
            host="127.0.0.1",
            port=self.nginx.port,
            local_addr=(self.ip, 0),
            ssl=self.nginx.trust,
            subprotocols=[websockets.Subprotocol("pairing.v1")],
        ) as connection:
            await connection.send(json.dumps({"type": "auth", **credential}))
            yield connection

    async def page(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(f"https://127.0.0.1:{self.nginx.port}{path}", headers=headers)


@dataclass
class Site:
    nginx: Nginx
    servers: tuple[Server, Server]

    def web(self, ip: str = HOME) -> Web:
        return Web(f"https://{self.nginx.host}", nginx=self.nginx, ip=ip)

    async def phone(self, api: Api) -> Phone:
        return await fresh_phone(api, self.servers[0].folder)


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    ports = free_port(), free_port()
    with started(tmp_path_factory.mktemp("nginx"), *ports) as nginx:
        settings = {
            "REDIS_URL": redis_server.url,
            "PAIRING_PUBLIC_URL": f"https://{nginx.host}",
            "PAIRING_TRUSTED_PROXIES": "127.0.0.1/32",
            **NO_LIMITS,
            **WITH_ADMIN,
        }
        # Like real ones they serve one public name, and are no demo.
        with (
            running(folder, demo=False, port=ports[0], **settings) as one,
            running(folder, demo=False, port=ports[1], **settings) as two,
        ):
            yield Site(nginx, (one, two))


@pytest.fixture
async def web(site: Site) -> AsyncIterator[Web]:
    async with site.web() as client:
        yield client


# What passes


async def test_a_shown_code_logs_in_over_https_and_wss(site: Site, web: Web) -> None:
    phone, device = await site.phone(web), await web.new_pairing()
    async with web.socket(device.id, **device_secret(device)) as waiting:
        assert (await told(waiting))["status"] == "pending"
        await phone.claim(device.pairing)
        await phone.approve(device.id)
        await until(waiting, "approved")
        keys = (await device.log_in()).json()
        await until(waiting, "consumed")
    me = await web.http.get("/me", headers={"Auth-Key": keys["authKey"]})
    assert me.json()["user"] == phone.keys["user"]


async def test_a_joined_code_logs_in_over_https_and_wss(site: Site, web: Web) -> None:
    phone = await site.phone(web)
    shown = await phone.show_code()
    assert shown["qr"]["text"].startswith(f"https://{site.nginx.host}/join/")
    async with web.socket(shown["id"], authKey=phone.keys["authKey"]) as showing:
        await told(showing)
        device = await web.join(shown)
        await until(showing, "scanned")
        await phone.approve(device.id)
        assert (await device.log_in()).status_code == 200
        await until(showing, "consumed")


async def test_a_long_poll_passes_and_may_take_longer_than_it_ever_does(
    site: Site, web: Web, redis_server: RedisServer
) -> None:
    phone, device = await site.phone(web), await web.new_pairing()
    waiting = asyncio.create_task(device.poll("?since=1&wait=30"))
    await watched(redis_server, [device])
    await phone.claim(device.pairing)
    assert (await waiting).json()["status"] == "scanned"
    assert (await device.poll("?since=2&wait=1")).json()["status"] == "scanned"
    text = CONFIGURATION.read_text()
    poll = text.index("location ~ ^/api/v1/pairings/[^/]+$")
    sockets = text.index("location ~ ^/api/v1/(pairings/[^/]+/)?socket$")
    seconds = [int(re.compile(r"proxy_read_timeout (\d+)s").search(text, each)[1]) for each in (poll, sockets)]  # type: ignore[index]
    # Beyond the longest wait, and beyond a ping and its answer.
    assert seconds[0] > 30
    assert seconds[1] > 40


async def test_pages_and_sockets_at_the_accounts_path_pass_too(site: Site, web: Web) -> None:
    page = await web.page("/")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["strict-transport-security"]
    for found in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert (await web.page(found)).status_code == 200
    phone = await site.phone(web)
    uri = f"wss://{site.nginx.host}/api/v1/socket"
    address: dict[str, Any] = {"host": "127.0.0.1", "port": site.nginx.port, "ssl": site.nginx.trust}
    async with websockets.connect(uri, additional_headers=phone.headers, **address) as account:
        device = await web.new_pairing()
        await phone.claim(device.pairing)
        await phone.approve(device.id)
        await device.log_in()
        assert json.loads(await account.recv())["type"] == "device.added"


async def test_http_2_is_offered(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.nginx.folder / "fullchain.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", site.nginx.port, ssl=context, server_hostname=NAME)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    writer.close()


# Addresses and names


@pytest.mark.parametrize(("ip", "network"), [(HOME, "same"), (AWAY, "different")])
async def test_servers_see_the_clients_own_address(site: Site, web: Web, ip: str, network: str) -> None:
    phone = await site.phone(web)
    async with site.web(ip) as there:
        device = await there.new_pairing()
    assert (await phone.claim(device.pairing)).json()["newDevice"]["observed"] == {
        "ip": ip,
        "network": network,
        "userAgent": device_user_agent(),
    }


@pytest.mark.security(24)
@pytest.mark.parametrize("said", [HOME, f"{HOME}, 127.0.0.1", "8.8.8.8", "127.0.0.1"])
async def test_a_client_cannot_choose_its_address(site: Site, web: Web, said: str) -> None:
    phone = await site.phone(web)
    async with site.web(AWAY) as there:
        lies = {"X-Forwarded-For": said, "X-Real-IP": said, "Forwarded": f"for={said}"}
        device = await there.new_pairing(device_headers() | lies)
    observed = (await phone.claim(device.pairing)).json()["newDevice"]["observed"]
    assert (observed["ip"], observed["network"]) == (AWAY, "different")


async def test_plain_http_leads_to_https_and_nowhere_else(site: Site) -> None:
    async with httpx2.AsyncClient(headers={"Host": "evil.example"}) as client:
        answer = await client.get(f"http://127.0.0.1:{site.nginx.plain_port}/pair/x?y=z")
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{site.nginx.host}/pair/x?y=z")


async def test_other_names_get_no_certificate_and_no_page(site: Site, web: Web) -> None:
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(
            "127.0.0.1", site.nginx.port, ssl=site.nginx.trust, server_hostname="evil.example"
        )
    for host in ("evil.example", f"evil.example:{site.nginx.port}", "127.0.0.1"):
        assert (await web.page("/", Host=host)).status_code == 421


@pytest.mark.security(53)
async def test_what_only_operators_read_stays_inside(site: Site, web: Web) -> None:
    for path in ("/metrics", "/readyz", "/api/v1/admin/users"):
        assert (await web.page(path, **BEARER)).status_code == 404
        assert httpx2.get(f"{site.servers[0].url}{path}", headers=BEARER).status_code == 200
    assert (await web.page("/healthz")).status_code == 200


@pytest.mark.security(21)
async def test_no_query_string_is_logged(site: Site, web: Web) -> None:
    await web.page("/phone?find-me-in-no-log")
    wait_for(lambda: any('"/phone"' in line for line in site.nginx.log()), "the line")
    assert not any("find-me" in line for line in site.nginx.log())


# Too much, too slow


async def test_a_body_is_at_most_16_kib(web: Web) -> None:
    async def dribble() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 4096

    fits = await web.http.post("/pairings", content=b'{"qr":"none"}'.ljust(16384), headers=JSON | device_headers())
    assert fits.status_code == 201
    for too_much in (b" " * 16385, b" " * 1_000_000, dribble()):
        answer = await web.http.post("/pairings", content=too_much, headers=JSON | device_headers())
        assert refusal(answer) == (413, "too_large")


async def test_a_page_may_read_what_nginx_refuses_if_its_origin_is_named_and_no_other(site: Site, web: Web) -> None:
    own = f"https://{site.nginx.host}"
    for origin, readable in ((own, own), ("https://evil.example", None), ("null", None)):
        for size in (1, 16385):
            headers = JSON | {"Origin": origin}
            answer = await web.http.post("/pairings", content=b" " * size, headers=headers)
            assert answer.status_code == (413 if size > 1 else 400)
            assert answer.headers.get("access-control-allow-origin") == readable
            assert "Origin" in answer.headers["vary"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["strict-transport-security"]


async def test_one_address_cannot_flood_and_others_do_not_suffer(site: Site) -> None:
    # On one connection, one after the other: on a slow machine a client that waits for each answer is no flood.
    asked = 900
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", site.nginx.port, ssl=site.nginx.trust, server_hostname=NAME, local_addr=("127.0.0.9", 0)
    )
    request = f"GET /healthz HTTP/1.1\r\nHost: {site.nginx.host}\r\n"
    writer.write(f"{request}\r\n".encode() * (asked - 1) + f"{request}Connection: close\r\n\r\n".encode())
    answers = (await asyncio.wait_for(reader.read(-1), 60)).decode().split("HTTP/1.1 ")[1:]
    writer.close()
    assert len(answers) == asked
    refused = [each for each in answers if not each.startswith("200 ")]
    assert refused
    for each in refused:
        assert each.startswith("429 ")
        assert '"code":"rate_limited"' in each.replace(" ", "")
        assert int(re.findall(r"(?i)retry-after: (\d+)", each)[0]) > 0
    async with site.web("127.0.0.10") as other:
        assert (await other.page("/healthz")).status_code == 200


POST = "POST /api/v1/pairings HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
SLOW = {
    "says nothing": ("", ""),
    "silent in the headers": ("GET /healthz HTTP/1.1\r\nHost: {host}\r\n", ""),
    "dribbling headers": ("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: ", "x"),
    "silent in the body": (POST + "Content-Length: 9000\r\n\r\n{{", ""),
    "dribbling body": (POST + "Content-Length: 9000\r\n\r\n{{", " "),
    "dribbling chunks": (POST + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
    "dribbling where no body is read": ("GET /healthz HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000\r\n\r\n", "x"),
}


@pytest.mark.security(32)
async def test_slow_headers_and_slow_bodies_are_cut_within_15_seconds(site: Site) -> None:
    async def cut(start: str, more: str) -> tuple[float, bytes]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", site.nginx.port, ssl=site.nginx.trust, server_hostname=NAME, local_addr=("127.0.0.11", 0)
        )
        clock = asyncio.get_running_loop().time
        began, got = clock(), b""
        writer.write(start.format(host=site.nginx.host).encode())

        async def dribble() -> None:
            while more:
                await asyncio.sleep(0.3)
                writer.write(more.encode())
                await writer.drain()

        dribbling = asyncio.create_task(dribble())
        with suppress(ConnectionError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(16):
                while read := await reader.read(4096):
                    got += read
        dribbling.cancel()
        with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            await dribbling
        writer.transport.abort()
        return clock() - began, got

    found = dict(zip(SLOW, await asyncio.gather(*(cut(*each) for each in SLOW.values())), strict=True))
    assert {name: seconds for name, (seconds, _) in found.items() if seconds > 15} == {}
    # These nginx would wait for, byte by byte; the server does not.
    for name in ("dribbling body", "dribbling chunks"):
        assert found[name][1].startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in found[name][1]


# A server ends


async def test_clients_go_on_while_one_server_is_stopped(site: Site) -> None:
    async with site.web("127.0.0.20") as web:
        await _go_on_without(site, web, 0, signal.SIGTERM, 1012)


async def test_clients_go_on_when_one_server_is_killed(site: Site) -> None:
    async with site.web("127.0.0.21") as web:
        await _both_are_asked(site, web)
        await _go_on_without(site, web, 1, signal.SIGKILL, 1006)


async def _both_are_asked(site: Site, web: Web) -> None:
    """Wait until nginx has forgiven the one that was stopped before."""
    seen = len(site.nginx.log())
    async with asyncio.timeout(10):
        while not all(any(each.url[7:] in line for line in site.nginx.log()[seen:]) for each in site.servers):
            assert (await web.page("/healthz")).status_code == 200
            await asyncio.sleep(0.05)


async def _go_on_without(site: Site, web: Web, which: int, number: int, code: int) -> None:
    """Stop one of the two under traffic: no call that only reads fails, every other one can be repeated, and every
    socket can be opened anew."""
    ends = site.servers[which]
    phone = await site.phone(web)
    devices = [await web.new_pairing() for _ in range(8)]
    gone = asyncio.Event()
    closed: list[int | None] = []
    answers: list[httpx2.Response] = []

    async def wait_on(device: NewDevice) -> None:
        """What a client does: reconnect, with the same secret, until it is let in."""
        while True:
            with suppress(websockets.ConnectionClosed, websockets.InvalidStatus):
                async with web.socket(device.id, **device_secret(device)) as waiting:
                    try:
                        await until(waiting, "approved")
                        return
                    except websockets.ConnectionClosed:
                        closed.append(waiting.close_code)
                        raise
            await asyncio.sleep(0.2)

    async def keep_asking() -> None:
        while not gone.is_set() or len(answers) < 60:
            # Who is killed in the middle of an answer can't finish it, and nobody for him.
            with suppress(*[httpx2.RemoteProtocolError] if number == signal.SIGKILL else []):
                answers.append(await devices[0].poll())
                answers.append(await web.http.post("/pairings", json={"qr": "none"}, headers=device_headers()))
            await asyncio.sleep(0.03)

    async with asyncio.timeout(60):
        waiting = [asyncio.create_task(wait_on(each)) for each in devices]
        await eventually(lambda: sum(each.gauge(OPEN) for each in site.servers) == len(devices), "all sockets")
        open_there = ends.gauge(OPEN)
        assert 0 < open_there < len(devices), "both take their part"
        asking = asyncio.create_task(keep_asking())
        await eventually(lambda: len(answers) >= 10, "traffic")
        await asyncio.to_thread(ends.stop, number)
        gone.set()
        await asking
        for device in devices:
            assert (await _repeated(phone.claim, device.pairing)).status_code == 200
            assert (await _repeated(phone.approve, device.id)).status_code == 200
        await asyncio.gather(*waiting)
        assert closed == [code] * open_there
        keys = [await _repeated(device.log_in) for device in devices]
    assert [each.status_code for each in keys] == [200] * len(devices)
    assert {each.status_code for each in answers if each.request.method == "GET"} == {200}
    assert {each.status_code for each in answers if each.request.method == "POST"} <= {201, 503}
    await asyncio.to_thread(ends.start)


async def _repeated(call: Callable[..., Awaitable[httpx2.Response]], *arguments: Any) -> httpx2.Response:
    """The answer to a call that is repeated for as long as it is told to come again."""
    while True:
        answer = await call(*arguments)
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(float(answer.headers["retry-after"]))


class Upstream:
    """What nginx takes for a server. It counts requests, and may be one that dies on each before it answers."""

    def __init__(self, *, dies: bool) -> None:
        self.port, self.requests, self._dies = free_port(), 0, dies

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Upstream"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                self.requests += 1
                if self._dies:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.transport.abort()


@asynccontextmanager
async def one_that_dies(folder: Path) -> AsyncIterator[tuple[Web, Upstream, Upstream]]:
    async with Upstream(dies=True).running() as dying, Upstream(dies=False).running() as well:
        with started(folder, dying.port, well.port) as nginx:
            async with Web(f"https://{nginx.host}", nginx=nginx, ip=HOME) as web:
                yield web, dying, well


@pytest.mark.parametrize("body", [{}, {"json": {"a": "b"}}], ids=["without a body", "with a body"])
async def test_a_post_is_never_sent_twice(tmp_path: Path, body: dict[str, Any]) -> None:
    async with one_that_dies(tmp_path) as (web, dying, well):
        answers = []
        for number in (1, 2):
            answers.append(await web.http.post("/pairings/x/approve", **body))
            assert dying.requests + well.requests == number
        assert sorted(each.status_code for each in answers) == [200, 503]
        lost = next(each for each in answers if each.status_code == 503)
        assert refusal(lost) == (503, "unavailable")
        assert int(lost.headers["retry-after"]) > 0


async def test_what_only_reads_is_asked_of_the_other_server(tmp_path: Path) -> None:
    async with one_that_dies(tmp_path) as (web, dying, well):
        assert [(await web.page("/healthz")).status_code for _ in range(2)] == [200, 200]
        assert (dying.requests, well.requests) == (1, 2)


async def test_nobody_there_is_a_503_that_clients_understand(tmp_path: Path) -> None:
    with started(tmp_path, free_port(), free_port()) as nginx:
        async with Web(f"https://{nginx.host}", nginx=nginx, ip=HOME) as web:
            for answer in (await web.http.get("/me"), await web.http.post("/pairings", json={})):
                assert refusal(answer) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) > 0
                assert answer.headers["cache-control"] == "no-store"


JSON = {"Content-Type": "application/json"}


def device_secret(device: NewDevice) -> dict[str, str]:
    return {"secret": str(device.pairing["secret"])}


def device_user_agent() -> str:
    return f"python-httpx2/{httpx2.__version__}"
