"""Bodies and answers of the calls of `/api/v1/admin` on accounts. Unknown members are ignored."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from pairing_ws.web.wire.accounts import ActivityLine, ActivityLog, DeviceView, PasskeyView, UserView
from pairing_ws.web.wire.apps import AppView
from pairing_ws.web.wire.base import Json, Text, Time
from pairing_ws.web.wire.pairings import Qr
from pairing_ws.web.wire.requests import BoundKey

Email = Annotated[
    Text | UnsetType | None, Meta(description="told to applications by the scope `email`; null or empty: none")
]
EmailVerified = Annotated[
    bool | UnsetType, Meta(description="whether you know that the address is theirs; another address is not verified")
]
Name = Annotated[
    Text | UnsetType | None, Meta(description="the full name, told by the scope `profile`; null or empty: none")
]
Groups = Annotated[
    list[Text] | UnsetType, Meta(description="told by the scope `groups`, 100 at most; they replace all")
]


class NewUser(Json):
    """A new account."""

    id: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_-]{1,64}$",
            description="your own id of this person: the `sub` of all tokens; it never changes",
            examples=["4711"],
        ),
    ]
    username: Annotated[
        Text | None,
        Meta(description="its unique name, 1 to 64 characters, the same whatever its case; the id if absent"),
    ] = None
    email: Email = UNSET
    email_verified: EmailVerified = UNSET
    name: Name = UNSET
    groups: Groups = UNSET


class UserChanges(Json):
    """What to change about what an account tells applications; what is absent stays."""

    email: Email = UNSET
    email_verified: EmailVerified = UNSET
    name: Name = UNSET
    groups: Groups = UNSET


class NewInvite(Json):
    """A link for one device."""

    qr: Annotated[Literal["svg", "png", "none"], Meta(description="the picture of the link to draw")] = "svg"


class Enrolment(Json):
    """What you know of the device beside its headers."""

    ip: Annotated[
        Annotated[str, Meta(max_length=45)] | None,
        Meta(description="the device's address, as your backend saw it; if absent, that of the call itself"),
    ] = None
    device_key: BoundKey = None


class AdminUser(Json, omit_defaults=False):
    """An account, with what it tells applications."""

    id: Annotated[str, Meta(description="its stable id: the `sub` of all tokens")]
    username: Annotated[str, Meta(description="its unique name")]
    created_at: Annotated[Time, Meta(description="when it was made")]
    locked_at: Annotated[Time | None, Meta(description="since when it is locked; null if it is not")]
    email: Annotated[str | None, Meta(description="its e-mail address; null if none is known")]
    email_verified: Annotated[bool, Meta(description="whether the operator knows that the address is theirs")]
    name: Annotated[str | None, Meta(description="the full name; null if none is known")]
    groups: Annotated[list[str], Meta(description="its groups")]


class AdminUsers(Json):
    """A page of all accounts."""

    users: Annotated[list[AdminUser], Meta(description="by id; 100 at most")]
    next: Annotated[str | None, Meta(description="gives the next page, as `after`; absent if this one is the last")] = (
        None
    )


class Invite(Json):
    """A link that logs one device in, once."""

    url: Annotated[str, Meta(description="the link, to be opened on that device; the code follows its `#`")]
    code: Annotated[str, Meta(description="the code alone, for `POST /api/v1/invites/accept`")]
    expires_at: Annotated[Time, Meta(description="until then it works")]
    qr: Annotated[Qr, Meta(description="the link as a QR code")]
    user: Annotated[UserView, Meta(description="the account")]


class AdminDevices(Json):
    """The devices that are logged in to an account."""

    devices: Annotated[list[DeviceView], Meta(description="oldest first")]


class LinkView(Json):
    """That another issuer's person is this account's."""

    issuer: Annotated[str, Meta(description="the issuer, as it stands in `iss` of its tokens")]
    subject: Annotated[str, Meta(description="the person there, as it stands in `sub`")]
    created_at: Annotated[Time, Meta(description="since when")]


class UserExport(Json):
    """All that is kept of an account, but for digests of keys."""

    user: Annotated[AdminUser, Meta(description="the account")]
    devices: Annotated[list[DeviceView], Meta(description="those that are logged in, oldest first")]
    passkeys: Annotated[list[PasskeyView], Meta(description="oldest first")]
    apps: Annotated[list[AppView], Meta(description="those that have access, newest first")]
    links: Annotated[
        list[LinkView], Meta(description="by whom of other issuers the account is logged in to, oldest first")
    ]
    activity: Annotated[
        ActivityLog, Meta(description="a page of what happened; `next`, as `before`, gives the next one")
    ]


class NumberedLine(ActivityLine, kw_only=True):
    """An event in some account."""

    id: Annotated[int, Meta(description="the line's own id: one that is repeated comes again, with a higher `count`")]
    user_id: Annotated[str, Meta(description="the account")]


class Feed(Json, omit_defaults=False):
    """What happened in all accounts since a cursor."""

    activity: Annotated[list[NumberedLine], Meta(description="in the order in which it was written; 100 at most")]
    next: Annotated[str, Meta(description="the cursor from here on, as `after`: keep it, also if nothing has come")]
    more: Annotated[bool, Meta(description="whether there may be more at once")]
