"""`/openapi.json` and `/asyncapi.json`, made from the table of calls and the wire types."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pairing_ws import __version__
from pairing_ws.core.errors import Code
from pairing_ws.web import wire
from pairing_ws.web.calls import DEVICE, KEY, PROVED, SECRET, Call
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.paths import API
from pairing_ws.web.polling import MAX_DIGITS
from pairing_ws.web.problems import PROBLEM_JSON, SHAPES
from pairing_ws.web.request.device_headers import DEVICE_CODE, PUSH_TOKEN
from pairing_ws.web.sockets.sockets import SUBPROTOCOL

Json = dict[str, Any]

# Any call can meet these.
USUAL = (Code.BAD_REQUEST, Code.MISDIRECTED, Code.RATE_LIMITED, Code.INTERNAL, Code.UNAVAILABLE)
WITH_BODY = (Code.REQUEST_TIMEOUT, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)

# UTF-8, raw or percent-encoded; the patterns are of what they say then. A needs none of them.
DEVICE_HEADERS: dict[str, Json] = {
    "X-Device-Code": {
        "schema": {"type": "string", "pattern": f"^{DEVICE_CODE.pattern}$"},
        "description": "stable id of the installation; needed without an authKey",
    },
    "X-Device-Name": {
        "schema": {"type": "string", "minLength": 1},
        "description": "what people call the device; needed without an authKey",
    },
    "X-Os-Device": {"schema": {"type": "string"}, "description": "operating system"},
    "X-App-Version-Number": {"schema": {"type": "string"}, "description": "version of the app"},
    "X-Device-Token": {
        "schema": {"type": "string", "pattern": f"^({PUSH_TOKEN.pattern})?$"},
        "description": "push address",
    },
}
QUERY: dict[str, Json] = {
    "since": {
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
        "description": "answer once `version` is greater",
    },
    "wait": {"schema": {"type": "integer", "minimum": 0, "maximum": 30}, "description": "for so many seconds"},
    "descendants": {"schema": {"type": "boolean"}, "description": "also all devices that this one let in"},
    "known": {
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
        "description": "answer once `version` is another one",
    },
    "before": {
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"},
        "description": "the next page: what `next` said",
    },
    "only": {"schema": {"type": "string", "enum": ["logins", "other"]}, "description": "one kind of lines"},
}
SECURITY = {
    KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "Auth-Key",
        "description": "also as `Authorization: Bearer` or `DPoP`; a key-bound device's needs a `DPoP` proof beside it",
    },
    SECRET: {
        "type": "apiKey",
        "in": "header",
        "name": "Pairing-Secret",
        "description": "what device B proves itself by",
    },
}
PROOF = {
    "name": "DPoP",
    "in": "header",
    "description": "from a key-bound device: a proof (RFC 9449) by its key, ES256, with `htu` below the public address,"
    " `ath` where there is an authKey, and a `nonce` from the last answer's `DPoP-Nonce`",
    "schema": {"type": "string"},
}


def openapi(calls: Sequence[Call], public_url: str) -> Json:
    """OpenAPI 3.1 for every HTTP call."""
    answers = [call.answer for call in calls if call.answer]
    bodies = [call.body for call in calls if call.body]
    schemas = _schemas([*answers, *bodies, wire.Problem], "#/components/schemas/{name}")
    paths: Json = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pairing_ws",
            "version": __version__,
            "description": "Passwordless login by QR-code device pairing. Errors are RFC 9457 problem documents with a"
            " stable `code`. Sockets are described in `/asyncapi.json`.",
        },
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": SECURITY},
    }


def _operation(call: Call) -> Json:
    refusals = [*call.refusals, *USUAL, *(WITH_BODY if call.body else ())]
    if call.proofs:
        refusals.append(Code.UNAUTHENTICATED)
    if KEY in call.proofs:
        refusals += PROVED
    operation: Json = {
        "operationId": call.handler.__name__,
        "summary": (call.handler.__doc__ or "").strip(),
        "tags": [call.path.removeprefix(f"{API}/").split("/")[0]],
        "responses": {str(call.status): _success(call)} | _refusals(refusals),
        "security": [{proof: []} for proof in call.proofs if proof in SECURITY],
    }
    if DEVICE in call.proofs:
        # Device headers take the place of a credential for who has none.
        operation["security"].append({})
    parameters = [
        *(
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
            for _ in call.path.split("{")[1:]
        ),
        *({"name": name, "in": "query", **QUERY[name]} for name in call.query),
        *(
            {"name": name, "in": "header", **described}
            for name, described in DEVICE_HEADERS.items()
            if DEVICE in call.proofs
        ),
        *([PROOF] if Code.INVALID_PROOF in refusals else []),
    ]
    if parameters:
        operation["parameters"] = parameters
    if call.body:
        required = any(field.required for field in msgspec.structs.fields(call.body))
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{call.body.__name__}"}}}
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _success(call: Call) -> Json:
    described: Json = {"description": HTTPStatus(call.status).phrase}
    if call.answer:
        reference = {"$ref": f"#/components/schemas/{call.answer.__name__}"}
        described["content"] = {"application/json": {"schema": reference}}
    return described


def _refusals(codes: Iterable[Code]) -> Json:
    by_status: dict[int, list[Code]] = {}
    for code in codes:
        by_status.setdefault(SHAPES[code].status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in dict.fromkeys(found)),
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, found in sorted(by_status.items())
    }


def asyncapi(public_url: str) -> Json:
    """AsyncAPI 3.0 for both sockets."""
    types = [
        wire.AuthMessage,
        wire.PairingMessage,
        wire.RetryMessage,
        wire.NonceMessage,
        wire.DeviceMessage,
        wire.PasskeyMessage,
    ]
    messages = {kind.__name__: {"payload": {"$ref": f"#/components/schemas/{kind.__name__}"}} for kind in types}
    public = urlsplit(public_url)
    closes = "; ".join(f"{code}: {code.meaning} (come back: {code.come_back})" for code in CloseCode)
    told = {
        "pairing": ["PairingMessage", "RetryMessage", "NonceMessage"],
        "account": ["DeviceMessage", "PasskeyMessage", "RetryMessage", "NonceMessage"],
    }
    channels: Json = {
        "pairing": {
            "address": f"{API}/pairings/{{id}}/socket",
            "description": f"Snapshot first, then each change. Close codes: {closes}.",
            "parameters": {"id": {"description": "the pairing"}},
        },
        "account": {"address": f"{API}/socket", "description": f"Which devices came and went. Close codes: {closes}."},
    }
    operations: Json = {}
    for name, channel in channels.items():
        of_channel = {"$ref": f"#/channels/{name}"}
        listed = ["AuthMessage", *told[name]]
        channel["messages"] = {each: {"$ref": f"#/components/messages/{each}"} for each in listed}
        channel["bindings"] = {"ws": {"method": "GET"}}
        for verb, action, which in (("authenticate", "receive", listed[:1]), ("tell", "send", listed[1:])):
            operations[f"{verb}_{name}"] = {
                "action": action,
                "channel": of_channel,
                "messages": [{"$ref": f"#/channels/{name}/messages/{each}"} for each in which],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pairing_ws sockets",
            "version": __version__,
            "description": f"Subprotocol `{SUBPROTOCOL}`. The client authenticates with its first message, within 5 s.",
        },
        "servers": {
            "public": {
                "host": public.netloc,
                "pathname": public.path or "/",
                "protocol": "wss" if public.scheme == "https" else "ws",
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": _schemas(types, "#/components/schemas/{name}")},
    }


def _schemas(types: Iterable[type], ref_template: str) -> Json:
    return dict(msgspec.json.schema_components(types, ref_template=ref_template)[1])
