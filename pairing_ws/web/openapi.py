"""`/openapi.json`: the table of calls, the types of the wire, the parameters and the problem codes as OpenAPI 3.1."""

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from pairing_ws import __version__
from pairing_ws.core.errors import Code
from pairing_ws.web.call import ADMIN, DEVICE, KEY, PROVED, SECRET, Call
from pairing_ws.web.parameters import (
    ANSWER_HEADERS,
    DEVICE_HEADERS,
    DPOP,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    NEEDED_DEVICE_HEADERS,
    PATH_ID,
    QUERY,
)
from pairing_ws.web.paths import API
from pairing_ws.web.problems import CHALLENGES, PROBLEM_JSON, SHAPES
from pairing_ws.web.wire.base import Time
from pairing_ws.web.wire.operation import Problem
from pairing_ws.webhooks.events import KINDS, Data

Json = dict[str, Any]

# Any call can meet these.
USUAL = (
    Code.BAD_REQUEST, Code.MISDIRECTED, Code.HEADERS_TOO_LARGE, Code.RATE_LIMITED, Code.INTERNAL, Code.UNAVAILABLE,
)  # fmt: skip
WITH_BODY = (Code.REQUEST_TIMEOUT, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)
# Their problem documents say when to try again.
RETRIED = frozenset({Code.RATE_LIMITED, Code.UNAVAILABLE, Code.DEVICE_QUARANTINED})
SECURITY: dict[str, Json] = {
    KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "Auth-Key",
        "description": "a logged-in device's authKey; also as `Authorization: Bearer` or `DPoP`. A key-bound device's"
        " needs a `DPoP` proof beside it",
    },
    SECRET: {
        "type": "apiKey",
        "in": "header",
        "name": "Pairing-Secret",
        "description": "what the new device proves itself by: at least 128 random bits in base64url, of its own choice"
        " or from the answer to create or claim",
    },
}
SECURITY[ADMIN] = {
    "type": "http",
    "scheme": "bearer",
    "description": "an admin key (`PAIRING_ADMIN_KEY`), held by the host application's backend alone",
}
OPERATION = "operation"
WEBHOOKS = "webhooks"
# Standard Webhooks 1.0.0, "Webhook headers".
WEBHOOK_HEADERS = {
    "webhook-id": "the event: the same at each attempt, so that one that comes twice is known again",
    "webhook-timestamp": "when this attempt was made, in seconds since 1970; refuse what is older than five minutes",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}` in base64, by"
    " `PAIRING_WEBHOOK_SECRET`; several have spaces between, and one that is right is enough",
}
TAGS = {
    "pairings": "from the code that a device shows to the login of the other one",
    "sessions": "a session's keys, its end, and proofs that a person is there",
    "me": "which account, device and session an authKey is for",
    "devices": "the devices that are logged in to an account",
    "passkeys": "the passkeys by which a person proves to be there",
    "push": "messages to devices that are not connected",
    "apps": "the applications that have access to the account",
    "activity": "what happened to an account",
    "authorizations": "applications that a person logs in to (OpenID Connect)",
    "invites": "the first device, and the way back after all are lost",
    "admin": "what your backend does as the operator; with `PAIRING_ADMIN_KEY` alone",
    WEBHOOKS: "what your application hears of, at `PAIRING_WEBHOOK_URL` (Standard Webhooks)",
    "upstream": "logging in with another provider",
    OPERATION: "health, metrics, and the public keys of authKeys",
}


def openapi(calls: Sequence[Call], public_url: str) -> Json:
    """The document, for the server at that address."""
    answers = [call.answer for call in calls if call.answer]
    bodies = [call.body for call in calls if call.body]
    tags, proofs = {_tag(call) for call in calls} | {WEBHOOKS}, {proof for call in calls for proof in call.proofs}
    paths: Json = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pairing_ws",
            "version": __version__,
            "description": "Passwordless login by QR-code device pairing. Errors are RFC 9457 problem documents with a"
            " stable `code`; `components.examples` has each of them. Any path refuses methods it does not have with"
            f" 405 `{Code.METHOD_NOT_ALLOWED}`. Sockets are described in `/asyncapi.json`; their paths answer plain"
            f" HTTP with 426 `{Code.UPGRADE_REQUIRED}`.",
        },
        "externalDocs": {
            "url": f"{public_url}/.well-known/openid-configuration",
            "description": "OAuth and OpenID Connect, whose endpoints are not in this document (RFC 8414)",
        },
        "servers": [{"url": public_url, "description": "this server, as people see it (`PAIRING_PUBLIC_URL`)"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in tags],
        "paths": paths,
        "webhooks": {name: {"post": _webhook(kind)} for name, kind in KINDS.items()},
        "components": {
            "schemas": schemas([*answers, *bodies, Problem, *KINDS.values()]),
            "securitySchemes": {name: scheme for name, scheme in SECURITY.items() if name in proofs},
            "headers": ANSWER_HEADERS,
            "examples": {code.value: _problem_example(code) for code in SHAPES},
        },
    }


def schemas(types: Iterable[type]) -> Json:
    """JSON Schemas of those types and of all that they hold, by name."""
    return dict(msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")[1])


def _operation(call: Call) -> Json:
    refusals = [*call.refusals, *USUAL, *(WITH_BODY if call.body else ())]
    if call.proofs:
        refusals.append(Code.UNAUTHENTICATED)
    if KEY in call.proofs:
        refusals += [*PROVED, Code.ACCOUNT_LOCKED]
    proved = Code.INVALID_PROOF in refusals
    operation: Json = {
        "operationId": call.handler.__name__,
        "summary": (call.handler.__doc__ or "").strip(),
        "tags": [_tag(call)],
        "responses": _success(call, proved) | _refusals(dict.fromkeys(refusals)),
        "security": [{proof: []} for proof in call.proofs if proof in SECURITY],
    }
    if DEVICE in call.proofs and ADMIN not in call.proofs:
        # Device headers take the place of a credential for a device that has none.
        operation["security"].append({})
    parameters = [
        *(PATH_ID for _ in call.path.split("{")[1:]),
        *({"name": name, "in": "query", **QUERY[name]} for name in call.query),
        *(_device_headers(call) if DEVICE in call.proofs else ()),
        *([IF_NONE_MATCH] if "ETag" in call.answer_headers else []),
        *([DPOP] if proved else []),
        *([IDEMPOTENCY_KEY] if call.idempotent else []),
    ]
    if parameters:
        operation["parameters"] = parameters
    if call.body:
        required = any(field.required for field in msgspec.structs.fields(call.body))
        operation["requestBody"] = {
            "description": _doc(call.body),
            "required": required,
            "content": _content("application/json", call.body),
        }
    return operation


def _device_headers(call: Call) -> Iterator[Json]:
    for name, described in DEVICE_HEADERS.items():
        header = {"name": name, "in": "header", **described}
        if name in NEEDED_DEVICE_HEADERS:
            if KEY in call.proofs:
                header["description"] += "; needed without an authKey"
            else:
                header["required"] = True
        yield header


def _webhook(kind: type[Data]) -> Json:
    return {
        "operationId": kind.type,
        "summary": _doc(kind),
        "tags": [WEBHOOKS],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in WEBHOOK_HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {
                            "type": {"const": kind.type},
                            "timestamp": {**msgspec.json.schema(Time), "description": "when it happened"},
                            "data": {"$ref": f"#/components/schemas/{kind.__name__}"},
                        },
                    }
                }
            },
        },
        "responses": {
            "2XX": {"description": "It was taken. Anything else is a failure, and it comes again."},
            "410": {"description": "Nothing is wanted any more: for an hour nothing is sent."},
            "429": {"description": "Too much: nothing is sent for as long as `Retry-After` says, an hour at most."},
        },
    }


def _tag(call: Call) -> str:
    return call.path.removeprefix(f"{API}/").split("/")[0] if call.path.startswith(API) else OPERATION


def _success(call: Call, proved: bool) -> Json:
    success: Json = {"description": HTTPStatus(call.status).phrase}
    if call.answer:
        success = {"description": _doc(call.answer), "content": _content(call.media_type, call.answer)}
    elif call.status == 200:
        success["content"] = {call.media_type: {"schema": {"type": "string"}}}
    _add_headers(success, [*call.answer_headers, *(["DPoP-Nonce"] if proved else [])])
    found = {str(status): success for status in (call.status, call.status_again) if status}
    if "ETag" in call.answer_headers:
        found["304"] = {"description": "Nothing has changed since `If-None-Match`."}
        _add_headers(found["304"], ["ETag"])
    return found


def _refusals(codes: Iterable[Code]) -> Json:
    by_status: dict[int, list[Code]] = {}
    for code in codes:
        by_status.setdefault(SHAPES[code].status, []).append(code)
    return {str(status): _refusal(found) for status, found in sorted(by_status.items())}


def _refusal(codes: Sequence[Code]) -> Json:
    """One status: which codes it can have, and when."""
    content = _content(PROBLEM_JSON, Problem)
    content[PROBLEM_JSON]["examples"] = {each.value: {"$ref": f"#/components/examples/{each}"} for each in codes}
    response: Json = {
        "description": "\n".join(f"- `{each}`: {SHAPES[each].when}" for each in codes),
        "content": content,
    }
    _add_headers(
        response,
        [
            *(["WWW-Authenticate"] if CHALLENGES.keys() & set(codes) else []),
            *(["DPoP-Nonce"] if Code.INVALID_PROOF in codes else []),
            *(["Retry-After"] if RETRIED & set(codes) else []),
        ],
    )
    return response


def _problem_example(code: Code) -> Json:
    shape = SHAPES[code]
    problem: Json = {"type": "about:blank", "title": shape.title, "status": shape.status, "code": code.value}
    if code in RETRIED:
        problem["retryAfter"] = 10
    return {"summary": shape.title, "description": shape.when, "value": problem}


def _doc(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def _content(media_type: str, kind: type) -> Json:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}


def _add_headers(response: Json, names: Sequence[str]) -> None:
    if names:
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
