"""The one table of calls. Routing, the OpenAPI document and the tests' list of what exists all come from it."""

from pairing_ws.core.errors import Code
from pairing_ws.web.admin_calls import ADMIN_CALLS
from pairing_ws.web.call import DEVICE, KEY, PROVED, SECRET, Call
from pairing_ws.web.handlers import accounts, oauth, pairings, passkeys, upstream
from pairing_ws.web.paths import API
from pairing_ws.web.wire.accounts import (
    ActivityLog,
    CeremonyOptions,
    Devices,
    DeviceView,
    Keys,
    Me,
    Passkeys,
    PasskeyView,
    PushView,
    Revoked,
    SteppedUp,
)
from pairing_ws.web.wire.apps import Apps
from pairing_ws.web.wire.oauth import Authorization, AuthorizeRequest
from pairing_ws.web.wire.pairings import ClaimedPairing, CreatedPairing, OpenPairings, PairingView, ReservedCode
from pairing_ws.web.wire.requests import (
    AcceptRequest,
    ClaimRequest,
    CreateRequest,
    DenyRequest,
    DeviceRequest,
    LoginRequest,
    PasskeyRequest,
    PresenceRequest,
    RefreshRequest,
    ReserveCodeRequest,
    StepUpRequest,
    UpstreamRequest,
    UserCodeRequest,
)

_ENDED = (Code.INVALID_STATE, Code.PAIRING_CANCELLED, Code.PAIRING_EXPIRED)
_CLAIM = (
    Code.NOT_FOUND, Code.ALREADY_CLAIMED, Code.WRONG_DIRECTION, Code.SAME_DEVICE, Code.DEVICE_CHANGED,
    Code.NETWORK_REFUSED, *_ENDED,
)  # fmt: skip
_LOGIN = (Code.ACCOUNT_LOCKED, Code.DEVICE_LIMIT, Code.LOGIN_REFUSED, *PROVED)

