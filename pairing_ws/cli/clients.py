"""`client`: the applications that log people in here, and what one pastes into them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from pairing_ws.cli.program import with_services
from pairing_ws.cli.snippets import SNIPPETS, Connection
from pairing_ws.config.addresses import is_local
from pairing_ws.core.clock import iso
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.authentication import Method
from pairing_ws.oauth.clients import Registration, WithSecret
from pairing_ws.oauth.ports import Algorithm, Client, DeviceGrant
from pairing_ws.oauth.scopes import KNOWN
from pairing_ws.server.logging import say
from pairing_ws.web.services import Services

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
_FOR = click.option(
    "--for", "application", type=click.Choice(sorted(SNIPPETS)), help="Print the configuration of that application too."
)
# What nobody has seen again is shown like this.
_UNKNOWN_SECRET = "CLIENT_SECRET"  # noqa: S105 - a place for one


@click.group("client")
def clients() -> None:
    """Add, change, list, show, rotate and remove the applications that log people in, by OpenID Connect or OAuth 2."""


_REGISTERED = (
    click.option("--redirect-uri", "redirect_uris", multiple=True, help="Where it is answered, letter by letter."),
    click.option(
        "--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True, help="Where a log-out ends."
    ),
    click.option("--backchannel-logout-uri", help="Is told when a session ends here (Back-Channel Logout)."),
    click.option(
        "--device-grant",
        type=click.Choice([each.value for each in DeviceGrant]),
        help="Whether it may log in on devices without a browser (RFC 8628).  [at first: off]",
    ),
    click.option("--scope", "scopes", multiple=True, help=f"What it may ask for: {', '.join(KNOWN)}.  [at first: all]"),
    click.option(
        "--id-token-alg",
        type=click.Choice([each.value for each in Algorithm]),
        help="How its id_tokens are signed.  [at first: RS256, which every application knows]",
    ),
    click.option(
        "--access-token-alg",
        type=click.Choice([each.value for each in Algorithm]),
        help="How its access tokens are signed.  [at first: ES256]",
    ),
    click.option("--audience", help="The `aud` of its access tokens.  [at first: its client id]"),
    click.option("--origin", "origins", multiple=True, help="A page of it that may call the token endpoint (CORS)."),
    click.option("--logo-uri", help="Shown to people beside its name."),
    click.option(
        "--jwks-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Its public keys, by which it proves itself in place of a secret (private_key_jwt).",
    ),
    click.option(
        "--trusted/--no-trusted",
        default=None,
        help="Whether it is your own: nobody is asked whether it may log them in.  [at first: no]",
    ),
    click.option(
        "--token-exchange/--no-token-exchange",
        default=None,
        help="Whether it may exchange tokens of PAIRING_TRUSTED_ISSUERS for sessions of devices.  [at first: no]",
    ),
)


def _registered(command: Callable[..., None]) -> Callable[..., None]:
    """What `add` and `set` take of a client: given to the command by the names of `Registration`, if it is named."""
    for option in reversed(_REGISTERED):
        command = option(command)
    return command


def _named(jwks_file: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were named, as `Registration` has them."""
    named = {name: value for name, value in options.items() if value not in (None, ())}
    for name, kind in (("id_token_alg", Algorithm), ("access_token_alg", Algorithm), ("device_grant", DeviceGrant)):
        if name in named:
            named[name] = kind(named[name])
    if jwks_file:
        named["jwks"] = _keys(jwks_file)
    return named


@clients.command()
@click.argument("name")
@click.option("--public", is_flag=True, help="It can't keep a secret: an app on a device, or in a browser.")
@_registered
@_FOR
@_AS_JSON
def add(
    name: str, public: bool, jwks_file: Path | None, application: str | None, as_json: bool, **options: Any
) -> None:
    """Register an application, and print what to paste into it: issuer, client id, secret, redirect URI.

    The secret is shown only now. Addresses are https, http on this machine (http://127.0.0.1:3000/…, where a redirect
    URI's port doesn't count), or for an app on a device a scheme of its own (com.example.app:/callback).
    """
    wanted = _named(jwks_file, options)
    if application and not wanted.get("redirect_uris"):
        raise click.UsageError(f"Name its address: --redirect-uri {SNIPPETS[application].redirect_uri}")
    registration = Registration(name, public, **wanted)
    settings, added = with_services(lambda services: _with_settings(services, services.clients.add(registration)))
    if not settings.allow_private_targets:
        _warn_of_private_target(added.client)
    if application:
        _warn_of_redirect(application, added.client)
    _print(settings.public_url, added, application, as_json, f"{added.client.name} is registered. Paste this into it:")


@clients.command("set")
@click.argument("client")
@click.option("--name", help="What people know it by. Its id stays.")
@_registered
@_AS_JSON
def change(client: str, name: str | None, jwks_file: Path | None, as_json: bool, **options: Any) -> None:
    """Change what is registered of an application, by its id or name; its id and secret stay, and who is logged in.

    What is not named stays as it is. Of what can be named several times, those that are named replace all; an empty
    one (--origin "") takes all away, and so it does for a single address.
    """
    named = _named(jwks_file, options) | ({} if name is None else {"name": name})
    changes = {field: () if value == ("",) else value for field, value in named.items()}
    if not changes:
        raise click.UsageError("Name what to change; see --help.")
    settings, changed = with_services(
        lambda services: _with_settings(services, services.clients.change(client, changes))
    )
    if "backchannel_logout_uri" in changes and not settings.allow_private_targets:
        _warn_of_private_target(changed)
    _print(settings.public_url, WithSecret(changed, None), None, as_json, f"{changed.name} is changed:")


