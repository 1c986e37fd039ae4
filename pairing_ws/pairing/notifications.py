"""What is published on a pairing's channel, and the only code that knows how it is written.

Three kinds, one form each, which every version of this server reads alike: a new state is `{ms} {record}`, the store's
clock and the record of the pairing (`replace.lua` writes it); a takeover is `socket:{mark}`; any other text, the empty
one of the sweep and of a connection that is back included, says no more than "read again".
"""

from typing import NamedTuple

from pairing_ws.pairing.machine import decode_pairing
from pairing_ws.pairing.ports import Loaded

_TAKEOVER = "socket:"


class StateChanged(NamedTuple):
    """The pairing has a new state, which `loaded` gives without a trip to the store."""

    message: str

    def loaded(self) -> Loaded:
        """The new state, as of when it was stored. Decoded here: most of many notifications at once are never read."""
        now, _, record = self.message.partition(" ")
        return Loaded(decode_pairing(record), int(now))


class Takeover(NamedTuple):
    """The socket of the new device that has this mark says that it is the newest. Of two marks the greater is newer."""

    mark: str

    def encode(self) -> str:
        return _TAKEOVER + self.mark


class ReadAgain(NamedTuple):
    """Something may have changed: what this watcher may see has to be read."""


Notification = StateChanged | Takeover | ReadAgain


def decode_notification(message: str) -> Notification:
    """Never raises: what it does not know means "read again"."""
    if message.startswith(_TAKEOVER):
        return Takeover(message.removeprefix(_TAKEOVER))
    now, _, record = message.partition(" ")
    return StateChanged(message) if record and now.isdigit() else ReadAgain()
