"""Answers of the calls on apps with access."""

from typing import Annotated

from msgspec import Meta

from pairing_ws.web.wire.base import Json, Time


class AppView(Json, omit_defaults=False):
    """An application that has access to the account: one login at it."""

    id: Annotated[str, Meta(description="its id: the `sid` of its id_tokens")]
    client_id: Annotated[str, Meta(description="the application's `client_id`")]
    name: Annotated[str, Meta(description="the application's name for people, by the operator")]
    scopes: Annotated[list[str], Meta(description="what it was granted", examples=[["openid", "email"]])]
    created_at: Annotated[Time, Meta(description="when it got access")]
    last_used_at: Annotated[Time, Meta(description="when it last used it, to the minute")]
    last_ip: Annotated[str, Meta(description="the address from which that was")]
    let_in_by: Annotated[str, Meta(description="id of the device where a person let it in")]
    offline: Annotated[bool, Meta(description="whether it keeps access when that device logs itself out")]
    logo_uri: Annotated[str | None, Meta(description="the application's picture; null if it has none")] = None


class Apps(Json):
    """The apps that have access to the account."""

    apps: Annotated[list[AppView], Meta(description="newest first")]
