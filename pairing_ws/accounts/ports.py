"""The records of accounts, and what their story asks of its store and its signer. Times in milliseconds."""

from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

import msgspec

from pairing_ws.accounts.ended import EndedGrant, Revoked
from pairing_ws.core.devices import NewDevice


class User(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    username: str
    display_name: str
    created_at: int
    locked_at: int | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What an account tells an application, each by its scope."""

    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    groups: tuple[str, ...] = ()


class Account(NamedTuple):
    user: User
    profile: Profile


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One installation in one account, logged in as long as it has a live session.

    Its id is a digest of account and code, so that a pairing can name the device before SQL knows it.
    """

    id: str
    user_id: str
    name: str
    os: str
    app_version: str
    created_at: int
    last_seen_at: int
    last_ip: str
    paired_by: str | None
    quarantine_until: int | None = None
    # What it calls itself; `name` is another one since a person has renamed it.
    reported_name: str | None = None


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session about to begin. `origin` is unique: it makes a login happen once. What it begins with says by what:
    `pairing:…`, `invite:…`, `host:…`, or another issuer's word, `upstream:…` and `exchange:…`."""

    id: str
    user_id: str
    device_id: str
    origin: str
    created_at: int
    idle_until: int
    ends_at: int
    family_hash: str
    refresh_hash: str
    sealed: bytes
    sealed_until: int
    verified_at: int | None = None
    key_thumbprint: str | None = None
    claims: bytes | None = None


class StartedSession(NamedTuple):
    """A session that has started: its account, its device as stored, whether older sessions of that device ended, and
    the grants that needed those."""

    user: User
    device: Device
    ended_older: bool
    ended_grants: Sequence[EndedGrant]


class Retired(msgspec.Struct, frozen=True):
    """A refresh key that was exchanged. `at`: when, and once its successor has been used, when that was first used.

    Remembered for a grace after that use, so that a late double is not taken for theft. `by`: whose clock `at` is by.
    """

    hash: str
    at: int
    by: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its account and device, as one read gives them.

    `verified_at`: when a person last proved to be there, rather than a key: an invite, a passkey, the host's assertion.
    With `key_thumbprint` its keys are worth nothing without a proof by that key (see `ports.Prove`). `signed_by` is the
    id of the key that had signed the authKey by which it was known again. `claims` is the JSON object that the host
    application has added to its authKeys.
    """

    id: str
    user: User
    device: Device
    origin: str
    created_at: int
    idle_until: int
    ends_at: int
    refresh_hash: str
    retired: tuple[Retired, ...] = ()
    sealed: bytes | None = None
    sealed_until: int = 0
    revoked_at: int | None = None
    verified_at: int | None = None
    key_thumbprint: str | None = None
    # `replaced` (its device's code came again), `revoked`, `logged_out`, `key_reused`.
    ended_why: str | None = None
    claims: bytes | None = None
    signed_by: str = ""

    @property
    def amr(self) -> str:
        """See `amr_of`."""
        return amr_of(self.origin)

    @property
    def answered_at(self) -> int:
        """When the answer in `sealed` was made."""
        return self.retired[-1].at if self.retired else self.created_at

    def alive_at(self, now: int) -> bool:
        return self.revoked_at is None and now < self.idle_until and now < self.ends_at


def amr_of(origin: str) -> str:
    """How such a session begins, as the authKey tells it (RFC 8176): `qr`, `invite`, `host` (the host application has
    let the device in), `upstream` (the provider that people may log in with), `exchange` (another issuer's token)."""
    kind = origin.partition(":")[0]
    return "qr" if kind == "pairing" else kind


class Invite(msgspec.Struct, frozen=True, kw_only=True):
    code_hash: str
    user_id: str
    expires_at: int
    used_at: int | None = None


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what happened to an account. `by_name`: the device that did it, where the line names another, or a
    passkey.

    It stands for `count` times, the last of them `at`, the first `first_at` (None: the same). `id` is the store's.
    """

    user_id: str
    at: int
    event: str
    device_id: str | None = None
    device_name: str | None = None
    ip: str | None = None
    by_name: str | None = None
    count: int = 1
    first_at: int | None = None
    id: int = 0


class Position(NamedTuple):
    """Where a page of activity ends: lines further down are older, or as old with a lower id."""

    at: int
    id: int


LOGIN = "device.added"
# What a device can make happen as often as it likes, one in quarantine included, by names of its own choice.
AT_WILL = frozenset({
    "app.added", "app.revoked", "device.renamed", "passkey.copied", "pairing.denied", "pairing.number_missed",
    "pairing.reported",
})  # fmt: skip
# Within this, a line that says the same as one before it counts there.
REPEATED_MS = 3_600_000
# So many lines of a kind that is `AT_WILL` a device gets within that time; further ones count in the newest of them.
LINES_AT_WILL = 5


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh changes in a session, if `old_hash` is still its current key."""

    session_id: str
    old_hash: str
    new_hash: str
    retired: tuple[Retired, ...]
    idle_until: int
    sealed: bytes
    sealed_until: int
    ip: str
    at: int


class AccountStore(Protocol):
    """Devices, sessions, activity. Every method is one transaction; a cancelled one leaves nothing.
    Whatever writes a line of activity merges it as `REPEATED_MS` and `LINES_AT_WILL` say, logins apart.

    Any call raises Unavailable when the database is away.
    """

    async def begin_session(
        self, session: NewSession, device: NewDevice, approved_by: str | None, quarantine_until: int | None, limit: int
    ) -> StartedSession | None:
        """Create the session, register or overwrite its device, end the device's older sessions, write the activity. Of
        the device's record only a name stays that a person has given it.

        None if a session of that origin exists: then nothing was changed.
        `approved_by` is the id of the session that approved; without one quarantine starts only if the account has
        other devices, and an invite is marked as used in the same transaction. In quarantine it takes its
        push address from no other device (see `set_push_token`). Raises ACCOUNT_LOCKED,
        DEVICE_LIMIT (`limit` 0: none), and PAIRING_DENIED when the session that approved no longer stands.
        """

    async def check_session(self, user_id: str, device_id: str, approved_by: str, now: int, limit: int) -> None:
        """Raises what `begin_session` would if that session let this device in now. Changes nothing."""

    async def session(self, session_id: str) -> Session | None:
        """The session, whether it is alive or not; None once it was tidied away."""

    async def live_sessions(self, session_ids: Collection[str], now: int) -> Set[str]:
        """See `monitor.SessionStates`."""

    async def seen(self, session_ids: Collection[str], now: int, idle_until: int) -> None:
        """See `monitor.SessionStates`."""

    async def session_of_origin(self, origin: str) -> Session | None:
        """The one session that this pairing or invite began, alive or not."""

    async def session_of_family(self, family_hash: str) -> Session | None:
        """The one session whose refreshKeys have this digest of their family, alive or not."""

    async def rotate(self, rotation: Rotation) -> bool:
        """True for exactly one caller per `old_hash`; False also once the session is revoked."""

    async def forget_sealed(self, session_id: str, refresh_hash: str, retired: tuple[Retired, ...]) -> None:
        """Erase the repeatable answer that holds this refresh key, for one of its keys has been used, and store
        `retired`. Nothing changes if it was erased before."""

    async def end_session(self, session_id: str, at: int, activity: Activity) -> Sequence[EndedGrant]:
        """End it for the reason in `activity.event`, drop its device's push address and write the line; the grants that
        ended along. Nothing changes if it has ended before."""

    async def devices(self, user_id: str, now: int) -> Sequence[Device]:
        """The devices with a live session, oldest first."""

    async def devices_seen_by(self, session_id: str, user_id: str, now: int) -> Sequence[Device] | None:
        """The same for who has that session; None once it has ended, or the account is locked."""

    async def rename(self, user_id: str, device_id: str, name: str, activity: Activity) -> bool:
        """Name the device and write the line. False, with nothing changed, if the account has no such device."""

    async def set_push_token(
        self, user_id: str, device_id: str, push_token: str, now: int, *, only_if_free: bool
    ) -> None:
        """Also takes the address away from the account's other devices. If it is `only_if_free`, nothing changes where
        another one that is logged in has it."""

    async def drop_push_token(self, push_token: str) -> None:
        """Take the address away from every device of every account: the push service no longer knows it."""

    async def push_addresses(self, user_id: str, now: int, *, exclude: str) -> Sequence[str]:
        """Of the devices with a live session, all but that one."""

    async def revoke(
        self,
        user_id: str,
        device_id: str,
        at: int,
        activity: Activity,
        *,
        by: str,
        descendants: bool,
        passkeys: bool,
    ) -> Revoked | None:
        """Log a device out: end its session, drop its push address; what this ended.

        With `descendants` also every device that it let in, directly or not, at any of their logins, but not the one
        that asks (`by`); then it may have left itself. None if the account has no such device. Each device that it let
        in is either ended, or is not let in any more, however close the race. The activity is written with the
        device's id and name, if anything ended. With `passkeys` those are removed that any of these devices has ever
        added, `by` apart, each with a line of its own. Without `descendants` nothing changes for a device that has
        left: the call is repeated.
        """

    async def descendants(self, user_id: str) -> Mapping[str, Set[str]]:
        """Of each device that ever let others in: which `revoke` would mean by its descendants, itself among them."""

    async def revoke_others(self, user_id: str, except_device: str, at: int, activity: Activity) -> Revoked:
        """Log out all devices of the account but one."""

    async def activity(
        self, user_id: str, limit: int, before: Position | None = None, *, logins: bool | None = None
    ) -> Sequence[Activity]:
        """The newest lines first: all, the logins alone, or all but the logins."""

    async def note(self, activity: Activity, pairing_id: str = "") -> None:
        """Write the line, unless its account is gone: what it says of that pairing, if it does."""

    async def invite(self, code_hash: str) -> Invite | None:
        """The invite, whether it is used, expired or neither."""

    async def tidy(self, now: int) -> None:
        """Drop what no call can ask for any more: ended sessions, stale invites, old activity, sealed answers."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What an authKey says, once its signature and claims hold. Times in seconds, as in the JWT; `ms` are the
    milliseconds of `iat`. `rt_hash` is of the refreshKey it came with, see `Tokens.issue`. Keys of older versions say
    neither. `signed_by` is the id of the key that signed it."""

    sub: str
    sid: str
    did: str
    iat: int
    exp: int
    ms: int = 999
    rt_hash: str = ""
    signed_by: str = ""


class Tokens(Protocol):
    def issue(
        self,
        *,
        user_id: str,
        session_id: str,
        device_id: str,
        amr: str,
        now: int,
        expires_at: int,
        key_thumbprint: str | None = None,
        rt_hash: str = "",
        added: bytes | None = None,
    ) -> str:
        """A signed authKey, which names the key that it is bound to, and the answer that it is part of by the left half
        of its refreshKey's digest (as OpenID Connect's `at_hash` does). `added` are further claims, as a JSON object;
        those in `login_hook.RESERVED_CLAIMS` are left out."""

    def verify(self, token: str, now: int) -> Claims | None:
        """The claims, or None whatever is wrong with it."""

    def trusts(self, signed_by: str) -> bool:
        """Whether that signing key has not been withdrawn."""
