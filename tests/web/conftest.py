"""What the edge's tests share beside the servers: accounts without a command line each, and a server with a clock."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.client import Api, Phone
from tests.support.embedded import Embedded, embedded, fresh_phone
from tests.support.limits import NO_LIMITS_INSIDE
from tests.support.servers import Server

NewPhone = Callable[..., Awaitable[Phone]]


@pytest.fixture
def new_phone(api: Api, server: Server) -> NewPhone:
    """`await new_phone()`: a logged-in device with an account of its own; `new_phone("bob")` for one of bob's."""

    async def make(username: str | None = None, **headers: Any) -> Phone:
        return await fresh_phone(api, server.folder, username, **headers)

    return make


@pytest.fixture
async def phone(new_phone: NewPhone) -> Phone:
    return await new_phone()


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server whose clock the test moves. No quarantine, no rate limits."""
    with embedded(tmp_path_factory.mktemp("clocked"), demo=True, **NO_LIMITS_INSIDE) as started:
        yield started


@pytest.fixture
async def clocked_api(clocked: Embedded) -> AsyncIterator[Api]:
    async with Api(clocked.url) as client:
        yield client


@pytest.fixture
def clocked_phone(clocked_api: Api, clocked: Embedded) -> NewPhone:
    """As `new_phone`, on the server with the clock."""

    async def make(username: str | None = None, **headers: str) -> Phone:
        return await fresh_phone(clocked_api, clocked.folder, username, clocked.clock, **headers)

    return make


def folder_of(path: Path, name: str) -> Path:
    made = path / name
    made.mkdir()
    return made


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """Status and machine word of a problem document, after a look at its form."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert {"type", "title", "code"} <= document.keys()
    return answer.status_code, document["code"]
