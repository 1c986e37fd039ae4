"""The calls of `/api/v1/admin` on applications. Each reads the request, asks the story once, and spells the answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.responses import Response

from pairing_ws.core.errors import Refused
from pairing_ws.oauth.clients import Registration
from pairing_ws.oauth.ports import Algorithm, DeviceGrant
from pairing_ws.oauth.registration import NotRegistrable
from pairing_ws.web.handlers.admin import Facts, by_operator, named
from pairing_ws.web.request.body import read_body
from pairing_ws.web.request.context import RequestContext
from pairing_ws.web.responses import JsonResponse
from pairing_ws.web.wire import admin_views as views
from pairing_ws.web.wire.admin_clients import AdminClients, ClientChanges, NewClient


@by_operator
async def list_clients(request: RequestContext, _: Facts) -> Response:
    """List the applications that log people in, by name."""
    return JsonResponse(AdminClients(clients=[views.client(each) for each in await request.services.clients.all()]))


@by_operator
async def add_client(request: RequestContext, facts: Facts) -> Response:
    """Register an application; its secret is in this answer alone."""
    wanted = await read_body(request, NewClient)
    with _nothing_repeated():
        client, secret = await request.services.clients.add(Registration(**_registered(wanted)))
    facts["client"] = client.id
    return JsonResponse(views.client(client, secret), 201)


@by_operator
async def read_client(request: RequestContext, facts: Facts) -> Response:
    """Read what is registered of an application."""
    facts["client"] = request.id
    return JsonResponse(views.client(await request.services.clients.of_id(request.id)))


@by_operator
async def change_client(request: RequestContext, facts: Facts) -> Response:
    """Change what is registered of an application; its id and secret stay, and who is logged in."""
    wanted = await read_body(request, ClientChanges)
    facts["client"] = request.id
    client = await request.services.clients.of_id(request.id)
    with _nothing_repeated():
        changed = await request.services.clients.change(client.id, _registered(wanted))
    return JsonResponse(views.client(changed))


@by_operator
async def rotate_client(request: RequestContext, facts: Facts) -> Response:
    """Give an application another secret, in this answer alone; the one before is refused."""
    facts["client"] = request.id
    client = await request.services.clients.of_id(request.id)
    return JsonResponse(views.client(*await request.services.clients.rotate(client.id)))


@by_operator
async def remove_client(request: RequestContext, facts: Facts) -> Response:
    """Remove an application: everybody's access by it ends, and it is told so."""
    facts["client"] = request.id
    client = await request.services.clients.of_id(request.id)
    await request.services.clients.remove(client.id)
    return Response(status_code=204)


@contextmanager
def _nothing_repeated() -> Iterator[None]:
    """What a terminal is told of a value that can't be registered, without the value."""
    try:
        yield
    except NotRegistrable as error:
        raise Refused(error.code, error.unquoted) from None


def _registered(wanted: ClientChanges) -> dict[str, Any]:
    """What the body names, as `Registration` has it."""
    members = named(wanted)
    for name, kind in (("id_token_alg", Algorithm), ("access_token_alg", Algorithm), ("device_grant", DeviceGrant)):
        if name in members:
            members[name] = kind(members[name])
    return members
