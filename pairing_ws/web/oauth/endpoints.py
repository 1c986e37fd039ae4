"""The table of the endpoints below `/oauth`, beside `web/calls.py`: discovery describes them, not OpenAPI."""

from pairing_ws.web.calls import Call
from pairing_ws.web.oauth.authorize import authorize, authorize_by_form

ENDPOINTS: tuple[Call, ...] = (
    Call("GET", "/oauth/authorize", authorize, 200, media_type="text/html", cors=False),
    Call("POST", "/oauth/authorize", authorize_by_form, 303, cors=False),
)
