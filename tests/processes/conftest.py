"""What tests over several processes share: two servers on one Redis, a client of each, the same device at either."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx2
import pytest

from tests.client import Api, NewDevice, Phone
from tests.embedded import fresh_phone
from tests.servers import Server

Party = TypeVar("Party", Phone, NewDevice)


@dataclass
class Pair:
    """Two processes and a client of each. Whatever one made can be asked of the other."""

    one: Api
    two: Api
    servers: tuple[Server, Server]

    async def phone(self, username: str | None = None) -> Phone:
        return await fresh_phone(self.one, self.servers[0].folder, username)


@pytest.fixture
async def pair(two_servers: tuple[Server, Server]) -> AsyncIterator[Pair]:
    async with Api(two_servers[0].url) as one, Api(two_servers[1].url) as two:
        yield Pair(one, two, two_servers)


def at(api: Api, party: Party) -> Party:
    """The same device, talking to another process."""
    return replace(party, api=api)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]
