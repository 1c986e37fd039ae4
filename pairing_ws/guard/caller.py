"""What a protected route is told of the one who calls it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls: a person's own device, which has a `device_id`, or an application for them, which has a `client_id`
    and may do what its `scopes` say.

    `user_id` is the token's `sub`. `session_id` is its `sid`: the device's session, or the application's grant.
    `claims` are all that the token says, verified.
    """

    user_id: str
    session_id: str
    device_id: str | None
    client_id: str | None
    scopes: frozenset[str]
    claims: Mapping[str, Any]

    @classmethod
    def named_by(cls, claims: Mapping[str, Any]) -> "Caller":
        return cls(
            user_id=claims["sub"],
            session_id=claims["sid"],
            device_id=claims.get("did"),
            client_id=claims.get("client_id"),
            scopes=frozenset(claims.get("scope", "").split()),
            claims=claims,
        )
