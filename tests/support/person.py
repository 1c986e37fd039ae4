"""Somebody with a logged-in phone, to whom an application sends them: what they do in its browser, without one."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from tests.support.client import Phone


@dataclass
class Person:
    phone: Phone

    async def allows(self, authorization_url: str) -> str:
        """Open the page and say yes; the address that the browser is sent back to."""
        async with httpx2.AsyncClient() as browser:
            page = await browser.get(authorization_url)
        assert page.status_code == 200, page.text
        asked = {"query": urlsplit(authorization_url).query, "decision": "approve"}
        answer = await self.phone.post("/authorizations", asked)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["redirectTo"])

    async def lets_in(self, user_code: str) -> None:
        """Type the code of a device, and say yes."""
        claimed = await self.phone.post("/pairings/claim", {"userCode": user_code})
        assert claimed.status_code == 200, claimed.text
        assert (await self.phone.approve(claimed.json()["id"])).status_code == 200

    async def logs_out(self, logout_url: str) -> str:
        """Follow an application's link to the log-out; where that leads."""
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(logout_url)
        assert answer.status_code in (302, 303), answer.text
        return str(answer.headers["Location"])