@clients.command("list")
@_AS_JSON
def list_clients(as_json: bool) -> None:
    """Print every application, one a line: id, name, how it proves itself, and where it is answered."""
    issuer, found = with_services(lambda services: _with_issuer(services, services.clients.all()))
    if as_json:
        print(json.dumps([_described(issuer, each, None) for each in found]))
        return
    for each in found:
        print("\t".join([each.id, each.name, _method(each), *each.redirect_uris]))


@clients.command()
@click.argument("client")
@_FOR
@_AS_JSON
def show(client: str, application: str | None, as_json: bool) -> None:
    """Print an application, by its id or name. Its secret can't be shown again: `client rotate` makes another."""
    issuer, found = with_services(lambda services: _with_issuer(services, services.clients.find(client)))
    _print(issuer, WithSecret(found, None), application, as_json, f"{found.name}:")


@clients.command()
@click.argument("client")
@_FOR
@_AS_JSON
def rotate(client: str, application: str | None, as_json: bool) -> None:
    """Give an application another secret, and print it. The one before is refused at once; who is logged in stays."""
    issuer, made = with_services(lambda services: _with_issuer(services, services.clients.rotate(client)))
    _print(issuer, made, application, as_json, f"{made.client.name} has another secret:")


@clients.command()
@click.argument("client")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(client: str, yes: bool) -> None:
    """Remove an application: everybody's access by it ends now, and it is told so."""
    if not yes:
        click.confirm(f"Remove {client!r} and all access by it?", abort=True)
    removed = with_services(lambda services: services.clients.remove(client))
    print(f"{removed.name} ({removed.id}) is removed.")


async def _with_settings(services: Services, call: Any) -> Any:
    return services.settings, await call


async def _with_issuer(services: Services, call: Any) -> Any:
    return services.settings.public_url, await call


def _keys(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise Refused(Code.BAD_REQUEST, f"{file} holds no JSON") from None


def _warn_of_redirect(application: str, client: Client) -> None:
    usual = SNIPPETS[application].redirect_uri
    path = usual.partition("//")[2].partition("/")[2]
    if not any(each.endswith(path) for each in client.redirect_uris):
        say(f"pairing-ws: {application} is usually answered at {usual}")


def _warn_of_private_target(client: Client) -> None:
    """By the address as it is written; a name is looked up when there is something to tell."""
    uri = client.backchannel_logout_uri
    if uri and is_local(urlsplit(uri).hostname or ""):
        say(f"pairing-ws: nothing is sent to {uri} unless PAIRING_ALLOW_PRIVATE_TARGETS=true: it is no public address")


def _method(client: Client) -> Method:
    if client.is_public:
        return Method.NONE
    return Method.PRIVATE_KEY_JWT if client.secret_hash is None else Method.BASIC


def _described(issuer: str, client: Client, secret: str | None) -> dict[str, Any]:
    """By the names of RFC 7591 where it has them. What is not set is left out."""
    described = {
        "issuer": issuer,
        "client_id": client.id,
        "client_secret": secret,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "backchannel_logout_uri": client.backchannel_logout_uri,
        "token_endpoint_auth_method": _method(client).value,
        "jwks": client.jwks,
        "scope": " ".join(client.scopes or KNOWN),
        "id_token_signed_response_alg": client.id_token_alg.value,
        "access_token_alg": client.access_token_alg.value,
        "audience": client.audience or client.id,
        "device_grant": client.device_grant.value,
        "origins": list(client.origins),
        "logo_uri": client.logo_uri,
        "trusted": client.trusted,
        "token_exchange": client.token_exchange,
        "created_at": iso(client.created_at),
    }
    return {name: value for name, value in described.items() if value not in (None, [], "")}


def _print(issuer: str, shown: WithSecret, application: str | None, as_json: bool, headline: str) -> None:
    client, secret = shown
    described = _described(issuer, client, secret)
    snippet = ""
    if application:
        kept = secret or ("" if client.secret_hash is None else _UNKNOWN_SECRET)
        redirect = next(iter(client.redirect_uris), SNIPPETS[application].redirect_uri)
        snippet = SNIPPETS[application].text(Connection(issuer, client.id, kept, redirect, client.id_token_alg))
    if as_json:
        print(json.dumps(described | ({"configuration": snippet} if snippet else {})))
        return
    print(f"{headline}\n")
    for name, value in described.items():
        text = json.dumps(value) if isinstance(value, dict) else "\n".join(value) if isinstance(value, list) else value
        print(f"  {name:<30}" + str(text).replace("\n", "\n" + " " * 32))
    if secret:
        print("\nThe secret is not kept here and can't be shown again.")
    if snippet:
        print(f"\n{snippet}")
