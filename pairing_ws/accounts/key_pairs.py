"""Makes the pair of keys of a login or a refresh."""

from pairing_ws.accounts.ports import Tokens
from pairing_ws.accounts.refresh_keys import KeyPair, RefreshKey


class KeyPairIssuer:
    """`auth_key_ms` is how long an authKey lives. `here` names this process's clock in what it dates."""

    def __init__(self, tokens: Tokens, auth_key_ms: int, here: str) -> None:
        self._tokens = tokens
        self._auth_key_ms = auth_key_ms
        self._here = here

    def issue(
        self,
        user_id: str,
        session_id: str,
        device_id: str,
        amr: str,
        key: RefreshKey,
        now: int,
        ends_at: int,
        key_thumbprint: str | None,
        added: bytes | None,
    ) -> KeyPair:
        expires_at = min(now + self._auth_key_ms, ends_at)
        auth_key = self._tokens.issue(
            user_id=user_id,
            session_id=session_id,
            device_id=device_id,
            amr=amr,
            now=now,
            expires_at=expires_at,
            key_thumbprint=key_thumbprint,
            rt_hash=key.half_hash,
            added=added,
        )
        return KeyPair(auth_key, str(key), expires_at, self._here)
