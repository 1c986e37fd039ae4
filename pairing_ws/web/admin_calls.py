"""The part of the table of calls that an admin key opens. There is none of them without `PAIRING_ADMIN_KEY`."""

from functools import partial

from pairing_ws.core.errors import Code
from pairing_ws.web.call import ADMIN, DEVICE, Call
from pairing_ws.web.handlers import admin_clients as clients
from pairing_ws.web.handlers import admin_users as users
from pairing_ws.web.paths import API
from pairing_ws.web.wire.accounts import Keys
from pairing_ws.web.wire.admin import (
    AdminDevices,
    AdminUser,
    AdminUsers,
    Enrolment,
    Feed,
    Invite,
    NewInvite,
    NewUser,
    UserChanges,
    UserExport,
)
from pairing_ws.web.wire.admin_clients import AdminClient, AdminClients, ClientChanges, NewClient
from pairing_ws.web.wire.apps import Apps

_USERS, _CLIENTS = f"{API}/admin/users", f"{API}/admin/clients"
_USER, _CLIENT = f"{_USERS}/{{id}}", f"{_CLIENTS}/{{id}}"
_THERE = (Code.NOT_FOUND,)
# No page may read an answer, of whatever origin.
_call = partial(Call, proofs=(ADMIN,), cors=False)

ADMIN_CALLS: tuple[Call, ...] = (
    _call("GET", _USERS, users.list_users, 200, AdminUsers, refusals=_THERE, query=("after", "username")),
    _call(
        "POST", _USERS, users.create_user, 201, AdminUser, NewUser, refusals=(Code.USER_EXISTS,), status_again=200,
    ),
    _call("GET", _USER, users.read_user, 200, AdminUser, refusals=_THERE),
    _call("PATCH", _USER, users.change_user, 200, AdminUser, UserChanges, refusals=_THERE),
    _call("DELETE", _USER, users.delete_user, 204, refusals=_THERE),
    _call("POST", f"{_USER}/lock", users.lock_user, 200, AdminUser, refusals=_THERE),
    _call("POST", f"{_USER}/unlock", users.unlock_user, 200, AdminUser, refusals=_THERE),
    _call("GET", f"{_USER}/export", users.export_user, 200, UserExport, refusals=_THERE, query=("before",)),
    _call(
        "POST", f"{_USER}/invites", users.invite_user, 201, Invite, NewInvite,
        refusals=(*_THERE, Code.INVITE_USED, Code.INVITE_EXPIRED), idempotent=True,
    ),
    _call(
        "POST", f"{_USER}/devices", users.enrol_device, 200, Keys, Enrolment, proofs=(ADMIN, DEVICE),
        refusals=(
            *_THERE, Code.DEVICE_HEADERS_REQUIRED, Code.ACCOUNT_LOCKED, Code.DEVICE_LIMIT, Code.LOGIN_REFUSED,
            Code.ALREADY_ENROLLED,
        ),
        idempotent=True,
    ),
    _call("GET", f"{_USER}/devices", users.list_devices, 200, AdminDevices, refusals=_THERE),
    _call(
        "DELETE", f"{API}/admin/devices/{{id}}", users.revoke_users_device, 204, refusals=_THERE,
        query=("descendants",),
    ),
    _call("GET", f"{_USER}/apps", users.list_users_apps, 200, Apps, refusals=_THERE),
    _call("DELETE", f"{API}/admin/apps/{{id}}", users.revoke_users_app, 204, refusals=_THERE),
    _call("GET", f"{API}/admin/activity", users.read_feed, 200, Feed, query=("after_line",)),
    _call("GET", _CLIENTS, clients.list_clients, 200, AdminClients),
    _call("POST", _CLIENTS, clients.add_client, 201, AdminClient, NewClient),
    _call("GET", _CLIENT, clients.read_client, 200, AdminClient, refusals=_THERE),
    _call("PATCH", _CLIENT, clients.change_client, 200, AdminClient, ClientChanges, refusals=_THERE),
    _call("POST", f"{_CLIENT}/rotate", clients.rotate_client, 200, AdminClient, refusals=_THERE),
    _call("DELETE", _CLIENT, clients.remove_client, 204, refusals=_THERE),
)  # fmt: skip
