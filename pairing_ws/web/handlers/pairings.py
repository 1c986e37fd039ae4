"""The pairing calls of the contract. Each reads the request, asks the story once, and spells the answer."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from urllib.parse import urlsplit

from starlette.responses import Response

from pairing_ws.accounts.service import unauthenticated
from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Callback
from pairing_ws.pairing.claim_codes import KEPT_MS
from pairing_ws.pairing.types import ByKey, BySecret, Holder, View
from pairing_ws.web import wire
from pairing_ws.web.http import Caller, JsonResponse, body, give_keys
from pairing_ws.web.polling import number, tagged, wait_of, when_changed


async def create(caller: Caller) -> Response:
    """Make a pairing: device B without a credential (flow 2), device A with its authKey (flow 1)."""
    wanted = await body(caller, wire.CreateRequest)
    creator, secret = await caller.claimant(wanted.device_key)
    made = await caller.services.pairings.create(creator, caller.ip, secret)
    picture = await _picture(made.qr_text, wanted.qr)
    location = f"{urlsplit(caller.services.settings.public_url).path}/api/v1/pairings/{made.view.pairing.id}"
    return JsonResponse(wire.created(made, picture), 201, (b"location", location.encode()))


async def _picture(text: str, kind: str) -> dict[str, str]:
    if kind == "none":
        return {}
    # Not needed before the first picture: 20 ms of a start.
    qr = await asyncio.to_thread(import_module, "pairing_ws.web.qr")
    return {kind: await asyncio.to_thread(qr.draw, text, kind)}


async def list_open(caller: Caller) -> Response:
    """What this session may still decide or show: for a page that was loaded again."""
    views = await caller.services.pairings.open_of(await caller.by_key())
    return JsonResponse(wire.OpenPairings(pairings=[wire.pairing(each) for each in views]))


async def be_present(caller: Caller) -> Response:
    """The new device's page is left, and the pairing ends in 15 s; or it is there again, and nothing has happened."""
    wanted = await body(caller, wire.PresenceRequest)
    view = await caller.services.pairings.be_present(caller.id, caller.by_secret(), here=wanted.here)
    return JsonResponse(wire.pairing(view))


async def read(caller: Caller) -> Response:
    """Poll a pairing; with `wait`, until its version is greater than `since`."""
    pairing_id, holder = caller.id, await caller.holder()
    since, wait = number(caller, "since"), wait_of(caller)
    view = await caller.services.pairings.view(pairing_id, holder)
    if wait and since is not None and not _is_newer(view, since):
        view = await _changed(caller, pairing_id, holder, since, wait)
    return tagged(caller, wire.pairing(view), f'"{view.pairing.version}"')


def _is_newer(view: View, since: int) -> bool:
    return view.pairing.version > since or view.pairing.final


async def _changed(caller: Caller, pairing_id: str, holder: Holder, since: int, wait: int) -> View:
    """The pairing once it is newer than `since`, or as it is when `wait` seconds are over."""
    pairings, accounts = caller.services.pairings, caller.services.accounts
    approver = holder.approver if isinstance(holder, ByKey) else None

    def watches(wake: Callback) -> Iterator[AbstractAsyncContextManager[None]]:
        yield pairings.watch(pairing_id, wake)
        if approver:
            yield accounts.watch(approver.user_id, approver.session_id, wake)

    async def look() -> tuple[View, float | None]:
        view = await pairings.view(pairing_id, holder)
        if approver and await accounts.reload_if_alive(approver.session_id, caller.signed_by) is None:
            # What is read after the end of a session is not for it any more.
            raise unauthenticated()
        return view, None if _is_newer(view, since) else view.expires_in

    return await when_changed(caller, wait, watches, look)


async def claim(caller: Caller) -> Response:
    """The scan: tie the other device to the pairing. It is not consent."""
    wanted = await body(caller, wire.ClaimRequest)
    claimant, secret = await caller.claimant(wanted.device_key)
    pairings = caller.services.pairings
    return _claimed(*await pairings.claim(caller.id, codes.normal_code(wanted.code), claimant, caller.ip, secret))


async def keep(caller: Caller) -> Response:
    """Get a code that can wait for a press, for 60 s and for the asker alone. Changes nothing."""
    wanted = await body(caller, wire.KeepRequest)
    holder = await caller.holder()
    if isinstance(holder, BySecret) and not codes.is_secret(holder.secret):
        # One that anybody could have would make the code anybody's.
        raise Refused(Code.BAD_REQUEST, codes.SHAPE_OF_SECRETS)
    code = await caller.services.pairings.keep(caller.id, codes.normal_code(wanted.code), holder, caller.ip)
    return JsonResponse(wire.KeptCode(code=code, expires_in=KEPT_MS // 1000))


async def claim_by_user_code(caller: Caller) -> Response:
    """Claim by the typed code. Every failure is the same 404, and counts."""
    wanted = await body(caller, wire.UserCodeRequest)
    claimant, secret = await caller.claimant(wanted.device_key)
    pairings = caller.services.pairings
    return _claimed(*await pairings.claim_by_user_code(wanted.user_code, claimant, caller.ip, secret))


def _claimed(view: View, secret: str | None) -> Response:
    return JsonResponse(wire.claimed(view, secret))


async def approve(caller: Caller) -> Response:
    """Consent, by the device that claimed (flow 2) or created (flow 1) the pairing."""
    return JsonResponse(wire.pairing(await caller.services.pairings.approve(caller.id, await caller.by_key())))


async def deny(caller: Caller) -> Response:
    """Refuse; with `report`, say that you did not start it."""
    wanted = await body(caller, wire.DenyRequest)
    holder = await caller.by_key()
    view = await caller.services.pairings.deny(caller.id, holder, report=wanted.report)
    return JsonResponse(wire.pairing(view))


async def cancel(caller: Caller) -> Response:
    """Take it back, by its creator."""
    await caller.services.pairings.cancel(caller.id, await caller.holder())
    return Response(status_code=204)


async def log_in(caller: Caller) -> Response:
    """Exchange the approved pairing for keys, exactly once; repeatable for 30 s while neither key was used."""
    wanted = await body(caller, wire.LoginRequest)
    holder = caller.by_secret()
    given = await caller.services.pairings.log_in(caller.id, holder, wanted.number, caller.device_code(), caller.prove)
    return give_keys(given, caller.services, cookie=wanted.keys == "cookie")
