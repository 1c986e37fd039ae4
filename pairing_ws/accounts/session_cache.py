"""Sessions that this process has read lately, by account."""

from pairing_ws.accounts.ports import Session

# Another process learns of a revocation this late at most; the contract allows 5 s.
SESSION_CACHE_MS = 2_000
MAX_ACCOUNTS = 50_000

# session id → (until when it may be used, session). Times in milliseconds.
CachedSessions = dict[str, tuple[int, Session]]


class SessionCache:
    """What one process has read. Forgets all when it has grown too large."""

    def __init__(self) -> None:
        self._accounts: dict[str, CachedSessions] = {}

    def of_account(self, user_id: str) -> CachedSessions:
        """To be asked for before reading: if the account is forgotten meanwhile, no later call uses what was read."""
        if len(self._accounts) > MAX_ACCOUNTS:
            self._accounts.clear()
        return self._accounts.setdefault(user_id, {})

    def forget(self, user_id: str) -> None:
        self._accounts.pop(user_id, None)
