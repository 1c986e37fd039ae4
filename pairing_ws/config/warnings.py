"""What can be used, and would silently do what an operator hardly wants."""

from urllib.parse import urlsplit

from pairing_ws.config import trusted_issuers
from pairing_ws.config.addresses import is_address, is_local, is_loopback
from pairing_ws.config.environment import unknown_variables
from pairing_ws.config.settings import Settings


def warnings(settings: Settings) -> list[str]:
    """A line for each; `serve` logs them, `doctor` prints them."""
    https = urlsplit(settings.public_url).scheme == "https"
    # A name or a certificate for it can't be an address's: WebAuthn has no relying party there.
    no_passkeys = not settings.secure_cookies or is_address(settings.public_host)
    found = {
        "PAIRING_TRUSTED_PROXIES names none, and PAIRING_PUBLIC_URL is https: all that comes through the proxy where"
        " TLS ends has the proxy's address, so no network differs and all devices share their limits": (
            https and not is_loopback(settings.public_host) and not settings.proxies
        ),
        "PAIRING_NETWORK_POLICY is deny, and PAIRING_TRUSTED_PROXIES names none: all that comes through a proxy has the"
        " proxy's address": (
            settings.network_policy == "deny" and settings.has_public_address and not settings.proxies
        ),
        "PAIRING_TRUSTED_PROXIES trusts every address: any client may choose the address that it seems to have": any(
            network.prefixlen == 0 for network in settings.proxies
        ),
        "PAIRING_PUBLIC_URL is plain http: what is sent can be read on the way, and browsers make no keys of devices": (
            not settings.secure_cookies and not settings.demo
        ),
        "PAIRING_LOGIN_HOOK_SECRET signs nothing: PAIRING_LOGIN_HOOK_URL is not set, and no backend is asked": (
            bool(settings.login_hook_secret) and not settings.login_hook_url
        ),
        "PAIRING_REDIS_TLS_VERIFY is false: anybody in between may answer in place of Redis": (
            not settings.redis_tls_verify
        ),
        "PAIRING_QUARANTINE_SECONDS is 0: a device that was just let in can let in others at once": (
            settings.quarantine_seconds == 0 and not settings.demo
        ),
        "PAIRING_STEP_UP_SECONDS asks for a passkey, which PAIRING_PUBLIC_URL can't have (it needs https and a name),"
        " or for the host application's word, and PAIRING_HOST_KEY_FILE names no key: only who has just accepted an"
        " invite can approve": settings.step_up_seconds > 0 and settings.host_key_file is None and no_passkeys,
        "PAIRING_WEBHOOK_SECRET is set, and PAIRING_WEBHOOK_URL names no receiver: no webhooks are sent": (
            bool(settings.webhook_secret) and not settings.webhook_url
        ),
        "PAIRING_SESSION_SECONDS is less than PAIRING_REFRESH_KEY_SECONDS: every session ends by then, used or not": (
            settings.session_seconds < settings.refresh_key_seconds
        ),
    }
    found |= _of_hooks(settings) | _of_issuers(settings)
    misspelt = [f"{name} is no setting; is it misspelt?" for name in unknown_variables()]
    return misspelt + [text for text, there in found.items() if there]


def _of_hooks(settings: Settings) -> dict[str, bool]:
    """By the addresses as they are written. `doctor` also looks names up."""
    return {
        "PAIRING_LOGIN_HOOK_URL is no public address: it is not asked, and every login is refused, unless"
        " PAIRING_ALLOW_PRIVATE_TARGETS is true": is_unreachable(settings, settings.login_hook_url),
        "PAIRING_WEBHOOK_URL is no public address: nothing is sent there unless PAIRING_ALLOW_PRIVATE_TARGETS is"
        " true": is_unreachable(settings, settings.webhook_url),
    }


def is_unreachable(settings: Settings, url: str) -> bool:
    """Whether the address, as it is written, is one that nothing is sent to."""
    return not settings.allow_private_targets and is_local(urlsplit(url).hostname or "")


def _of_issuers(settings: Settings) -> dict[str, bool]:
    others = trusted_issuers.parse(settings.trusted_issuers or "[]")
    named = (settings.upstream_issuer, *(each.jwks_uri or each.issuer for each in others if not each.jwks_file))
    asked = [urlsplit(each) for each in named if each]
    return {
        "an issuer of PAIRING_UPSTREAM_ISSUER or PAIRING_TRUSTED_ISSUERS is not https: anybody in between may answer in"
        " its place, and log in as anybody": any(
            each.scheme != "https" and not is_loopback(each.hostname or "") for each in asked
        ),
        "an issuer of PAIRING_UPSTREAM_ISSUER or PAIRING_TRUSTED_ISSUERS is no public address: it is not asked unless"
        " PAIRING_ALLOW_PRIVATE_TARGETS is true": (any(is_unreachable(settings, each.geturl()) for each in asked)),
        "PAIRING_UPSTREAM_OPENS_ACCOUNTS is true: everybody with an account at PAIRING_UPSTREAM_ISSUER gets one here": (
            settings.upstream_opens_accounts and bool(settings.upstream_issuer)
        ),
        "accounts are opened for whom an issuer knows, and PAIRING_FORWARD_AUTH_HOSTS lets every account in where it"
        " names no group: strangers at the issuer may open those hosts, as Remote-User of their own": (
            any("=" not in each for each in settings.forward_auth_hosts)
            and (
                (settings.upstream_opens_accounts and bool(settings.upstream_issuer))
                or any(each.opens_accounts for each in others)
            )
        ),
    }
