"""The calls on applications that a person logs in to. Each reads the request, asks the story once, and spells the
answer."""

from starlette.responses import Response

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authorization import Unanswerable
from pairing_ws.oauth.consent import Redirect
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.request.cookies import set_login_mark
from pairing_ws.web.responses import JsonResponse
from pairing_ws.web.wire import views
from pairing_ws.web.wire.apps import Apps
from pairing_ws.web.wire.oauth import AuthorizeRequest


async def authorize(request: RequestContext) -> Response:
    """Answer an application's authorization request, for the person that is logged in."""
    wanted = await read_body(request, AuthorizeRequest)
    session = await request.session()
    services = request.services
    try:
        answer = await services.authorizations.decide(
            wanted.query, session, wanted.decision, wanted.started, request.ip
        )
    except Unanswerable as error:
        raise Refused(Code.AUTHORIZATION_INVALID, error.description) from None
    response = JsonResponse(views.authorization(answer))
    if isinstance(answer, Redirect) and wanted.decision != "deny":
        # From now on the authorization endpoint knows this browser by itself.
        set_login_mark(response, services.authorizations.mark(session), services.settings)
    return response


async def apps(request: RequestContext) -> Response:
    """List the apps that have access to the account, newest first."""
    found = await request.services.apps.apps(await request.session())
    return JsonResponse(Apps(apps=[views.app(each) for each in found]))


async def revoke_app(request: RequestContext) -> Response:
    """Take an app's access away; from quarantine only if this device let it in."""
    await request.services.apps.revoke(await request.session(), request.id, request.ip)
    return Response(status_code=204)