CALLS: tuple[Call, ...] = (
    Call(
        "POST", f"{API}/pairings", pairings.create, 201, CreatedPairing, CreateRequest,
        proofs=(KEY, SECRET, DEVICE), refusals=(Code.DEVICE_HEADERS_REQUIRED, Code.DEVICE_QUARANTINED),
        answer_headers=("Location",),
    ),
    Call("GET", f"{API}/pairings", pairings.list_open, 200, OpenPairings, proofs=(KEY,)),
    Call(
        "POST", f"{API}/pairings/{{id}}/presence", pairings.be_present, 200, PairingView, PresenceRequest,
        proofs=(SECRET,), refusals=(Code.NOT_FOUND,),
    ),
    Call(
        "GET", f"{API}/pairings/{{id}}", pairings.read, 200, PairingView,
        proofs=(KEY, SECRET), refusals=(Code.NOT_FOUND,), query=("since", "wait"),
        answer_headers=("ETag",),
    ),
    Call(
        "POST", f"{API}/pairings/{{id}}/keep", pairings.reserve_code, 200, ReservedCode, ReserveCodeRequest,
        proofs=(KEY, SECRET), refusals=(Code.NOT_FOUND,),
    ),
    Call(
        "POST", f"{API}/pairings/{{id}}/claim", pairings.claim, 200, ClaimedPairing, ClaimRequest,
        proofs=(KEY, SECRET, DEVICE), refusals=(Code.DEVICE_HEADERS_REQUIRED, *_CLAIM),
    ),
    Call(
        "POST", f"{API}/pairings/claim", pairings.claim_by_user_code, 200, ClaimedPairing, UserCodeRequest,
        proofs=(KEY, SECRET, DEVICE), refusals=(Code.DEVICE_HEADERS_REQUIRED, Code.NOT_FOUND),
    ),
    Call(
        "POST", f"{API}/pairings/{{id}}/approve", pairings.approve, 200, PairingView,
        proofs=(KEY,),
        refusals=(
            Code.NOT_FOUND, Code.NOT_SCANNED, Code.DEVICE_QUARANTINED, Code.DEVICE_LIMIT, Code.STEP_UP_REQUIRED,
            *_ENDED,
        ),
    ),
    Call(
        "POST", f"{API}/pairings/{{id}}/deny", pairings.deny, 200, PairingView, DenyRequest,
        proofs=(KEY,), refusals=(Code.NOT_FOUND, *_ENDED),
    ),
    Call(
        "DELETE", f"{API}/pairings/{{id}}", pairings.cancel, 204,
        proofs=(KEY, SECRET), refusals=(Code.NOT_FOUND, Code.WRONG_DIRECTION, *_ENDED),
    ),
    Call(
        "POST", f"{API}/pairings/{{id}}/login", pairings.log_in, 200, Keys, LoginRequest,
        proofs=(SECRET,),
        refusals=(
            Code.NOT_FOUND, Code.NOT_APPROVED, Code.NUMBER_REQUIRED, Code.NUMBER_MISMATCH, Code.PAIRING_DENIED,
            Code.PAIRING_CANCELLED, Code.PAIRING_EXPIRED, Code.PAIRING_CONSUMED, Code.DEVICE_CHANGED,
            Code.CLIENT_PAIRING, *_LOGIN,
        ),
        answer_headers=("Set-Cookie",),
    ),
    Call(
        "POST", f"{API}/sessions/refresh", accounts.refresh, 200, Keys, RefreshRequest,
        refusals=(
            Code.DOUBLED_COOKIE, Code.UNAUTHENTICATED, Code.ALREADY_REFRESHED, Code.ACCOUNT_LOCKED,
            Code.FOREIGN_ORIGIN, *PROVED,
        ),
        answer_headers=("Set-Cookie",),
    ),
    Call(
        "DELETE", f"{API}/sessions/current", accounts.log_out, 204, proofs=(KEY,), refusals=(Code.FOREIGN_ORIGIN,),
        answer_headers=("Set-Cookie",),
    ),
    Call(
        "POST", f"{API}/sessions/current/step-up/options", passkeys.step_up_options, 200, CeremonyOptions,
        proofs=(KEY,), refusals=(Code.NOT_FOUND,),
    ),
    Call(
        "POST", f"{API}/sessions/current/step-up", passkeys.step_up, 200, SteppedUp, StepUpRequest,
        proofs=(KEY,), refusals=(Code.STEP_UP_REFUSED,),
    ),
    Call("GET", f"{API}/me", accounts.me, 200, Me, proofs=(KEY,)),
    Call(
        "GET", f"{API}/devices", accounts.devices, 200, Devices,
        proofs=(KEY,), query=("known", "wait"), answer_headers=("ETag",),
    ),
    Call("GET", f"{API}/push", accounts.push, 200, PushView),
    Call(
        "PATCH", f"{API}/devices/{{id}}", accounts.change_device, 200, DeviceView, DeviceRequest,
        proofs=(KEY,), refusals=(Code.NOT_FOUND, Code.DEVICE_QUARANTINED),
    ),
    Call(
        "DELETE", f"{API}/devices/{{id}}", accounts.revoke_device, 204,
        proofs=(KEY,), refusals=(Code.NOT_FOUND, Code.DEVICE_QUARANTINED), query=("descendants",),
    ),
    Call(
        "POST", f"{API}/devices/revoke-others", accounts.revoke_others, 200, Revoked,
        proofs=(KEY,), refusals=(Code.DEVICE_QUARANTINED,),
    ),
    Call("GET", f"{API}/passkeys", passkeys.passkeys, 200, Passkeys, proofs=(KEY,)),
    Call(
        "POST", f"{API}/passkeys/options", passkeys.passkey_options, 200, CeremonyOptions,
        proofs=(KEY,), refusals=(Code.DEVICE_QUARANTINED, Code.STEP_UP_REQUIRED, Code.PASSKEY_LIMIT),
    ),
    Call(
        "POST", f"{API}/passkeys", passkeys.add_passkey, 201, PasskeyView, PasskeyRequest,
        proofs=(KEY,),
        refusals=(Code.DEVICE_QUARANTINED, Code.STEP_UP_REQUIRED, Code.PASSKEY_REFUSED, Code.PASSKEY_LIMIT),
    ),
    Call(
        "DELETE", f"{API}/passkeys/{{id}}", passkeys.remove_passkey, 204,
        proofs=(KEY,), refusals=(Code.NOT_FOUND, Code.DEVICE_QUARANTINED, Code.STEP_UP_REQUIRED),
    ),
    Call(
        "GET", f"{API}/activity", accounts.activity, 200, ActivityLog, proofs=(KEY,), query=("before", "only")
    ),
    Call(
        "POST", f"{API}/invites/accept", accounts.accept_invite, 200, Keys, AcceptRequest,
        proofs=(SECRET, DEVICE),
        refusals=(Code.DEVICE_HEADERS_REQUIRED, Code.NOT_FOUND, Code.INVITE_USED, Code.INVITE_EXPIRED, *_LOGIN),
        answer_headers=("Set-Cookie",),
    ),
    Call(
        "POST", f"{API}/upstream/login", upstream.log_in_by_provider, 200, Keys, UpstreamRequest,
        proofs=(DEVICE,),
        refusals=(
            Code.DEVICE_HEADERS_REQUIRED, Code.NOT_FOUND, Code.UPSTREAM_LOGIN_OVER, Code.FOREIGN_ORIGIN, *_LOGIN
        ),
        answer_headers=("Set-Cookie",),
    ),
    Call("GET", f"{API}/apps", oauth.apps, 200, Apps, proofs=(KEY,)),
    Call(
        "DELETE", f"{API}/apps/{{id}}", oauth.revoke_app, 204,
        proofs=(KEY,), refusals=(Code.NOT_FOUND, Code.DEVICE_QUARANTINED),
    ),
    Call(
        "POST", f"{API}/authorizations", oauth.authorize, 200, Authorization, AuthorizeRequest,
        proofs=(KEY,), refusals=(Code.AUTHORIZATION_INVALID, Code.AUTHORIZATION_STALE, Code.ACCOUNT_LOCKED),
        answer_headers=("Set-Cookie",),
    ),
    *ADMIN_CALLS,
)  # fmt: skip
