"""The stores of clients and grants of two processes on one database, and logins and grants to put into them."""

import itertools
from dataclasses import dataclass
from typing import Any

import msgspec

from pairing_ws.accounts.ports import Invite, NewSession, User
from pairing_ws.adapters.sql.account_store import SqlAccounts
from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.executor import Database
from pairing_ws.adapters.sql.grant_store import SqlGrants
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.core.devices import NewDevice
from pairing_ws.oauth.ports import Client, Grant, GrantRotation, NewGrant

HOUR_MS = 3_600_000
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Login:
    user_id: str
    session_id: str
    device_id: str
    username: str


class Stores:
    """What one process has on that database."""

    def __init__(self, database: Database) -> None:
        self.accounts = SqlAccounts(database)
        self.users = SqlUsers(database)
        self.clients = SqlClients(database)
        self.grants = SqlGrants(database)
        self.now = 1_000_000

    async def login(self, username: str = "alice", by: Login | None = None, device_id: str = "") -> Login:
        """A device of that account: by an invite, or let in by another one."""
        number = next(_numbers)
        device = NewDevice(code=f"code-{number}", name=f"Device {number}")
        user_id = by.user_id if by else ""
        origin = f"pairing:{number}"
        if by is None:
            fresh = User(id=f"user-{number}", username=username, display_name=username, created_at=self.now)
            invite = Invite(code_hash=f"invite-{number}", user_id=fresh.id, expires_at=self.now + HOUR_MS)
            added = await self.users.add_invite(invite, fresh)
            assert added
            user_id, origin = added.user.id, f"invite:{invite.code_hash}"
        made = Login(user_id, f"session-{number}", device_id or f"device-{number}", by.username if by else username)
        session = NewSession(
            id=made.session_id,
            user_id=user_id,
            device_id=made.device_id,
            origin=origin,
            created_at=self.now,
            idle_until=self.now + 24 * HOUR_MS,
            ends_at=self.now + 48 * HOUR_MS,
            family_hash=f"family-{number}",
            refresh_hash=f"refresh-{number}",
            sealed=b"sealed",
            sealed_until=self.now + 30_000,
        )
        assert await self.accounts.begin_session(session, device, by.session_id if by else None, None, 0)
        return made

    async def client(self, client_id: str = "app", **settings: Any) -> Client:
        made = Client(**{"id": client_id, "name": f"The {client_id}", "created_at": self.now, **settings})
        assert await self.clients.add(made)
        return made

    def new_grant(self, login: Login, **settings: Any) -> NewGrant:
        number = next(_numbers)
        made = NewGrant(
            id=f"grant-{number}",
            user_id=login.user_id,
            client_id="app",
            session_id=login.session_id,
            device_id=login.device_id,
            origin=f"code:{number}",
            scopes=("openid", "email"),
            offline=False,
            created_at=self.now,
            idle_until=self.now + 200 * HOUR_MS,
            ends_at=self.now + 400 * HOUR_MS,
            auth_time=self.now // 1000,
            amr=("qr", "hwk"),
            acr=None,
            ip="192.0.2.7",
            family_hash=f"grant-family-{number}",
            refresh_hash=f"token-{number}-0",
            sealed=b"answer",
            sealed_until=self.now + 30_000,
        )
        return msgspec.structs.replace(made, **settings)

    async def grant(self, login: Login, limit: int = 0, **settings: Any) -> Grant:
        made = await self.grants.begin(self.new_grant(login, **settings), limit)
        assert made
        return made.grant

    def rotation(self, grant: Grant, new_hash: str) -> GrantRotation:
        return GrantRotation(
            grant_id=grant.id,
            old_hash=grant.refresh_hash,
            new_hash=new_hash,
            retired=(),
            idle_until=self.now + 300 * HOUR_MS,
            sealed=b"next answer",
            sealed_until=self.now + 60_000,
            ip="192.0.2.8",
            at=self.now + 5,
            key_thumbprint=grant.key_thumbprint,
        )

    async def why(self, grant: Grant) -> str | None:
        """Why it ended; None while it stands."""
        found = await self.grants.get(grant.id)
        assert found
        assert (found.ended_at is None) == (found.ended_why is None)
        return found.ended_why

    async def owed(self) -> list[str]:
        """The grants of whose end a client has to be told, each once."""
        notices = await self.grants.due_logouts(self.now + HOUR_MS, 0, 1000)
        for each in notices:
            await self.grants.logout_told(each.id)
        return [each.grant_id for each in notices]
