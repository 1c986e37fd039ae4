"""Posts to an application's server: to the address that was checked, once, without redirects and without waiting."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from pairing_ws.adapters.backchannel import HttpLogouts
from pairing_ws.adapters.posting import Answer, Poster, PostFailed
from pairing_ws.adapters.targets import ForbiddenTarget, Targets
from pairing_ws.core.deliveries import Outcome
from tests.support.listener import Listener, listening


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening() as found:
        yield found


async def post(url: str, *addresses: str, allow_private: bool = True, timeout: float = 5.0) -> int:
    async def resolve(_: str, __: int) -> Sequence[str]:
        return addresses or ("127.0.0.1",)

    poster = Poster(Targets(allow_private=allow_private, resolve=resolve), timeout)
    try:
        return await poster.post(url, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"})
    finally:
        await poster.aclose()


@pytest.mark.security(41)
async def test_the_request_goes_to_the_address_that_was_checked_and_names_the_host(listener: Listener) -> None:
    # No server of names knows this one: it is reached all the same.
    assert await post(f"http://app.invalid:{listener.port}/logout") == 200
    assert listener.hosts == [f"app.invalid:{listener.port}"]
    assert listener.heard == [{"a": ["b"]}]


@pytest.mark.security(41)
async def test_nothing_is_sent_to_this_machine_unless_the_setting_allows_it(listener: Listener) -> None:
    for url in (listener.uri, listener.uri.replace("http:", "https:")):
        with pytest.raises(ForbiddenTarget):
            await post(url, allow_private=False)
    with pytest.raises(ForbiddenTarget):
        await post(listener.uri, "8.8.8.8", "127.0.0.1", allow_private=False)
    assert listener.heard == []


@pytest.mark.security(41)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(listener: Listener, status: int) -> None:
    listener.statuses = [status]
    assert await post(listener.uri) == status
    assert listener.elsewhere == 0


async def test_another_address_of_the_name_is_tried_where_the_first_takes_no_connection(listener: Listener) -> None:
    assert await post(listener.uri, "127.8.8.8", "127.0.0.1") == 200
    assert len(listener.heard) == 1


async def test_a_server_that_does_not_answer_is_left_after_the_timeout(listener: Listener) -> None:
    listener.statuses = [None]
    with pytest.raises(PostFailed, match="no answer within"):
        await post(listener.uri, timeout=0.2)


@pytest.mark.security(41)
async def test_an_answer_without_end_costs_no_more_than_the_timeout() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PostFailed):
        await post(f"http://127.0.0.1:{port}/", timeout=0.5)
    server.close()


async def exchange(answer: bytes, most: int) -> Answer:
    """With a server that says this, whatever it is sent."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    poster = Poster(Targets(allow_private=True))
    server = await asyncio.start_server(say, "127.0.0.1", 0)
    try:
        return await poster.exchange(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"", {}, most)
    finally:
        server.close()
        await poster.aclose()


ASKED_TO_WAIT = b"HTTP/1.1 429 Wait\r\nRetry-After: 30\r\nContent-Length: 3\r\n\r\nyes"


async def test_of_an_answer_is_read_what_is_asked_for() -> None:
    assert await exchange(ASKED_TO_WAIT, 0) == (429, "30", b"")
    assert await exchange(ASKED_TO_WAIT, 3) == (429, "30", b"yes")
    assert await exchange(b"HTTP/1.1 200 OK\r\n\r\nyes", 3) == (200, "", b"yes")


@pytest.mark.security(41)
async def test_an_answer_that_is_larger_than_it_may_be_is_none() -> None:
    with pytest.raises(PostFailed, match="more than 2 bytes"):
        await exchange(ASKED_TO_WAIT, 2)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of `app.invalid`, which nobody vouches for."""
    path = tmp_path / "both.pem"
    subject = ["-subj", "/CN=app.invalid", "-addext", "subjectAltName=DNS:app.invalid"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]
    subprocess.run(["openssl", "req", "-x509", *key, *subject, "-out", str(tmp_path / "cert.pem")], check=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


@pytest.mark.security(41)
async def test_a_certificate_is_asked_for_by_the_name_and_has_to_be_trusted(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    named: list[str | None] = []
    context.sni_callback = lambda _, name, __: named.append(name)
    came = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PostFailed):
        await post(f"https://app.invalid:{port}/")
    server.close()
    assert named == ["app.invalid"]
    assert not came


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, Outcome.TOLD), (204, Outcome.TOLD), (400, Outcome.REFUSED), *((each, Outcome.FAILED) for each in (
        201, 302, 401, 404, 429, 500, 503
    ))],
)  # fmt: skip
async def test_an_application_has_heard_when_it_says_so(listener: Listener, status: int, outcome: Outcome) -> None:
    listener.statuses = [status]
    async with HttpLogouts(Targets(allow_private=True)) as logouts:
        delivery = await logouts(listener.uri, "a.b.c")
    assert delivery.outcome is outcome
    assert listener.tokens == ["a.b.c"]
    assert listener.types == ["application/x-www-form-urlencoded"]


async def test_a_forbidden_address_or_a_dead_one_is_a_failure_with_its_reason(listener: Listener) -> None:
    async with HttpLogouts(Targets(allow_private=False)) as logouts:
        refused = await logouts(listener.uri, "a.b.c")
        nowhere = await logouts("https://nowhere.invalid/", "a.b.c")
    assert (refused.outcome, nowhere.outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert "this machine" in refused.why
    assert listener.heard == []
