"""Bodies and answers of the calls of `/api/v1/admin` on applications. Unknown members are ignored."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from pairing_ws.web.wire.base import Json, Text, Time

Uri = Annotated[str, Meta(max_length=2048)]
Uris = list[Uri]
Algorithm = Literal["RS256", "ES256"]
DeviceGrant = Literal["off", "same_network", "on"]
Keys = dict[str, Any]


class ClientChanges(Json):
    """What to change about an application; what is absent stays, and a list replaces all that there were."""

    name: Annotated[Text | UnsetType, Meta(description="what people know it by, 1 to 128 characters")] = UNSET
    redirect_uris: Annotated[Uris | UnsetType, Meta(description="where it is answered, letter by letter")] = UNSET
    post_logout_redirect_uris: Annotated[Uris | UnsetType, Meta(description="where a log-out ends")] = UNSET
    backchannel_logout_uri: Annotated[
        Uri | UnsetType | None, Meta(description="is told when a session ends here (Back-Channel Logout); null: none")
    ] = UNSET
    device_grant: Annotated[
        DeviceGrant | UnsetType, Meta(description="whether it may log in on devices without a browser (RFC 8628)")
    ] = UNSET
    scopes: Annotated[list[Text] | UnsetType, Meta(description="what it may ask for; empty: all")] = UNSET
    id_token_alg: Annotated[Algorithm | UnsetType, Meta(description="how its id_tokens are signed")] = UNSET
    access_token_alg: Annotated[Algorithm | UnsetType, Meta(description="how its access tokens are signed")] = UNSET
    audience: Annotated[Uri | UnsetType, Meta(description="the `aud` of its access tokens; empty: its id")] = UNSET
    origins: Annotated[Uris | UnsetType, Meta(description="pages of it that may call the token endpoint (CORS)")] = (
        UNSET
    )
    logo_uri: Annotated[Uri | UnsetType | None, Meta(description="shown to people beside its name; null: none")] = UNSET
    jwks: Annotated[
        Keys | UnsetType,
        Meta(description="its public keys (RFC 7517), by which it proves itself in place of a secret; not for others"),
    ] = UNSET
    trusted: Annotated[
        bool | UnsetType, Meta(description="it is your own: nobody is asked whether it may log them in")
    ] = UNSET


class NewClient(ClientChanges):
    """A new application. It gets a secret, unless it is public or has keys of its own."""

    name: Annotated[Text, Meta(description="what people know it by, 1 to 128 characters")]
    public: Annotated[bool, Meta(description="it can't keep a secret: an app on a device, or in a browser")] = False


class AdminClient(Json, omit_defaults=False):
    """An application that logs people in."""

    id: Annotated[str, Meta(description="its `client_id`")]
    name: Annotated[str, Meta(description="what people know it by")]
    created_at: Annotated[Time, Meta(description="when it was registered")]
    public: Annotated[bool, Meta(description="whether it has neither a secret nor keys")]
    redirect_uris: Annotated[list[str], Meta(description="where it is answered")]
    post_logout_redirect_uris: Annotated[list[str], Meta(description="where a log-out ends")]
    backchannel_logout_uri: Annotated[str | None, Meta(description="is told when a session ends here")]
    device_grant: Annotated[DeviceGrant, Meta(description="whether it may log in on devices without a browser")]
    scopes: Annotated[list[str], Meta(description="what it may ask for; empty: all")]
    id_token_alg: Annotated[Algorithm, Meta(description="how its id_tokens are signed")]
    access_token_alg: Annotated[Algorithm, Meta(description="how its access tokens are signed")]
    audience: Annotated[str, Meta(description="the `aud` of its access tokens")]
    origins: Annotated[list[str], Meta(description="pages of it that may call the token endpoint")]
    logo_uri: Annotated[str | None, Meta(description="shown to people beside its name")]
    jwks: Annotated[Keys | None, Meta(description="its public keys; null if it proves itself otherwise")]
    trusted: Annotated[bool, Meta(description="whether nobody is asked whether it may log them in")]
    secret: Annotated[
        str | UnsetType, Meta(description="only in the answer that makes it: its `client_secret`, which is not kept")
    ] = UNSET


class AdminClients(Json):
    """All applications."""

    clients: Annotated[list[AdminClient], Meta(description="by name")]
