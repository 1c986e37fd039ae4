"""The device grant (RFC 8628): a device without a browser asks, a person types its code elsewhere, the device polls.

A device authorization is a pairing with a client; its device code is `{pairing id}.{secret}`. What is of its own here
is how the device is answered.
"""

from typing import Any

from pairing_ws.core import codes
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import SharedCounters
from pairing_ws.oauth import protocol, scopes
from pairing_ws.oauth.beginnings import Beginnings, Consented
from pairing_ws.oauth.errors import Error, OAuthError, invalid_grant, invalid_request
from pairing_ws.oauth.ports import Client, DeviceGrant
from pairing_ws.oauth.types import Acr, DeviceAuthorization, Policy, TokenRequest, TokenSet
from pairing_ws.pairing.machine import ClientRequest, Pairing, Status
from pairing_ws.pairing.service import PairingService
from pairing_ws.pairing.types import BySecret

# Seconds from one poll to the next (RFC 8628, section 3.2).
INTERVAL = 5
# A poll that comes sooner after another is early. A second less than the interval: the network takes its time with one
# poll, and less with the next.
EARLY_MS = 4000
# `number=supported` in the request: this client shows a field for the number, and knows the errors about it.
SUPPORTED = "supported"

_ENDS = {
    Code.PAIRING_DENIED: (Error.ACCESS_DENIED, "the person refused, or may not decide any more"),
    Code.ACCOUNT_LOCKED: (Error.ACCESS_DENIED, "the account is locked"),
    Code.PAIRING_EXPIRED: (Error.EXPIRED_TOKEN, "the time is over; start again"),
    Code.PAIRING_CANCELLED: (Error.EXPIRED_TOKEN, "the device took it back; start again"),
}


class DeviceGrants:
    def __init__(
        self, pairings: PairingService[Any], beginnings: Beginnings, counters: SharedCounters, policy: Policy
    ) -> None:
        self._verification_uri = f"{policy.issuer}/link"
        self._pairings = pairings
        self._beginnings = beginnings
        self._counters = counters

    async def authorize(self, request: TokenRequest, user_agent: str) -> DeviceAuthorization:
        """Begin a device authorization (sections 3.1 and 3.2).

        With `number=supported` the approver gets a number, where settings ask for one, that the device has to send.

        Raises OAuthError `unauthorized_client` and `invalid_scope`, and Refused: RATE_LIMITED, UNAVAILABLE.
        """
        client = request.client
        _require_device_grant(client)
        asks = ClientRequest(
            id=client.id,
            name=client.name,
            scopes=_scopes(client, request.form.get("scope")),
            logo_uri=client.logo_uri,
            takes_number=request.form.get("number") == SUPPORTED,
            same_network=client.device_grant is DeviceGrant.SAME_NETWORK,
        )
        created = await self._pairings.creation.create_for_client(asks, request.ip, user_agent)
        pairing, now = created.view.pairing, created.view.now
        return DeviceAuthorization(
            device_code=f"{pairing.id}.{created.secret}",
            user_code=created.user_code,
            verification_uri=self._verification_uri,
            verification_uri_complete=created.qr_text or None,
            expires_in=(pairing.expires_at - now) // 1000,
            interval=INTERVAL,
        )

    async def redeem(self, request: TokenRequest) -> TokenSet:
        """The tokens for a device code, once a person has consented (sections 3.4 and 3.5).

        The same request again gets the same answer for 30 s, as long as nothing of that was used; later it ends what
        came of it. Raises OAuthError: `authorization_pending`, `slow_down` for an early poll of what is pending,
        `access_denied`, `expired_token`, and `invalid_grant` alike for an unknown code and another client's. To a
        client that has said `number=supported` also `number_required` and `number_mismatch`, our extensions. Raises
        Refused UNAVAILABLE while a store is away, after which the device goes on polling.
        """
        client = request.client
        _require_device_grant(client)
        device_code = request.form.get("device_code")
        if device_code is None:
            raise invalid_request("device_code is missing")
        pairing_id, _, secret = device_code.partition(".")
        if not codes.is_id(pairing_id) or not codes.is_secret(secret):
            raise _unknown()
        holder = BySecret(secret)
        try:
            pairing = (await self._pairings.views.view(pairing_id, holder)).pairing
        except Refused as refused:
            raise _as_oauth(refused) from refused
        if pairing.client is None or pairing.client.id != client.id:
            raise _unknown()
        if pairing.status in (Status.PENDING, Status.SCANNED):
            # From our own record: most polls end here, and Authlib has nothing to judge.
            raise await self._pending(pairing)
        granted = protocol.redeem_device(request, pairing)
        key = await request.proven_key(None)
        try:
            consumed = await self._pairings.logins.consume_for_client(
                pairing_id, holder, client.id, request.form.get("number")
            )
        except Refused as refused:
            raise _as_oauth(refused) from refused
        approver = consumed.approver
        assert approver
        consented = Consented(
            origin=f"device:{pairing_id}",
            user_id=approver.user_id,
            session_id=approver.session_id,
            device_id=approver.device_id,
            scopes=granted,
            auth_time=(consumed.approved_at or 0) // 1000,
            amr=("qr",),
            acr=Acr.DEVICE,
            offline=True,
        )
        return await self._beginnings.begin(request, consented, key, f"{device_code}\n{key or ''}")

    async def _pending(self, pairing: Pairing) -> OAuthError:
        """Only such a poll is ever early: a person who has consented waits for it. The interval never grows."""
        if await self._counters.mark(f"device-poll:{pairing.id}", EARLY_MS):
            return OAuthError(Error.AUTHORIZATION_PENDING, "nobody has decided yet")
        return OAuthError(Error.SLOW_DOWN, f"nobody has decided yet; ask every {INTERVAL} seconds")


def _require_device_grant(client: Client) -> None:
    if client.device_grant is DeviceGrant.OFF:
        raise OAuthError(Error.UNAUTHORIZED_CLIENT, "the client is not registered for the device grant")


def _scopes(client: Client, asked: str | None) -> tuple[str, ...]:
    """What is asked for, as far as the client may; without a word what it was registered with, or else `openid`."""
    found = scopes.granted(client, asked.split() if asked else client.scopes or (scopes.OPENID,))
    if not found:
        raise OAuthError(Error.INVALID_SCOPE, "the client may have none of these scopes")
    return found


def _unknown() -> OAuthError:
    """One answer for unknown, long over and another client's: RFC 6749, section 5.2."""
    return invalid_grant("the device code is unknown, or was issued to another client")


def _as_oauth(refused: Refused) -> Exception:
    """A store that is away, and a rate, are no answer to the grant: the edge says so by their status."""
    if refused.code in (Code.UNAVAILABLE, Code.RATE_LIMITED):
        return refused
    if refused.code in _ENDS:
        return OAuthError(*_ENDS[refused.code])
    if refused.code is Code.NUMBER_REQUIRED:
        return OAuthError(refused.code.value, "send the number that the person sees, as number")
    if refused.code is Code.NUMBER_MISMATCH:
        left = refused.extra["attemptsLeft"]
        return OAuthError(refused.code.value, f"that is not the number; attempts left: {left}")
    if refused.code is Code.NOT_APPROVED:
        return OAuthError(Error.AUTHORIZATION_PENDING, "nobody has decided yet")
    return _unknown()
