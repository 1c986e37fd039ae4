"""What a server refuses with, and what no answer at all is."""

import json
from collections.abc import Mapping
from typing import Any

UNREACHABLE = "unreachable"
# With these the same call may succeed a little later, and gets the same answer if it had succeeded before.
PASSING = frozenset({UNREACHABLE, "unavailable", "rate_limited", "request_timeout", "internal_error"})


class Problem(Exception):
    """A refusal (RFC 9457). `code` is the stable word, `detail` is for people, `status` is HTTP's; `retry_after` is in
    seconds, and `members` are the whole document. With `code` "unreachable" and `status` 0 no answer came."""

    def __init__(
        self,
        code: str,
        status: int = 0,
        detail: str = "",
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})" if detail else code)
        self.code = code
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.members = members or {}

    @property
    def passes(self) -> bool:
        """Whether it makes sense to repeat the same call."""
        return self.code in PASSING

    @classmethod
    def read(cls, status: int, body: bytes) -> "Problem":
        """From an answer; one that is none of this server's, as a proxy's, is a fault by its status."""
        try:
            members = json.loads(body)
            code = members["code"]
        except (ValueError, LookupError, TypeError):
            return cls("unavailable" if status >= 500 else f"http_{status}", status)
        retry_after = members.get("retryAfter")
        return cls(
            str(code),
            status,
            str(members.get("detail") or members.get("title", "")),
            float(retry_after) if isinstance(retry_after, int | float) else None,
            members,
        )
