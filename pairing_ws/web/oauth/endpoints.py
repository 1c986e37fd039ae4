"""The table of the endpoints below `/oauth`, beside `web/calls.py`: discovery describes them, not OpenAPI."""

from collections.abc import Collection

from pairing_ws.oauth.protected_hosts import CALLBACK_PATH, LOGIN_PATH, LOGOUT_PATH
from pairing_ws.web.call import Call
from pairing_ws.web.oauth.authorize import authorize, authorize_by_form
from pairing_ws.web.oauth.forward_auth import check, enter, leave, log_in
from pairing_ws.web.oauth.logout import log_out_by_form, log_out_of_application
from pairing_ws.web.oauth.token_endpoints import (
    device_authorization,
    introspect,
    revoke,
    token,
    user_info,
)
from pairing_ws.web.paths import FORWARD_AUTH as CHECK
from pairing_ws.web.services import Services


async def origins_of_clients(services: Services) -> Collection[str]:
    """The pages of public clients."""
    return await services.oauth.origins.registered()


ENDPOINTS: tuple[Call, ...] = (
    Call("GET", "/oauth/authorize", authorize, 200, media_type="text/html", cors=False),
    Call("POST", "/oauth/authorize", authorize_by_form, 303, cors=False),
    Call("POST", "/oauth/device_authorization", device_authorization, 200, origins=origins_of_clients),
    Call("POST", "/oauth/token", token, 200, origins=origins_of_clients),
    Call("GET", "/oauth/userinfo", user_info, 200, origins=origins_of_clients),
    Call("POST", "/oauth/userinfo", user_info, 200, origins=origins_of_clients),
    Call("POST", "/oauth/revoke", revoke, 200, origins=origins_of_clients),
    Call("POST", "/oauth/introspect", introspect, 200),
    Call("GET", "/oauth/logout", log_out_of_application, 200, media_type="text/html", cors=False),
    Call("POST", "/oauth/logout", log_out_by_form, 303, cors=False),
)

# Where `PAIRING_FORWARD_AUTH_HOSTS` names any. A proxy asks the first; browsers come to the others, at protected hosts.
FORWARD_AUTH: tuple[Call, ...] = (
    Call("GET", CHECK, check, 204, cors=False),
    Call("GET", LOGIN_PATH, log_in, 303, cors=False),
    Call("GET", CALLBACK_PATH, enter, 303, cors=False),
    Call("GET", LOGOUT_PATH, leave, 303, cors=False),
)
