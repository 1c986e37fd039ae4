"""How a pairing begins: by a device that wants in, a device that lets others in, or an application's device."""

from typing import Any

import msgspec

from pairing_ws.core import codes
from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.network import block, is_public
from pairing_ws.core.ports import Limits
from pairing_ws.pairing import claim_codes
from pairing_ws.pairing.abuse import is_over
from pairing_ws.pairing.changes import Changes
from pairing_ws.pairing.machine import ClientRequest, Initiator, Pairing
from pairing_ws.pairing.ports import Full, Loaded, PairingStore
from pairing_ws.pairing.types import ByKey, Created, Policy, Role, View

# Of all live pairings, this share is kept for signed-in devices, so that a flood of strangers can't lock them out.
SIGNED_IN_SHARE = 10


class Creation:
    """`key` is the pepper of all derived codes. Every method raises Refused: RATE_LIMITED, and UNAVAILABLE also where
    there are as many live pairings as may be."""

    def __init__(
        self,
        store: PairingStore,
        changes: Changes,
        limits: Limits,
        policy: Policy,
        random: codes.RandomBytes,
        key: bytes,
    ) -> None:
        self._store = store
        self._changes = changes
        self._limits = limits
        self._policy = policy
        self._random = random
        self._key = key

    async def create(self, creator: NewDevice | ByKey, ip: str, secret: str | None = None) -> Created:
        """A new pairing: flow 2 when device B creates it, flow 1 when a logged-in device does.

        `secret` is B's own choice; without one B gets one, once.
        """
        by_key = isinstance(creator, ByKey)
        await self._count(ip, by_stranger=not by_key)
        if isinstance(creator, ByKey):
            creator.refuse_approval()
        else:
            secret = secret or codes.token(self._random, 32)
        pairing_id = codes.token(self._random)
        rotate = self._policy.rotate
        seed = claim_codes.seed(self._key, pairing_id) if rotate else None
        code = claim_codes.rotating_code(seed, 0) if seed else codes.token(self._random)
        added, user_code = await self._add(
            signed_in=by_key,
            id=pairing_id,
            initiator=Initiator.LOGGED_IN_DEVICE if by_key else Initiator.NEW_DEVICE,
            expires_at=self._policy.ttl,
            code_hash="" if rotate else codes.digest(code),
            rotate_ms=rotate,
            secret_hash="" if by_key or secret is None else codes.digest(secret),
            new_device=None if isinstance(creator, ByKey) else creator,
            approver=creator.approver if isinstance(creator, ByKey) else None,
        )
        lands = "join" if by_key else "pair"
        text = f"{self._policy.public_url}/{lands}/{pairing_id}#{code}"
        role = Role.APPROVER if by_key else Role.NEW_DEVICE
        shown_seed = codes.base64url(seed) if seed else None
        view = View(added.pairing, role, added.now)
        return Created(view, user_code, None if by_key else secret, text, shown_seed)

    async def create_for_client(self, client: ClientRequest, ip: str, user_agent: str) -> Created:
        """A device authorization: flow 2, for an application, whose device gets the secret.

        The link in `qr_text` tells the user code, for there is no other code to claim it with; it is "" where pictures
        rotate, for this one could not.
        """
        await self._count(ip, by_stranger=True)
        secret = codes.token(self._random, 32)
        added, user_code = await self._add(
            signed_in=False,
            id=codes.token(self._random),
            initiator=Initiator.NEW_DEVICE,
            expires_at=self._policy.client_ttl,
            code_hash="",
            # No device has an empty code, so that it is never taken for the approver's own.
            new_device=NewDevice(code="", name=client.name, ip=ip, user_agent=user_agent),
            client=msgspec.structs.replace(client, secret_hash=codes.digest(secret)),
        )
        text = "" if self._policy.rotate else f"{self._policy.public_url}/link?user_code={user_code}"
        return Created(View(added.pairing, Role.NEW_DEVICE, added.now), user_code, secret, text, None)

    async def _count(self, ip: str, *, by_stranger: bool) -> None:
        await self._limits.hit("create", block(ip))
        # With a logged-in device's code only a device that scans it could trick anyone: the claim checks its origin.
        if by_stranger and is_public(ip):
            await self._limits.check("reported", block(ip))
            await is_over(self._limits.hit("origin", block(ip)))

    async def _add(self, *, signed_in: bool, **fields: Any) -> tuple[Loaded, str]:
        """The pairing with these fields, as it is stored, and its user code."""
        cap = self._policy.max_live
        for _ in range(5):
            user_code = codes.user_code(self._random)
            hashed = codes.user_code_digest(self._key, user_code.replace("-", ""))
            pairing = Pairing(created_at=0, user_code_hash=hashed, **fields)
            try:
                added = await self._store.add(pairing, cap if signed_in else cap - cap // SIGNED_IN_SHARE)
            except Full:
                raise Refused(Code.UNAVAILABLE, "too many live pairings; try again", retry_after=10) from None
            if added:
                self._changes.record("create", added.pairing)
                return added, user_code
        raise Refused(Code.UNAVAILABLE, "no free code; try again", retry_after=1)
