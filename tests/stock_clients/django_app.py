"""A Django application with mozilla-django-oidc, in one file: `/` tells who has logged in. Its last argument is the
redirect URI. In the folder that it is started in lie its database, and `pasted.py`: what
`pairing-ws client add --for django` prints."""

import runpy
import sys
from urllib.parse import urlsplit
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

own = urlsplit(sys.argv[-1])
pasted = runpy.run_path(
    "pasted.py",
    {"INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]},
)

settings.configure(
    SECRET_KEY="only for this test",
    ALLOWED_HOSTS=[own.hostname],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}},
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    LOGIN_REDIRECT_URL="/",
    **{name: value for name, value in pasted.items() if name.isupper()},
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
