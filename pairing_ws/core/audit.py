"""The security events of the log, by names that stay, and how a story reports one."""

from collections.abc import Mapping
from typing import Protocol

# Each name is `noun.verb`. A story reports no other.
EVENTS: Mapping[str, str] = {
    "pairing.created": "a device made a pairing and shows its code (level `debug`: strangers can make any number)",
    "pairing.claimed": "a device scanned or typed the code: the approver, or the new device that is named",
    "pairing.approved": "the approver let the new device in",
    "pairing.denied": "the approver refused, lost the right to decide, or the number was wrong too often",
    "pairing.number_missed": "a wrong number was typed",
    "pairing.cancelled": "its creator took it back",
    "pairing.consumed": "the new device exchanged it for keys",
    "pairing.reported": "the approver says that they did not start it",
    "pairing.left": "the new device's page was left (level `debug`: strangers can do so at will)",
    "pairing.returned": "it was there again in time (level `debug`)",
    "session.refused": "the host application refused a login, which did not happen: `why` are its words",
    "session.started": "a login, by an approval (`qr`), an invite (`invite`), your backend (`host`), the provider that"
    " people may log in with (`upstream`) or an exchanged token (`exchange`)",
    "session.replaced": "an older session of a device code ended, because the code logged in again, as `session`",
    "session.refreshed": "keys were renewed (level `debug`)",
    "session.stepped_up": "a person proved to be present, by a passkey or the host application",
    "session.step_up_refused": "such a proof was refused",
    "session.logged_out": "a device logged itself out",
    "session.key_reused": "a replaced refreshKey was used again, by a copy; the session ended",
    "device.revoked": "a device was logged out by another one, by itself, or by the operator",
    "device.revoked_others": "all devices but one were logged out",
    "device.renamed": "a device got another name",
    "passkey.added": "a passkey was added",
    "passkey.removed": "a passkey was removed",
    "grant.started": "an application got its first tokens: `client`, for the account, with `scopes`",
    "grant.refreshed": "an application renewed its tokens (level `debug`)",
    "grant.ended": "an application, `client`, lost its access `grant`: `why` is `revoked` (by it or a person),"
    " `logged_out`, `replaced` (its login by another one), `device_revoked`, `key_reused`, `reused` (a code or token),"
    " `limit` (of an account's apps), `locked`, `deleted` (the account) or `client_removed`",
    "authorization.granted": "an application got a code for this account, by a person's word or a remembered consent",
    "consent.given": "a person let an application have what `scopes` says",
    "consent.refused": "a person refused an application",
    "forward_auth.entered": "a person's browser was let in to a protected host: `host`, by their login `session`",
    "forward_auth.refused": "it was not, because the account is in none of the groups that this host is for",
    "logout.told": "an application was told that a login of it has ended: `grant` is its `sid` there",
    "logout.failed": "it could not be told, for what `why` says, and is told again later",
    "logout.given_up": "it was not told, for a day or because it refused to hear it",
    "webhook.delivered": "the receiver has taken an event, `webhook` of the `type` (level `debug`)",
    "webhook.failed": "it has not, for what `why` says; it is tried again",
    "webhook.given_up": "it has not for a day, and is not sent any more",
    "webhook.paused": "the receiver wants to be left alone until that time; 410 is taken as an hour",
    "webhook.late": "events wait for five minutes or longer: `waiting` of them, the oldest for `seconds`",
    "webhook.in_time": "none does any more",
    "webhook.dropped": "events that were too many to wait were dropped: of one `account`, or the oldest of all",
    "client.added": "the operator registered an application: `client`, called `client_name`",
    "client.changed": "the operator changed what is registered of an application: the fields `changed`",
    "client.rotated": "the operator gave an application another secret",
    "client.removed": "the operator removed an application, with all that it was granted",
    "invite.created": "the operator made a link that logs a device in",
    "account.created": "the operator made an account, or a person of another issuer got one",
    "account.linked": "an account's person is `subject` at `issuer`, by the operator's word or since it was opened",
    "account.unlinked": "the operator took such a link away",
    "upstream.failed": "a login with another issuer, or an exchange of its token, was refused for what `why` says",
    "upstream.unknown": "a person has logged in with another issuer, as `subject`, and no account is linked to that",
    "account.profile_changed": "the operator changed what applications are told of an account: the fields `changed`",
    "account.locked": "the operator locked an account",
    "account.unlocked": "the operator unlocked an account",
    "account.deleted": "the operator deleted an account",
    "admin.called": "a call of `/api/v1/admin` was answered: `call`, for the account or `client`, by the key that `key`"
    " names, with `status`",
    "admin.refused": "such a call came without one of the keys",
    "key.created": "the first signing key was made",
    "key.rotated": "a new key signs",
    "key.removed": "a signing key was withdrawn",
}
# Too frequent to be logged by default.
OFTEN = frozenset({
    "pairing.created", "pairing.left", "pairing.returned", "session.refreshed", "grant.refreshed", "webhook.delivered",
})  # fmt: skip


class Audit(Protocol):
    def __call__(self, event: str, /, **facts: str | int | None) -> None:
        """Report one of `EVENTS`. `facts` hold no code, secret, key or token. Never raises, never blocks."""


def no_audit(event: str, /, **facts: str | int | None) -> None:
    """`Audit` that drops the event."""
