"""Builds the story of webhooks, where the settings name a receiver."""

from typing import TYPE_CHECKING, NamedTuple

from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.sql.webhook_store import SqlWebhooks
from pairing_ws.components.foundation import Foundation
from pairing_ws.webhooks.service import Webhooks

if TYPE_CHECKING:
    from pairing_ws.adapters.webhooks import HttpWebhooks


class Receiver(NamedTuple):
    """What is sent, and the way to the receiver, which has to be entered."""

    webhooks: Webhooks
    http: "HttpWebhooks"


def receiver(base: Foundation) -> Receiver | None:
    settings = base.settings
    if not settings.webhook_url:
        return None
    # Not needed without.
    from pairing_ws.adapters.webhook_signature import WebhookSignatures
    from pairing_ws.adapters.webhooks import HttpWebhooks

    http = HttpWebhooks(settings.webhook_url, WebhookSignatures(settings.webhook_secret), base.targets, base.clock)
    return Receiver(Webhooks(SqlWebhooks(base.database), http, base.clock, base.random, audit), http)
