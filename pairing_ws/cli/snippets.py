"""Configurations of well-known applications, to paste: from their manuals, each with whether it was tried here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import dedent
from typing import NamedTuple

from pairing_ws.oauth.ports import Algorithm


class Connection(NamedTuple):
    """What an application has to know. `secret` is "" for a client without one."""

    issuer: str
    client_id: str
    secret: str
    redirect_uri: str
    id_token_alg: Algorithm

    @property
    def discovery(self) -> str:
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def site(self) -> str:
        """Where the application is, by where it is answered."""
        scheme, _, rest = self.redirect_uri.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"


@dataclass(frozen=True)
class Snippet:
    """`redirect_uri` is what the application is answered at by default. `comment` begins a line that it does not read;
    `tried` says whether an application is configured by it, and logs in, in tests/stock_clients."""

    redirect_uri: str
    comment: str
    write: Callable[[Connection], str]
    tried: bool = False

    def text(self, connection: Connection) -> str:
        body = dedent(self.write(connection)).strip()
        return body if self.tried else f"{self.comment} Not tried here: from the application's manual.\n{body}"


def _grafana(to: Connection) -> str:
    return f"""
        ; grafana.ini. [server] root_url has to be {to.site}/
        [auth.generic_oauth]
        enabled = true
        name = QR code
        client_id = {to.client_id}
        client_secret = {to.secret}
        scopes = openid profile email groups offline_access
        auth_url = {to.issuer}/oauth/authorize
        token_url = {to.issuer}/oauth/token
        api_url = {to.issuer}/oauth/userinfo
        use_pkce = true
        use_refresh_token = true
        allow_sign_up = true
        login_attribute_path = preferred_username
        name_attribute_path = name
        email_attribute_path = email
        groups_attribute_path = groups
        role_attribute_path = contains(groups[*], 'admins') && 'Admin' || 'Viewer'
    """


def _nextcloud(to: Connection) -> str:
    return f"""
        # The app `user_oidc`. In config.php: 'user_oidc' => ['use_pkce' => true],
        occ app:install user_oidc
        occ user_oidc:provider QR \\
          --clientid='{to.client_id}' \\
          --clientsecret='{to.secret}' \\
          --discoveryuri='{to.discovery}' \\
          --scope='openid profile email groups' \\
          --unique-uid=0 --mapping-uid=preferred_username \\
          --mapping-display-name=name --mapping-email=email --mapping-groups=groups --group-provisioning=1
    """


def _gitea(to: Connection) -> str:
    return f"""
        # It has to be a version that sends PKCE (go-gitea/gitea, pull request 38202); others are refused.
        gitea admin auth add-oauth \\
          --name qr --provider openidConnect \\
          --key '{to.client_id}' \\
          --secret '{to.secret}' \\
          --auto-discover-url '{to.discovery}' \\
          --scopes openid --scopes profile --scopes email --scopes groups --group-claim-name groups
    """


def _oauth2_proxy(to: Connection) -> str:
    return f"""
        # People need an e-mail address here: pairing-ws user set NAME --email ADDRESS --email-verified
        oauth2-proxy \\
          --provider=oidc \\
          --oidc-issuer-url='{to.issuer}' \\
          --client-id='{to.client_id}' \\
          --client-secret='{to.secret}' \\
          --redirect-url='{to.redirect_uri}' \\
          --code-challenge-method=S256 \\
          --scope='openid profile email groups offline_access' \\
          --oidc-groups-claim=groups \\
          --email-domain='*' \\
          --cookie-secret="$(openssl rand -base64 32 | tr -- '+/' '-_')" \\
          --upstream=http://127.0.0.1:8080/
    """


def _next_auth(to: Connection) -> str:
    return f"""
        // next-auth 4; in Auth.js 5 it is type: 'oidc' with issuer, and neither wellKnown nor idToken.
        {{
          id: 'qr',
          name: 'QR code',
          type: 'oauth',
          wellKnown: '{to.discovery}',
          clientId: '{to.client_id}',
          clientSecret: '{to.secret}',
          client: {{ id_token_signed_response_alg: '{to.id_token_alg}' }},
          authorization: {{ params: {{ scope: 'openid profile email' }} }},
          idToken: true,
          checks: ['pkce', 'state', 'nonce'],
          profile: (claims) => ({{ id: claims.sub, name: claims.name, email: claims.email }}),
        }}
    """


def _django(to: Connection) -> str:
    return f"""
        # settings.py, with mozilla-django-oidc. People need an e-mail address: pairing-ws user set NAME --email ADDRESS
        INSTALLED_APPS += ["mozilla_django_oidc"]
        AUTHENTICATION_BACKENDS = ["mozilla_django_oidc.auth.OIDCAuthenticationBackend"]
        OIDC_RP_CLIENT_ID = "{to.client_id}"
        OIDC_RP_CLIENT_SECRET = "{to.secret}"
        OIDC_RP_SIGN_ALGO = "{to.id_token_alg}"
        OIDC_RP_SCOPES = "openid profile email"
        OIDC_USE_PKCE = True
        OIDC_OP_AUTHORIZATION_ENDPOINT = "{to.issuer}/oauth/authorize"
        OIDC_OP_TOKEN_ENDPOINT = "{to.issuer}/oauth/token"
        OIDC_OP_USER_ENDPOINT = "{to.issuer}/oauth/userinfo"
        OIDC_OP_JWKS_ENDPOINT = "{to.issuer}/.well-known/jwks.json"
        # urls.py: path("oidc/", include("mozilla_django_oidc.urls"))
    """


SNIPPETS: Mapping[str, Snippet] = {
    "grafana": Snippet("https://YOUR-GRAFANA/login/generic_oauth", ";", _grafana),
    "nextcloud": Snippet("https://YOUR-NEXTCLOUD/apps/user_oidc/code", "#", _nextcloud),
    "gitea": Snippet("https://YOUR-GITEA/user/oauth2/qr/callback", "#", _gitea),
    "oauth2-proxy": Snippet("https://YOUR-SITE/oauth2/callback", "#", _oauth2_proxy),
    "next-auth": Snippet("https://YOUR-SITE/api/auth/callback/qr", "//", _next_auth, tried=True),
    "django": Snippet("https://YOUR-SITE/oidc/callback/", "#", _django, tried=True),
}
