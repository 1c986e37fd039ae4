"""The calls on sessions, devices and invites. Each reads the request, asks the story once, and spells the answer."""

import re
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from pairing_ws.accounts.devices import ACTIVITY_LINES
from pairing_ws.accounts.passkeys import Passkey
from pairing_ws.accounts.ports import Device, Position
from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.labels import label
from pairing_ws.oauth.apps import App
from pairing_ws.pairing.watcher import Commands, Read, Send, Watcher
from pairing_ws.web.polling import tagged, wait_of, when_changed
from pairing_ws.web.problems import problem
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import drop_planted_cookies, drop_refresh_cookie
from pairing_ws.web.request.device_headers import push_address
from pairing_ws.web.responses import JsonResponse, key_pair
from pairing_ws.web.wire import views
from pairing_ws.web.wire.accounts import PushView, Revoked
from pairing_ws.web.wire.requests import AcceptRequest, DeviceRequest, RefreshRequest

# Of what an account's devices, passkeys and apps are.
_VERSION = re.compile(r"[A-Za-z0-9_-]{22}")
# Of a line of activity: its moment and its id.
_POSITION = re.compile(r"[0-9]{1,18}-[0-9]{1,18}", re.ASCII)


async def accept_invite(request: RequestContext) -> Response:
    """Log in the first device of an account, or the next one after all were lost."""
    wanted = await read_body(request, AcceptRequest)
    auth_key, secret = request.credentials()
    if auth_key is not None:
        raise Refused(Code.BAD_REQUEST, "this device is logged in already; log out first")
    if secret is not None and not codes.is_secret(secret):
        raise Refused(Code.BAD_REQUEST, codes.SHAPE_OF_SECRETS)
    device = request.device(wanted.device_key)
    given = await request.services.accounts.logins.accept_invite(
        codes.normal_code(wanted.code), device, secret, request.prove
    )
    return key_pair(given, request.services, cookie=wanted.keys == "cookie")


async def refresh(request: RequestContext) -> Response:
    """Exchange a refreshKey, from the body or the cookie, for a new pair of keys."""
    wanted = await read_body(request, RefreshRequest)
    by_cookie = wanted.keys == "cookie"
    cookies = request.refresh_cookies
    if by_cookie and wanted.refresh_key is not None:
        raise Refused(Code.BAD_REQUEST, 'either a refreshKey in the body or "keys": "cookie"')
    if by_cookie:
        request.demand_own_origin()
        if len(cookies) > 1:
            # Which of them is the person's own can't be told, and the wrong one would be somebody else's session.
            response = problem(Refused(Code.DOUBLED_COOKIE, "two of them are nobody's; log in again"))
            drop_planted_cookies(response, "refresh", request.services.settings)
            return response
    key = next(iter(cookies), None) if by_cookie else wanted.refresh_key
    if not key:
        raise unauthenticated()
    given = await request.services.accounts.sessions.refresh(key, request.ip, request.prove)
    return key_pair(given, request.services, cookie=by_cookie)


async def log_out(request: RequestContext) -> Response:
    """End this session and delete its cookie."""
    cookies = request.refresh_cookies
    if cookies:
        request.demand_own_origin()
    await request.services.accounts.sessions.log_out(await request.session(), request.ip)
    response = Response(status_code=204)
    if cookies:
        drop_refresh_cookie(response, request.services.settings)
    if len(cookies) > 1:
        drop_planted_cookies(response, "current", request.services.settings)
    return response


async def me(request: RequestContext) -> Response:
    """Read which account, device and session the authKey is for."""
    return JsonResponse(views.me(await request.session(), request.services.clock()))


Listed = tuple[Sequence[Device], str]


class VersionWatcher(Watcher[Listed, Listed]):
    """A list of devices once its version is another one."""

    def __init__(self, known: str) -> None:
        super().__init__()
        self._known = known

    def changes(self, state: Listed) -> Commands[Listed]:
        return () if state[1] == self._known else (Send(state),)


