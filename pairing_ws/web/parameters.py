"""Every parameter, credential and header of the API, as `/openapi.json` describes it. `calls.CALLS` names them."""

from typing import Any

from pairing_ws.core.push_addresses import GIVEN, MAX_ADDRESS
from pairing_ws.web.polling import MAX_DIGITS, MAX_WAIT_SECONDS
from pairing_ws.web.request.device_headers import DEVICE_CODE

Json = dict[str, Any]

PATH_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "the id of the pairing, device, passkey, app, account or client; an unknown one is 404 `not_found`",
}
# UTF-8, raw or percent-encoded; the patterns are of what they say then.
DEVICE_HEADERS: dict[str, Json] = {
    "X-Device-Code": {
        "schema": {"type": "string", "pattern": f"^{DEVICE_CODE.pattern}$"},
        "description": "stable id of the installation",
    },
    "X-Device-Name": {
        "schema": {"type": "string", "minLength": 1},
        "description": "what people call the device, cut to 128 characters",
    },
    "X-Os-Device": {"schema": {"type": "string"}, "description": "operating system"},
    "X-App-Version-Number": {"schema": {"type": "string"}, "description": "version of the app"},
    "X-Device-Token": {
        "schema": {"type": "string", "maxLength": MAX_ADDRESS, "pattern": f"^({GIVEN.pattern})?$"},
        "description": "push address: gets a message when the pairing is approved. A registration token of FCM, `fid:`"
        " and a Firebase installation id, or the JSON of a Web Push subscription",
    },
}
# A new device can't do without them; one that is logged in needs none.
NEEDED_DEVICE_HEADERS = frozenset({"X-Device-Code", "X-Device-Name"})
DPOP: Json = {
    "name": "DPoP",
    "in": "header",
    "description": "from a key-bound device: a proof (RFC 9449) by its key, ES256, with `htu` below the public address,"
    " `ath` where there is an authKey, and a `nonce` from the last answer's `DPoP-Nonce`",
    "schema": {"type": "string"},
}
IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the last answer's `ETag`; the answer is 304 if nothing has changed since",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "your own id of this call, for this account: the same call again, after a lost answer, is answered"
    " the same and makes nothing more",
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}
# By what `Call.query` says. One whose name in the query string has another meaning elsewhere says its `name` itself.
QUERY: dict[str, Json] = {
    "since": {
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
        "description": "with `wait`: answer once `version` is greater than this",
    },
    "wait": {
        "schema": {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS},
        "description": "seconds to wait for a change; the answer then is what is true at the end",
    },
    "descendants": {"schema": {"type": "boolean"}, "description": "also all devices that this one let in"},
    "known": {
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
        "description": "with `wait`: answer once `version` differs from this",
    },
    "before": {
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"},
        "description": "the next page: what `next` said",
    },
    "after": {
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "description": "what comes behind this: what `next` said",
    },
    "after_line": {
        "name": "after",
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "description": "what comes behind this: what `next` said",
    },
    "username": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        "description": "only the account of this name, whatever its case",
    },
    "only": {
        "schema": {"type": "string", "enum": ["logins", "other"]},
        "description": "only logins, or only all the rest",
    },
}
ANSWER_HEADERS: dict[str, Json] = {
    "ETag": {"schema": {"type": "string"}, "description": "the version that this is, for `If-None-Match`"},
    "Location": {"schema": {"type": "string"}, "description": "path of what was made"},
    "Set-Cookie": {
        "schema": {"type": "string"},
        "description": "the refreshKey's cookie, if it was asked for or is to be dropped",
    },
    "DPoP-Nonce": {"schema": {"type": "string"}, "description": "for a key-bound device's next proof (RFC 9449)"},
    "Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait before the next try"},
    "WWW-Authenticate": {
        "schema": {"type": "string"},
        "description": "the schemes that are taken, and what is wrong with the proof (RFC 9110, RFC 9449)",
    },
}
