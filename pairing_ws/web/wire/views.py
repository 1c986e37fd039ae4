"""From the stories' records to the types of the wire."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from msgspec import UNSET, Raw, UnsetType

from pairing_ws.accounts import ports as accounts
from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.types import LoggedIn
from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Code
from pairing_ws.core.network import Place
from pairing_ws.oauth import consent
from pairing_ws.oauth.apps import App
from pairing_ws.oauth.redirects import shown_host
from pairing_ws.pairing.machine import ClientRequest, Pairing, Status
from pairing_ws.pairing.types import Created, Role, View
from pairing_ws.web.wire.accounts import (
    ActivityLine,
    ActivityLog,
    Devices,
    DeviceView,
    Keys,
    Me,
    PasskeyView,
    SessionView,
    UserView,
)
from pairing_ws.web.wire.apps import AppView
from pairing_ws.web.wire.oauth import AskingClient, Authorization, Question
from pairing_ws.web.wire.pairings import (
    ClaimedPairing,
    ClientView,
    CreatedPairing,
    NewDeviceView,
    Observed,
    PairingView,
    PlaceView,
    Qr,
    Reported,
    Rotation,
)

# Of what may stand in the way of an approval, what its approver may still see: others end their session.
OBSTACLES = frozenset({Code.DEVICE_LIMIT, Code.DEVICE_QUARANTINED})


def pairing(view: View, kind: type[PairingView] = PairingView, **more: Any) -> PairingView:
    """One party's view. B learns nothing of the account: whatever names it is in the approver's part."""
    record = view.pairing
    if view.role is Role.APPROVER:
        more["new_device"] = _new_device(record)
        more["client"] = _client(record.client)
        more["warnings"] = [each.value for each in record.warnings] or UNSET
        more["number"] = view.number or UNSET
        more["obstacle"] = view.obstacle.value if view.obstacle in OBSTACLES else UNSET
    if record.away:
        more["away"] = True
    if record.scanned_at:
        more["scanned_at"] = iso(record.scanned_at)
    if record.approved_at:
        more["approved_at"] = iso(record.approved_at)
    if record.rotate_ms and record.status is Status.PENDING:
        more["elapsed_ms"] = max(0, view.now - record.created_at)
    return kind(
        id=record.id,
        # Polls ask for these most: `.value` would take three times as long.
        initiator=record.initiator._value_,
        status=record.status._value_,
        verification=record.verification._value_,
        version=record.version,
        created_at=iso(record.created_at),
        expires_at=iso(record.expires_at),
        expires_in=0 if record.final else max(0, -(-(record.expires_at - view.now) // 1000)),
        **more,
    )


def _new_device(record: Pairing) -> NewDeviceView | UnsetType:
    device = record.new_device
    if device is None:
        return UNSET
    return NewDeviceView(
        reported=Reported(name=device.name, os=device.os or None, app_version=device.app_version or None),
        observed=Observed(
            ip=device.ip, user_agent=device.user_agent, network=record.network.value, place=_place(record.place)
        ),
        device_id=record.login_device_id,
    )


def _client(asks: ClientRequest | None) -> ClientView | UnsetType:
    if asks is None:
        return UNSET
    return ClientView(id=asks.id, name=asks.name, scopes=list(asks.scopes), logo_uri=asks.logo_uri)


def _place(known: Place | None) -> PlaceView | None:
    if known is None:
        return None
    return PlaceView(country_code=known.country_code or None, country=known.country or None, city=known.city or None)


def created(made: Created, picture: dict[str, str]) -> PairingView:
    rotate = Rotation(seed=made.seed, seconds=made.view.pairing.rotate_ms // 1000) if made.seed else None
    return pairing(
        made.view,
        CreatedPairing,
        user_code=made.user_code,
        qr=Qr(text=made.qr_text, rotate=rotate, **picture),
        secret=made.secret or UNSET,
    )


def claimed(view: View, secret: str | None) -> PairingView:
    return pairing(view, ClaimedPairing, secret=secret or UNSET)


def device(record: accounts.Device, current: str | None, now: int) -> DeviceView:
    in_quarantine = record.quarantine_until is not None and record.quarantine_until > now
    return DeviceView(
        id=record.id,
        name=record.name,
        os=record.os,
        app_version=record.app_version,
        created_at=iso(record.created_at),
        last_seen_at=iso(record.last_seen_at),
        last_ip=record.last_ip,
        paired_by=record.paired_by,
        current=record.id == current,
        quarantine_until=iso(record.quarantine_until or 0) if in_quarantine else UNSET,
        reported_name=UNSET if record.reported_name in (None, record.name) else record.reported_name,
    )


def devices(
    found: Sequence[accounts.Device], came_of: Mapping[str, Set[str]], version: str, current: str, now: int
) -> Devices:
    views = [device(each, current, now) for each in found]
    here = [each.id for each in found if each.id != current]
    for view in views:
        along = [each for each in here if each != view.id and each in came_of.get(view.id, ())]
        view.descendants = along or UNSET
    return Devices(devices=views, version=version)


def user(record: accounts.User) -> UserView:
    return UserView(id=record.id, username=record.username, display_name=record.display_name)


def keys(given: LoggedIn, *, with_refresh_key: bool) -> Keys:
    return Keys(
        auth_key=given.key_pair.auth_key,
        refresh_key=given.key_pair.refresh_key if with_refresh_key else None,
        expires_in=max(0, (given.key_pair.expires_at - given.now) // 1000),
        expires_at=iso(given.key_pair.expires_at),
        user=user(given.user),
        device=device(given.device, given.device.id, given.now),
        host=Raw(given.key_pair.host) if given.key_pair.host else UNSET,
    )


def me(session: accounts.Session, now: int) -> Me:
    mine = device(session.device, session.device.id, now)
    until = mine.quarantine_until
    return Me(
        user=user(session.user),
        device=mine,
        session=SessionView(
            id=session.id,
            created_at=iso(session.created_at),
            expires_at=iso(session.ends_at),
            amr=[session.amr],
            jkt=session.key_thumbprint,
        ),
        quarantine_until=None if until is UNSET else until,
    )


def passkey(record: Passkey) -> PasskeyView:
    return PasskeyView(
        id=record.id,
        name=record.name,
        created_at=iso(record.created_at),
        added_by=record.device_id,
        last_used_at=iso(record.last_used_at) if record.last_used_at else None,
    )


def activity_log(lines: Sequence[accounts.Activity], full: int) -> ActivityLog:
    """A page: `full` is how many lines it has if there may be another one behind it."""
    last = lines[-1] if len(lines) == full else None
    return ActivityLog(activity=[activity(each) for each in lines], next=f"{last.at}-{last.id}" if last else None)


def activity(line: accounts.Activity) -> ActivityLine:
    return ActivityLine(
        at=iso(line.at),
        event=line.event,
        device_id=line.device_id,
        device_name=line.device_name,
        ip=line.ip,
        by_name=line.by_name,
        count=line.count,
        first_at=iso(line.first_at) if line.first_at is not None else None,
    )


def authorization(answer: consent.Redirect | consent.Question) -> Authorization:
    if isinstance(answer, consent.Redirect):
        return Authorization(redirect_to=answer.to)
    client = answer.client
    asking = AskingClient(
        id=client.id, name=client.name, host=shown_host(answer.redirect_uri), logo_uri=client.logo_uri
    )
    question = Question(
        needs=answer.needs,
        client=asking,
        scopes=list(answer.scopes),
        missing=list(answer.missing),
        started=answer.started,
    )
    return Authorization(question=question)


def app(found: App) -> AppView:
    grant, client = found
    return AppView(
        id=grant.id,
        client_id=client.id,
        name=client.name,
        scopes=list(grant.scopes),
        created_at=iso(grant.created_at),
        last_used_at=iso(grant.last_used_at),
        last_ip=grant.last_ip,
        let_in_by=grant.device_id,
        offline=grant.offline,
        logo_uri=client.logo_uri,
    )
