"""Signs what the operator's own applications are posted (Standard Webhooks 1.0.0, symmetric signatures: `v1`)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook


class WebhookSignatures:
    """`secrets`: each in the form `whsec_…`, as `config.values.WebhookSecrets` has checked them. While one is exchanged
    for another there are several: each makes a signature, and a receiver takes a message of which one is right."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._webhooks = [Webhook(each) for each in secrets]

    def headers(self, message_id: str, now: int, body: bytes) -> dict[str, str]:
        """What a request needs beside this body (UTF-8). `message_id` is the same at each attempt and has no full stop;
        `now` is the time of this attempt in ms: a receiver refuses what is five minutes old."""
        at = datetime.fromtimestamp(now // 1000, UTC)
        text = body.decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(now // 1000),
            "webhook-signature": " ".join(each.sign(message_id, at, text) for each in self._webhooks),
        }