async def devices(request: RequestContext) -> Response:
    """List the account's logged-in devices, oldest first; with `wait`, once `version` is not `known`."""
    known, wait = request.query("known"), wait_of(request)
    if known is not None and not _VERSION.fullmatch(known):
        raise Refused(Code.BAD_REQUEST, "known has to be what `version` said")
    session = await request.session()
    accounts = request.services.accounts

    async def read(_: Read) -> Listed:
        found = await accounts.devices.devices_seen_by(session)
        if found is None:
            # Since it was asked, the session has ended.
            raise unauthenticated()
        passkeys = await request.services.step_ups.passkeys(session)
        return found, _version(found, passkeys, await request.services.apps.apps(session))

    found, version = await read(Read())
    if wait and version == known:
        found, version = await when_changed(
            request,
            wait,
            VersionWatcher(version),
            lambda callback: [accounts.sessions.watch(session.user.id, session.id, callback)],
            read,
        )
    came_of = await accounts.devices.descendants(session)
    answer = views.devices(found, came_of, version, session.device.id, request.services.clock())
    # Weak, for when each was last seen is not part of it.
    return tagged(request, answer, f'W/"{version}"')


def _version(devices: Sequence[Device], passkeys: Sequence[Passkey], apps: Sequence[App]) -> str:
    state = [(each.id, each.created_at, each.name, each.reported_name) for each in devices]
    beside = [(each.id, each.name) for each in passkeys], [each.grant.id for each in apps]
    return codes.digest(msgspec.json.encode((state, *beside)).decode())[:22]


async def change_device(request: RequestContext) -> Response:
    """Rename a device, or set this device's own push address."""
    wanted = await read_body(request, DeviceRequest)
    session = await request.session()
    name = None if wanted.name is None else label(wanted.name)
    if name == "":
        raise Refused(Code.BAD_REQUEST, "a name needs a visible character")
    address = wanted.push_token
    if address is not None:
        address = push_address(address, plain_http=request.services.settings.allow_private_targets)
    changed = await request.services.accounts.devices.change_device(
        session,
        request.id,
        request.ip,
        name=name,
        push_token=address,
    )
    return JsonResponse(views.device(changed, session.device.id, request.services.clock()))


async def push(request: RequestContext) -> Response:
    """Read the key that browsers subscribe to push messages with (`applicationServerKey`)."""
    return JsonResponse(PushView(application_server_key=request.services.application_server_key or None))


async def revoke_device(request: RequestContext) -> Response:
    """Log a device out, and its apps; with `descendants=true`, also all that it let in, and the passkeys they added."""
    given = request.query("descendants")
    if given not in (None, "true", "false"):
        raise Refused(Code.BAD_REQUEST, "descendants is true or false")
    accounts = request.services.accounts
    try:
        session = await request.session()
    except Refused as refused:
        if refused.code is not Code.UNAUTHENTICATED:
            raise
        if await accounts.sessions.logged_out_device(request.auth_key or "") != request.id:
            raise
        # It has logged itself out before, and the answer got lost.
        return Response(status_code=204)
    await accounts.devices.revoke(session, request.id, request.ip, descendants=given == "true")
    return Response(status_code=204)


async def revoke_others(request: RequestContext) -> Response:
    """Log out every other device of the account."""
    count = await request.services.accounts.devices.revoke_others(await request.session(), request.ip)
    return JsonResponse(Revoked(revoked=count))


async def activity(request: RequestContext) -> Response:
    """List what happened to this account, newest first, in pages; with `only`, logins alone or all other events."""
    position, only = position_of(request), request.query("only")
    if only not in (None, "logins", "other"):
        raise Refused(Code.BAD_REQUEST, "only is logins or other")
    logins = None if only is None else only == "logins"
    lines = await request.services.accounts.devices.activity(await request.session(), position, logins=logins)
    return JsonResponse(views.activity_log(lines, ACTIVITY_LINES))


def position_of(request: RequestContext) -> Position | None:
    """`before`, where a page of activity begins."""
    before = request.query("before")
    if before is not None and not _POSITION.fullmatch(before):
        raise Refused(Code.BAD_REQUEST, "before has to be what `next` said on the page before")
    return Position(*map(int, before.split("-"))) if before else None
