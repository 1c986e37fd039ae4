"""The last step: the number that the new device may have to show, its key, and exactly one session or client's use."""

from typing import Generic, TypeVar

from pairing_ws.core import codes
from pairing_ws.core.devices import Approver, NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.ports import Limits, Prove, unproved
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.machine import Event, Pairing, Status, Verification, refusal
from pairing_ws.pairing.ports import Accounts
from pairing_ws.pairing.types import BySecret
from pairing_ws.pairing.views import Views, not_found

SessionT = TypeVar("SessionT")

MAX_FAILED_ATTEMPTS = 3


class Logins(Generic[SessionT]):
    """The last step of a pairing. `key` is the pepper of all derived codes."""

    def __init__(
        self, views: Views, changes: Changes, accounts: Accounts[SessionT], limits: Limits, key: bytes
    ) -> None:
        self._views = views
        self._changes = changes
        self._accounts = accounts
        self._limits = limits
        self._key = key

    async def log_in(
        self,
        pairing_id: str,
        holder: BySecret,
        number: str | None = None,
        device_code: str | None = None,
        prove: Prove = unproved,
    ) -> SessionT:
        """Exchange the approved pairing for keys: check, swap to consumed, then the SQL transaction, which makes it
        exactly one session.

        Until that has committed, the same secret may come again and finish. A new device that has shown a key has to
        prove it first. Raises NUMBER_REQUIRED, NUMBER_MISMATCH (with `attemptsLeft`), DEVICE_CHANGED, RATE_LIMITED,
        CLIENT_PAIRING, what `prove` and the accounts raise, and what the state machine says.
        """
        proved = False
        while True:
            view = await self._views.bare_view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            device, approver = pairing.new_device, pairing.approver
            if pairing.client:
                raise Refused(Code.CLIENT_PAIRING, "an application was let in; its device has to ask /oauth/token")
            if device and device_code is not None and device_code != device.code:
                raise Refused(Code.DEVICE_CHANGED, "this is not the device that was approved")
            if device is None or approver is None:
                raise refusal(pairing, Event.LOGIN)
            if pairing.status not in (Status.APPROVED, Status.CONSUMED):
                self._refuse_repeated_number(pairing, codes.normal_number(number or ""))
                raise refusal(pairing, Event.LOGIN)
            if device.key_thumbprint and not proved:
                # Before the number: a thief of the secret alone must not use up its attempts.
                await prove(device.key_thumbprint)
                proved = True
            consumed = await self._consume(pairing, now, approver, device, number, holder.secret)
            if consumed is not None:
                return await self._accounts.log_in(consumed.id, approver, device, holder.secret)

    async def consume_for_client(
        self, pairing_id: str, holder: BySecret, client_id: str, number: str | None = None
    ) -> Pairing:
        """The device authorization, used up, for its client to begin what the approver has allowed: exactly once, which
        is the caller's work. The same holder may come again.

        Raises NOT_FOUND also where it is no client's or another one's, NUMBER_REQUIRED and NUMBER_MISMATCH (with
        `attemptsLeft`) only where the client has said that it sends numbers, and otherwise what `log_in` raises.
        """
        while True:
            view = await self._views.bare_view(pairing_id, holder)
            pairing, now = view.pairing, view.now
            if pairing.client is None or pairing.client.id != client_id:
                raise not_found()
            approver = pairing.approver
            if approver is None or pairing.status not in (Status.APPROVED, Status.CONSUMED):
                self._refuse_repeated_number(pairing, codes.normal_number(number or ""))
                raise refusal(pairing, Event.LOGIN)
            consumed = await self._consume(pairing, now, approver, None, number, holder.secret)
            if consumed is not None:
                return consumed

    async def _consume(
        self,
        pairing: Pairing,
        now: int,
        approver: Approver,
        device: NewDevice | None,
        number: str | None,
        secret: str,
    ) -> Pairing | None:
        """The approved or consumed pairing, consumed; None if it changed meanwhile. Without a device it is a
        client's."""
        if pairing.status is Status.CONSUMED:
            return pairing
        if pairing.verification is Verification.NUMBER and not await self._number_is_right(pairing, now, number):
            return None
        await self._accounts.check_login(approver, device)
        became = None
        if device:
            # Last, for it may take seconds, and before the pairing is used up: one that is refused stays approved.
            await self._accounts.admit(pairing.id, approver, device, secret)
            became = self._accounts.device_id(approver, device)
        consumed = pairing.after(Event.LOGIN, now, login_device_id=became)
        return consumed if await self._changes.replace(Event.LOGIN, pairing, consumed) else None

    async def _number_is_right(self, pairing: Pairing, now: int, number: str | None) -> bool:
        """True if it is; False if the pairing changed meanwhile. A wrong number is counted, then raised."""
        if number is None:
            raise Refused(Code.NUMBER_REQUIRED, "type the number that the other device shows")
        digits = codes.normal_number(number)
        if digits is None:
            # A typing error and no guess: it costs no attempt.
            raise _mismatch(pairing)
        self._refuse_repeated_number(pairing, digits)
        account = pairing.approver.user_id if pairing.approver else ""
        # A new pairing brings new attempts, so the account counts them too.
        await self._limits.check("number", account)
        if codes.matches(digits, codes.digest(codes.verification_number(self._key, pairing.id))):
            return True
        failed = pairing.failed_attempts + 1
        last = failed >= MAX_FAILED_ATTEMPTS
        tried = (*pairing.wrong_numbers, self._attempt_digest(pairing, digits))
        event = Event.DENY if last else Event.WRONG_NUMBER
        counted = pairing.after(event, now, failed_attempts=failed, wrong_numbers=tried)
        if not await self._changes.replace(event, pairing, counted):
            return False
        await self._limits.hit("number", account)
        if last and pairing.approver:
            await self._accounts.note("pairing.number_missed", pairing.approver, pairing.new_device, pairing.id)
        raise _mismatch(counted)

    def _refuse_repeated_number(self, pairing: Pairing, digits: str | None) -> None:
        """Raises NUMBER_MISMATCH for a wrong number that has been counted. A client that lost the answer sends it
        again, and the same answer gives nothing away. The third wrong number has ended the pairing."""
        answerable = pairing.status is Status.APPROVED or pairing.failed_attempts == MAX_FAILED_ATTEMPTS
        if answerable and digits and self._attempt_digest(pairing, digits) in pairing.wrong_numbers:
            raise _mismatch(pairing)

    def _attempt_digest(self, pairing: Pairing, digits: str) -> str:
        return codes.base64url(codes.keyed_digest(self._key, "wrong-number", f"{pairing.id}:{digits}")[:16])


def _mismatch(pairing: Pairing) -> Refused:
    return Refused(
        Code.NUMBER_MISMATCH, "that is not the number", attemptsLeft=MAX_FAILED_ATTEMPTS - pairing.failed_attempts
    )
