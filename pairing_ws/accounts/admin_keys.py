"""Who may call as the operator: the host application's backend, by a key that the settings hold."""

from collections.abc import Mapping, Sequence

from pairing_ws.accounts.refusals import unauthenticated
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.network import block
from pairing_ws.core.ports import Limits

# Of a key's digest: names the key in the log, and gives nothing of it away.
NAME_LETTERS = 8


class AdminKeys:
    """`keys`: each of them counts. While a key is exchanged there are two; none where no call is open."""

    def __init__(self, keys: Sequence[str], limits: Limits, audit: Audit) -> None:
        self._digests = [codes.digest(each) for each in keys]
        self._limits = limits
        self._audit = audit

    async def admit(self, key: str | None, ip: str) -> str:
        """The name of the key in the log. Raises UNAUTHENTICATED, one answer for all that is no key, and RATE_LIMITED
        for too many of those from an address, or too many calls by a key.

        A right key is never refused for what others have tried from its address.
        """
        # Each is looked at: how long it takes says nothing of which it was.
        found = [digest for digest in self._digests if codes.matches(key or "", digest)]
        if not found:
            await self._limits.hit("admin_failure", block(ip))
            self._audit("admin.refused", ip=ip)
            raise unauthenticated()
        name = found[0][:NAME_LETTERS]
        await self._limits.hit("admin", name)
        return name

    def called(self, key: str, call: str, status: int, ip: str, facts: Mapping[str, str | None]) -> None:
        """Write that this call, let in by the key of that name, was answered."""
        self._audit("admin.called", call=call, key=key, status=status, ip=ip, **facts)
