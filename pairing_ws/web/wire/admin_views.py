"""From the stories' records to the types of the wire, for the calls of `/api/v1/admin`."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from pairing_ws.accounts.operator import NumberedActivity
from pairing_ws.accounts.ports import Account
from pairing_ws.accounts.types import NewInvite
from pairing_ws.core.clock import iso
from pairing_ws.oauth.ports import Client
from pairing_ws.upstream.ports import Link
from pairing_ws.web.wire import views
from pairing_ws.web.wire.admin import AdminUser, AdminUsers, Feed, Invite, LinkView, NumberedLine
from pairing_ws.web.wire.admin_clients import AdminClient
from pairing_ws.web.wire.pairings import Qr


def user(account: Account) -> AdminUser:
    record, profile = account
    return AdminUser(
        id=record.id,
        username=record.username,
        created_at=iso(record.created_at),
        locked_at=iso(record.locked_at) if record.locked_at is not None else None,
        email=profile.email,
        email_verified=profile.email_verified,
        name=profile.name,
        groups=list(profile.groups),
    )


def users(found: Sequence[Account], full: int) -> AdminUsers:
    """A page: `full` is how many it has if there may be another one behind it."""
    return AdminUsers(users=[user(each) for each in found], next=found[-1].user.id if len(found) == full else None)


def invite(made: NewInvite, picture: dict[str, str]) -> Invite:
    return Invite(
        url=made.url,
        code=made.code,
        expires_at=iso(made.expires_at),
        qr=Qr(text=made.url, svg=picture.get("svg"), png=picture.get("png")),
        user=views.user(made.user),
    )


def link(record: Link) -> LinkView:
    return LinkView(issuer=record.issuer, subject=record.subject, created_at=iso(record.created_at))


def feed(found: Sequence[NumberedActivity], cursor: int, full: int) -> Feed:
    lines = [
        NumberedLine(id=each.line.id, user_id=each.line.user_id, **msgspec.structs.asdict(views.activity(each.line)))
        for each in found
    ]
    return Feed(activity=lines, next=str(found[-1].seq if found else cursor), more=len(found) == full)


def client(record: Client, secret: str | None = None) -> AdminClient:
    return AdminClient(
        id=record.id,
        name=record.name,
        created_at=iso(record.created_at),
        public=record.is_public,
        redirect_uris=list(record.redirect_uris),
        post_logout_redirect_uris=list(record.post_logout_redirect_uris),
        backchannel_logout_uri=record.backchannel_logout_uri,
        device_grant=record.device_grant.value,
        scopes=list(record.scopes),
        id_token_alg=record.id_token_alg.value,
        access_token_alg=record.access_token_alg.value,
        audience=record.audience or record.id,
        origins=list(record.origins),
        logo_uri=record.logo_uri,
        jwks=dict(record.jwks) if record.jwks else None,
        trusted=record.trusted,
        secret=secret or UNSET,
    )
