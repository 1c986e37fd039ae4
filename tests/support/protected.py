"""A browser at hosts that forward auth protects, by way of their proxy: it keeps cookies for each host, as browsers do,
and says of a request what proxies say."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2

from tests.support.client import Phone

COOKIE = "__Host-pairing_forward"
BEGUN = "__Host-pairing_begun"
CHECK = "/oauth/forward-auth"
# Of a tab that somebody opens.
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


@dataclass
class Visitor:
    """`url` is the process that the proxy asks; `jars` are cookies by host."""

    url: str
    http: httpx2.AsyncClient
    jars: dict[str, dict[str, str]] = field(default_factory=dict)

    def said(self, host: str, uri: str = "/", method: str = "GET") -> dict[str, str]:
        """As Traefik and Caddy say it."""
        return {"X-Forwarded-Host": host, "X-Forwarded-Uri": uri, "X-Forwarded-Method": method}

    async def at(self, host: str, path: str, **headers: str) -> httpx2.Response:
        """A request that the proxy passes on to us."""
        jar = self.jars.setdefault(host, {})
        cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        sent = self.said(host, path) | ({"Cookie": cookie} if cookie else {}) | headers
        answer = await self.http.get(self.url + path, headers=sent)
        for name, value in answer.cookies.items():
            jar[name] = value
        return answer

    async def asks(self, host: str, uri: str = "/", method: str = "GET", **headers: str) -> httpx2.Response:
        """The proxy's question about a request of this browser."""
        return await self.at(host, CHECK, **self.said(host, uri, method) | headers)

    async def passes(self, host: str) -> bool:
        return (await self.asks(host)).status_code == 204

    async def begins(self, host: str, to: str = "/") -> str:
        """From the page that somebody wants to the authorization request that they are led to."""
        sent_away = await self.asks(host, to, **NAVIGATION)
        assert sent_away.status_code == 302, sent_away.text
        there = urlsplit(sent_away.headers["location"])
        begun = await self.at(there.netloc, f"{there.path}?{there.query}")
        assert begun.status_code == 303, begun.text
        return str(begun.headers["location"])

    async def is_let_in(self, phone: Phone, host: str, to: str = "/") -> str:
        """The address at the protected host that the login leads back to, with its code."""
        return await answered(phone, await self.begins(host, to))

    async def enters(self, phone: Phone, host: str, to: str = "/") -> httpx2.Response:
        """The whole login."""
        return await self.comes_back(await self.is_let_in(phone, host, to))

    async def comes_back(self, address: str) -> httpx2.Response:
        there = urlsplit(address)
        return await self.at(there.netloc, f"{there.path}?{there.query}")


async def answered(phone: Phone, authorization_url: str) -> str:
    """What the page at the login host does once its browser is logged in, as `phone` is."""
    answer = await phone.post("/authorizations", {"query": urlsplit(authorization_url).query})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["redirectTo"])
