"""The pairing calls of the contract. Each reads the request, asks the story once, and spells the answer."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

from starlette.responses import Response

from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Callback
from pairing_ws.pairing.claim_codes import RESERVED_MS
from pairing_ws.pairing.types import ByKey, BySecret, Holder, View
from pairing_ws.pairing.watcher import PairingWatcher, Read
from pairing_ws.web.polling import number, tagged, wait_of, when_changed
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse, key_pair, qr_picture
from pairing_ws.web.wire import views
from pairing_ws.web.wire.pairings import OpenPairings, ReservedCode
from pairing_ws.web.wire.requests import (
    ClaimRequest,
    CreateRequest,
    DenyRequest,
    LoginRequest,
    PresenceRequest,
    ReserveCodeRequest,
    UserCodeRequest,
)


async def create(request: RequestContext) -> Response:
    """Create a pairing: device B without a credential (flow 2), device A with its authKey (flow 1)."""
    wanted = await read_body(request, CreateRequest)
    creator, secret = await request.claimant(wanted.device_key)
    made = await request.services.pairings.creation.create(creator, request.ip, secret)
    picture = await qr_picture(made.qr_text, wanted.qr)
    location = f"{urlsplit(request.services.settings.public_url).path}/api/v1/pairings/{made.view.pairing.id}"
    return JsonResponse(views.created(made, picture), 201, (b"location", location.encode()))


async def list_open(request: RequestContext) -> Response:
    """List the pairings that this session may still decide or show: for a page that was loaded again."""
    found = await request.services.pairings.views.open_of(await request.by_key())
    return JsonResponse(OpenPairings(pairings=[views.pairing(each) for each in found]))


async def be_present(request: RequestContext) -> Response:
    """Say that the new device's page was left, which ends the pairing in 15 s, or that it is back in time."""
    wanted = await read_body(request, PresenceRequest)
    view = await request.services.pairings.decisions.be_present(request.id, request.by_secret(), here=wanted.here)
    return JsonResponse(views.pairing(view))


async def read(request: RequestContext) -> Response:
    """Read a pairing; with `wait`, once its version is greater than `since`."""
    pairing_id, holder = request.id, await request.holder()
    since, wait = number(request, "since"), wait_of(request)
    view = await request.services.pairings.views.view(pairing_id, holder)
    if wait and since is not None and view.pairing.version <= since and not view.pairing.final:
        view = await _changed(request, pairing_id, holder, since, wait)
    return tagged(request, views.pairing(view), f'"{view.pairing.version}"')


async def _changed(request: RequestContext, pairing_id: str, holder: Holder, since: int, wait: int) -> View:
    """The pairing once it is newer than `since`, or as it is when `wait` seconds are over."""
    pairings, accounts = request.services.pairings, request.services.accounts
    approver = holder.approver if isinstance(holder, ByKey) else None

    def subscriptions(callback: Callback) -> Iterator[AbstractAsyncContextManager[None]]:
        yield pairings.views.watch(pairing_id, callback)
        if approver:
            yield accounts.sessions.watch(approver.user_id, approver.session_id, callback)

    async def read(command: Read) -> View:
        view = await pairings.views.view_after_notification(pairing_id, holder, command.notification, command.known)
        if approver and await accounts.sessions.reload_if_alive(approver.session_id, request.signed_by) is None:
            # What is read after the end of a session is not for it any more.
            raise unauthenticated()
        return view

    return await when_changed(request, wait, PairingWatcher(known=since), subscriptions, read)


async def claim(request: RequestContext) -> Response:
    """Claim a pairing by its scanned code. A claim ties the second device to it, and is not consent."""
    wanted = await read_body(request, ClaimRequest)
    claimant, secret = await request.claimant(wanted.device_key)
    pairings = request.services.pairings
    return _claimed(
        *await pairings.claims.claim(request.id, codes.normal_code(wanted.code), claimant, request.ip, secret)
    )


async def reserve_code(request: RequestContext) -> Response:
    """Exchange a scanned code for one with which the same caller can claim within 60 s. Changes nothing."""
    wanted = await read_body(request, ReserveCodeRequest)
    holder = await request.holder()
    if isinstance(holder, BySecret) and not codes.is_secret(holder.secret):
        # One that anybody could have would make the code anybody's.
        raise Refused(Code.BAD_REQUEST, codes.SHAPE_OF_SECRETS)
    code = await request.services.pairings.claims.reserve_code(
        request.id, codes.normal_code(wanted.code), holder, request.ip
    )
    return JsonResponse(ReservedCode(code=code, expires_in=RESERVED_MS // 1000))


async def claim_by_user_code(request: RequestContext) -> Response:
    """Claim a pairing by its typed code. Every failure is the same 404, and counts."""
    wanted = await read_body(request, UserCodeRequest)
    claimant, secret = await request.claimant(wanted.device_key)
    claims = request.services.pairings.claims
    return _claimed(*await claims.claim_by_user_code(wanted.user_code, claimant, request.ip, secret))


def _claimed(view: View, secret: str | None) -> Response:
    return JsonResponse(views.claimed(view, secret))


async def approve(request: RequestContext) -> Response:
    """Approve a pairing, as the device that claimed (flow 2) or created (flow 1) it."""
    return JsonResponse(
        views.pairing(await request.services.pairings.decisions.approve(request.id, await request.by_key()))
    )


async def deny(request: RequestContext) -> Response:
    """Deny a pairing; with `report`, also say that you did not start it."""
    wanted = await read_body(request, DenyRequest)
    holder = await request.by_key()
    view = await request.services.pairings.decisions.deny(request.id, holder, report=wanted.report)
    return JsonResponse(views.pairing(view))


async def cancel(request: RequestContext) -> Response:
    """Cancel a pairing, as its creator."""
    await request.services.pairings.decisions.cancel(request.id, await request.holder())
    return Response(status_code=204)


async def log_in(request: RequestContext) -> Response:
    """Exchange the approved pairing for keys, exactly once; repeatable for 30 s while neither key was used."""
    wanted = await read_body(request, LoginRequest)
    holder = request.by_secret()
    given = await request.services.pairings.logins.log_in(
        request.id, holder, wanted.number, request.device_code(), request.prove
    )
    return key_pair(given, request.services, cookie=wanted.keys == "cookie")
