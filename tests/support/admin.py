"""The host application's backend as the tests play it: the key that servers have, and thin helpers over the wire."""

from dataclasses import dataclass
from typing import Any

import httpx2

from tests.support.client import Api, Phone, device_headers

ADMIN_KEY = "T0x5u8Qm2vR7kLw9ZbNc4dYfHgJa6sPe1iUo3tXyBzE"
OTHER_KEY = "Zk3pW8sQvL1mT6yRb9XcN2hD5fGjA7uE4oIwPzKtYxB"
BEARER = {"Authorization": f"Bearer {ADMIN_KEY}"}
# Of servers whose admin calls are tried.
WITH_ADMIN: dict[str, Any] = {"PAIRING_ADMIN_KEY": ADMIN_KEY}
WITH_ADMIN_INSIDE: dict[str, Any] = {"admin_key": ADMIN_KEY}


@dataclass
class Backend:
    """Asks one server's `/api/v1/admin`, by that key."""

    api: Api
    key: str = ADMIN_KEY

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        own = {"Authorization": f"Bearer {self.key}", **headers}
        return await self.api.http.request(method, f"/admin{path}", json=body, headers=own)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def create(self, user_id: str, **more: Any) -> dict[str, Any]:
        answer = await self.ask("POST", "/users", {"id": user_id, **more})
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    async def enrol(self, user_id: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Headers of the device beside those that it needs, and `Idempotency-Key`."""
        return await self.ask("POST", f"/users/{user_id}/devices", body or {}, **device_headers() | headers)

    async def phone(self, user_id: str, **headers: str) -> Phone:
        """A device of that account, which is made if there is none."""
        await self.create(user_id)
        answer = await self.enrol(user_id, **headers)
        assert answer.status_code == 200, answer.text
        return Phone(self.api, answer.json())

    async def feed(self, after: str | None = None) -> tuple[list[dict[str, Any]], str]:
        """All lines that are there, and the cursor behind them."""
        lines: list[dict[str, Any]] = []
        while True:
            page = await self.get("/activity" + (f"?after={after}" if after else ""))
            lines += page["activity"]
            after = page["next"]
            if not page["more"]:
                return lines, after
