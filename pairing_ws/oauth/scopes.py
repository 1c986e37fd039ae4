"""The scopes that have a meaning here, and what each lets a client know of an account (OpenID Connect Core, 5.4)."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pairing_ws.accounts.ports import Account
from pairing_ws.oauth.ports import Client

OPENID = "openid"
OFFLINE_ACCESS = "offline_access"
# Nothing is known of addresses and telephones: those scopes are granted, and add no claim.
KNOWN = (OPENID, "profile", "email", "groups", "address", "phone", OFFLINE_ACCESS)


def granted(client: Client, asked: Iterable[str]) -> tuple[str, ...]:
    """What this client gets of the scopes that it asks for, in its order: those that it was registered with, or else
    all that mean something here. Others are passed over (RFC 6749, section 3.3)."""
    return tuple(each for each in dict.fromkeys(asked) if each in (client.scopes or KNOWN))


def claims(account: Account, scopes: Collection[str]) -> Mapping[str, Any]:
    """What these scopes tell of the account, `sub` apart; the same in id_tokens and at UserInfo."""
    user, profile = account
    told: dict[str, Any] = {}
    if "profile" in scopes:
        told |= {"name": profile.name or user.display_name, "preferred_username": user.username}
    if "email" in scopes and profile.email:
        told |= {"email": profile.email, "email_verified": profile.email_verified}
    if "groups" in scopes:
        # An array though it is empty: clients map it to roles.
        told["groups"] = list(profile.groups)
    return told
