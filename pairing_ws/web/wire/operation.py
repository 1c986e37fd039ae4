"""Answers for operators and for the host application, and the problem document of every refusal."""

from typing import Annotated, Literal

from msgspec import Meta

from pairing_ws.web.wire.base import Json


class Health(Json):
    """The server answers."""

    status: Annotated[Literal["ok"], Meta(description="always `ok`: anything else is a problem document")]


class PublicKey(Json):
    """A public key (RFC 7518, sections 6.2 and 6.3). authKeys are signed with EC keys alone."""

    kty: Annotated[Literal["EC", "RSA"], Meta(description="the key's family")]
    kid: Annotated[str, Meta(description="its id: the `kid` of tokens that it has signed")]
    use: Annotated[Literal["sig"], Meta(description="what it is for: signatures")]
    alg: Annotated[Literal["ES256", "RS256"], Meta(description="the algorithm of those signatures")]
    crv: Annotated[Literal["P-256"] | None, Meta(description="of an EC key: the curve")] = None
    x: Annotated[str | None, Meta(description="of an EC key: x coordinate, base64url")] = None
    y: Annotated[str | None, Meta(description="of an EC key: y coordinate, base64url")] = None
    n: Annotated[str | None, Meta(description="of an RSA key: modulus, base64url")] = None
    e: Annotated[str | None, Meta(description="of an RSA key: exponent, base64url")] = None


class PublicKeys(Json):
    """The keys that authKeys and the tokens of applications are signed with (RFC 7517)."""

    keys: Annotated[
        list[PublicKey],
        Meta(description="of each algorithm the one that signs, then those that are still trusted"),
    ]


class Problem(Json):
    """A refusal (RFC 9457). `code` is stable; `title` and `detail` may change."""

    type: Annotated[str, Meta(description="always `about:blank`", examples=["about:blank"])]
    title: Annotated[str, Meta(description="the code in words")]
    status: Annotated[int, Meta(description="the HTTP status")]
    code: Annotated[str, Meta(description="the stable machine word; new ones may be added", examples=["not_found"])]
    detail: Annotated[str | None, Meta(description="what about this request, for people")] = None
    retry_after: Annotated[int | None, Meta(description="seconds to wait, as in `Retry-After`")] = None
    pairing_status: Annotated[str | None, Meta(description="with `invalid_state`: the pairing's `status`")] = None
    initiator: Annotated[str | None, Meta(description="with `wrong_direction`: which device shows the code")] = None
    attempts_left: Annotated[int | None, Meta(description="with `number_mismatch`: how many tries are left")] = None
    methods: Annotated[
        list[Literal["webauthn", "host"]] | None, Meta(description="with `step_up_required`: how it can be given")
    ] = None
    reason: Annotated[
        Literal["replaced", "revoked", "logged_out", "key_reused"] | None,
        Meta(description="with `unauthenticated`, for a key that was once valid: why the session ended"),
    ] = None
    max_age: Annotated[
        int | None, Meta(description="with `step_up_required`: how many seconds old the proof may be")
    ] = None
    nonce: Annotated[str | None, Meta(description="with `invalid_proof` and `use_dpop_nonce`: for the next proof")] = (
        None
    )
