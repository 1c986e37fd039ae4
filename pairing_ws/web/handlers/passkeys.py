"""The calls on passkeys and step-up. Each reads the request, asks the story once, and spells the answer."""

from typing import Any

from msgspec import to_builtins
from starlette.responses import Response

from pairing_ws.accounts.step_up import CHALLENGE_MS
from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.labels import label
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse
from pairing_ws.web.wire import views
from pairing_ws.web.wire.accounts import CeremonyOptions, Passkeys, SteppedUp
from pairing_ws.web.wire.requests import PasskeyRequest, StepUpRequest


async def passkeys(request: RequestContext) -> Response:
    """List the account's passkeys, oldest first."""
    found = await request.services.step_ups.passkeys(await request.session())
    return JsonResponse(Passkeys(passkeys=[views.passkey(each) for each in found]))


async def passkey_options(request: RequestContext) -> Response:
    """Get a challenge for a new passkey: for this session, for 5 minutes, once."""
    return _ceremony(await request.services.step_ups.new_passkey_options(await request.session()))


async def add_passkey(request: RequestContext) -> Response:
    """Add a passkey, never from quarantine: after a recent proof, or as the first one where approvals need none."""
    wanted = await read_body(request, PasskeyRequest)
    name = label(wanted.name)
    if not name:
        raise Refused(Code.BAD_REQUEST, "a name needs a visible character")
    session = await request.session()
    added = await request.services.step_ups.add_passkey(session, name, to_builtins(wanted.credential), request.ip)
    return JsonResponse(views.passkey(added), 201)


async def remove_passkey(request: RequestContext) -> Response:
    """Remove a passkey, never from quarantine and only after a recent proof."""
    await request.services.step_ups.remove_passkey(await request.session(), request.id, request.ip)
    return Response(status_code=204)


async def step_up_options(request: RequestContext) -> Response:
    """Get a challenge for a proof that a person is there: for this session, for 5 minutes, once."""
    return _ceremony(await request.services.step_ups.options(await request.session()))


async def step_up(request: RequestContext) -> Response:
    """Prove that a person is there, by a passkey's `credential` or the host application's `hostToken`."""
    wanted = await read_body(request, StepUpRequest)
    session = await request.session()
    step_ups = request.services.step_ups
    if wanted.credential is not None and wanted.host_token is None:
        at = await step_ups.by_passkey(session, to_builtins(wanted.credential), request.ip)
    elif wanted.host_token is not None and wanted.credential is None:
        at = await step_ups.by_host(session, wanted.host_token)
    else:
        raise Refused(Code.BAD_REQUEST, "either a credential or a hostToken")
    return JsonResponse(SteppedUp(verified_at=iso(at), expires_in=step_ups.expires_in(at)))


def _ceremony(options: dict[str, Any]) -> Response:
    return JsonResponse(CeremonyOptions(public_key=options, expires_in=CHALLENGE_MS // 1000))
