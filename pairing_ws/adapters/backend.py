"""What a store of short-lived things has to offer: the one value that `components` chooses."""

from typing import TYPE_CHECKING, NamedTuple

from pairing_ws.adapters.subscribers import SubscriberRegistry
from pairing_ws.core.ports import Bus, SharedCounters
from pairing_ws.oauth.ports import CodeStore
from pairing_ws.pairing.ports import PairingStore

if TYPE_CHECKING:
    from pairing_ws.adapters.sql.shared_keys import Fingerprints


class MessageBus(SubscriberRegistry, Bus):
    """A registry that publishes, too. It has to be entered before it is used."""


class Backend(NamedTuple):
    """`fingerprints` is None where no other server can share the store."""

    bus: MessageBus
    pairings: PairingStore
    codes: CodeStore
    counters: SharedCounters
    fingerprints: "Fingerprints | None"
