"""What the stories of accounts obey and give: their settings, a login, an invite."""

from dataclasses import dataclass
from typing import NamedTuple

from pairing_ws.accounts.ports import Device, User
from pairing_ws.accounts.refresh_keys import KeyPair


@dataclass(frozen=True)
class Policy:
    """The settings this story obeys. Times in milliseconds. `step_up`: whether approvals need a proof."""

    auth_key: int = 600_000
    refresh_key: int = 30 * 86_400_000
    session: int = 365 * 86_400_000
    quarantine: int = 3_600_000
    refresh_repeat: int = 86_400_000
    device_limit: int = 20
    step_up: bool = False
    public_url: str = "http://localhost:8000"


class LoggedIn(NamedTuple):
    """What a login, an accepted invite or a refresh gives: a pair of keys, and whose they are."""

    key_pair: KeyPair
    user: User
    device: Device
    now: int


class Vouched(NamedTuple):
    """Another issuer's word for a person. `origin` (`upstream:…`, `exchange:…`) is unique: it counts once. `proved_at`:
    when the person proved to be there, if that is known."""

    origin: str
    user_id: str
    proved_at: int | None


class NewInvite(NamedTuple):
    user: User
    code: str
    url: str
    expires_at: int
    is_new: bool
    """Whether it made the account."""
