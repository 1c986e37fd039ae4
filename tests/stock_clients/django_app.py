"""A Django application with mozilla-django-oidc, in one file: `/` tells who has logged in. Its arguments: the issuer,
client id, secret and redirect URI; its database lies in the folder that it is started in."""

import sys
from urllib.parse import urlsplit
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

issuer, client_id, secret, redirect_uri = sys.argv[1:]
own = urlsplit(redirect_uri)

settings.configure(
    SECRET_KEY="only for this test",
    ALLOWED_HOSTS=[own.hostname],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
    LOGIN_REDIRECT_URL="/",
    # What `pairing-ws client add --for django` prints.
    OIDC_RP_CLIENT_ID=client_id,
    OIDC_RP_CLIENT_SECRET=secret,
    OIDC_RP_SIGN_ALGO="RS256",
    OIDC_RP_SCOPES="openid profile email",
    OIDC_USE_PKCE=True,
    OIDC_OP_AUTHORIZATION_ENDPOINT=f"{issuer}/oauth/authorize",
    OIDC_OP_TOKEN_ENDPOINT=f"{issuer}/oauth/token",
    OIDC_OP_USER_ENDPOINT=f"{issuer}/oauth/userinfo",
    OIDC_OP_JWKS_ENDPOINT=f"{issuer}/.well-known/jwks.json",
)
django.setup()


def who(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"email": getattr(request.user, "email", None)})


urlpatterns = [path("", who), path("oidc/", include("mozilla_django_oidc.urls"))]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    with make_server(str(own.hostname), int(own.port or 0), get_wsgi_application()) as server:
        print('{"ready": true}', flush=True)
        server.serve_forever()
