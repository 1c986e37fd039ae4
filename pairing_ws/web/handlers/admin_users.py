"""The calls of `/api/v1/admin` on accounts, their devices and apps. Each reads the request, asks the story once, and
spells the answer."""

import re

from starlette.responses import Response

from pairing_ws.accounts.devices import ACTIVITY_LINES
from pairing_ws.accounts.operator import ID, LINES, USERS, UserId
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import parse
from pairing_ws.web.handlers.accounts import position_of
from pairing_ws.web.handlers.admin import Facts, by_operator, idempotency_key, named
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse, key_pair, qr_picture
from pairing_ws.web.wire import admin_views as views
from pairing_ws.web.wire.admin import AdminDevices, Enrolment, NewInvite, NewUser, UserChanges, UserExport
from pairing_ws.web.wire.apps import Apps
from pairing_ws.web.wire.views import activity_log, app, device, passkey

_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)


@by_operator
async def list_users(request: RequestContext, _: Facts) -> Response:
    """List all accounts by id, in pages; with `username`, the one of that name alone."""
    after, username = request.query("after"), request.query("username")
    operator = request.services.accounts.operator
    if username is not None:
        return JsonResponse(views.users([await operator.account(username)], USERS))
    if after is not None and not ID.fullmatch(after):
        raise Refused(Code.BAD_REQUEST, "after has to be what `next` said on the page before")
    return JsonResponse(views.users(await operator.accounts_after(after or ""), USERS))


@by_operator
async def create_user(request: RequestContext, facts: Facts) -> Response:
    """Make an account with an id of your own; the same again is 200, and changes nothing."""
    wanted = await read_body(request, NewUser)
    facts["account"] = wanted.id
    profile = {name: value for name, value in named(wanted).items() if name not in ("id", "username")}
    account, is_new = await request.services.accounts.operator.add_user(wanted.id, wanted.username, profile)
    return JsonResponse(views.user(account), 201 if is_new else 200)


@by_operator
async def read_user(request: RequestContext, facts: Facts) -> Response:
    """Read an account, with what it tells applications."""
    return JsonResponse(views.user(await request.services.accounts.operator.account(_user(request, facts))))


@by_operator
async def change_user(request: RequestContext, facts: Facts) -> Response:
    """Change what an account tells applications; they learn of it when they ask the next time."""
    wanted = await read_body(request, UserChanges)
    operator = request.services.accounts.operator
    return JsonResponse(views.user(await operator.change_profile(_user(request, facts), named(wanted))))


@by_operator
async def delete_user(request: RequestContext, facts: Facts) -> Response:
    """Delete an account with its devices, sessions, apps and activity."""
    await request.services.accounts.operator.delete_user(_user(request, facts))
    return Response(status_code=204)


@by_operator
async def lock_user(request: RequestContext, facts: Facts) -> Response:
    """Refuse all logins, keys and refreshes of an account until it is unlocked; its apps lose their access."""
    return await _locked(request, facts, locked=True)


@by_operator
async def unlock_user(request: RequestContext, facts: Facts) -> Response:
    """Let a locked account in again, with the devices that it had."""
    return await _locked(request, facts, locked=False)


async def _locked(request: RequestContext, facts: Facts, *, locked: bool) -> Response:
    operator, who = request.services.accounts.operator, _user(request, facts)
    await operator.lock(who, locked=locked)
    return JsonResponse(views.user(await operator.account(who)))


@by_operator
async def export_user(request: RequestContext, facts: Facts) -> Response:
    """Read all that is kept of an account, its activity in pages."""
    services, who, now = request.services, _user(request, facts), request.services.clock()
    before = position_of(request)
    operator = services.accounts.operator
    account = await operator.account(who)
    return JsonResponse(
        UserExport(
            user=views.user(account),
            devices=[device(each, None, now) for each in await operator.devices(who)],
            passkeys=[passkey(each) for each in await services.step_ups.passkeys_of(who.id)],
            apps=[app(each) for each in await services.apps.apps_of(who.id)],
            links=[views.link(each) for each in await services.people.links_of(account.user)],
            activity=activity_log(await operator.activity(who, before, ACTIVITY_LINES), ACTIVITY_LINES),
        )
    )


@by_operator
async def invite_user(request: RequestContext, facts: Facts) -> Response:
    """Make a link that logs one device of the account in, once, within 15 minutes."""
    wanted = await read_body(request, NewInvite)
    who, key = _user(request, facts), idempotency_key(request)
    made = await request.services.accounts.operator.invite(who, existing=True, idempotency_key=key)
    return JsonResponse(views.invite(made, await qr_picture(made.url, wanted.qr)), 201)


@by_operator
async def enrol_device(request: RequestContext, facts: Facts) -> Response:
    """Log a device in, by its headers, whose person your backend knows: the answer is its keys."""
    wanted = await read_body(request, Enrolment)
    who, key = _user(request, facts), idempotency_key(request)
    if wanted.ip is not None and parse(wanted.ip) is None:
        raise Refused(Code.BAD_REQUEST, "ip is no IP address")
    given = await request.services.accounts.logins.enrol(who.id, request.device(wanted.device_key, wanted.ip), key)
    facts["device"] = given.device.id
    return key_pair(given, request.services, cookie=False)


@by_operator
async def list_devices(request: RequestContext, facts: Facts) -> Response:
    """List the devices that are logged in to an account, oldest first; none while it is locked."""
    found = await request.services.accounts.operator.devices(_user(request, facts))
    now = request.services.clock()
    return JsonResponse(AdminDevices(devices=[device(each, None, now) for each in found]))


@by_operator
async def revoke_users_device(request: RequestContext, facts: Facts) -> Response:
    """Log a device out, with its apps and the passkeys it added; with `descendants=true`, also all that it let in."""
    given = request.query("descendants")
    if given not in (None, "true", "false"):
        raise Refused(Code.BAD_REQUEST, "descendants is true or false")
    facts["device"] = request.id
    operator = request.services.accounts.operator
    facts["account"] = await operator.revoke_device(request.id, request.ip, descendants=given == "true")
    return Response(status_code=204)


@by_operator
async def list_users_apps(request: RequestContext, facts: Facts) -> Response:
    """List the apps that have access to an account, newest first."""
    who = _user(request, facts)
    await request.services.accounts.operator.account(who)
    return JsonResponse(Apps(apps=[app(each) for each in await request.services.apps.apps_of(who.id)]))


@by_operator
async def revoke_users_app(request: RequestContext, facts: Facts) -> Response:
    """Take an app's access to an account away; it is told so."""
    facts["grant"] = request.id
    facts["account"] = await request.services.apps.revoke_by_operator(request.id, request.ip)
    return Response(status_code=204)


@by_operator
async def read_feed(request: RequestContext, _: Facts) -> Response:
    """List what happened in all accounts since `after`, the oldest first; without it, from the first line kept on."""
    after = request.query("after")
    if after is not None and not _CURSOR.fullmatch(after):
        raise Refused(Code.BAD_REQUEST, "after has to be what `next` said")
    cursor = int(after or 0)
    return JsonResponse(views.feed(await request.services.accounts.operator.lines_after(cursor), cursor, LINES))


def _user(request: RequestContext, facts: Facts) -> UserId:
    facts["account"] = request.id
    return UserId(request.id)
