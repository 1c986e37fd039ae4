"""A Django application beside the server, in one file. Its settings, from the environment: LOGIN_ISSUER, the server's
PAIRING_PUBLIC_URL; PUBLIC_URL, its own address; PORT."""

import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from pairing_ws import Caller, Denied, Guard

settings.configure(
    SECRET_KEY="only for this test",
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    LOGIN_ISSUER=os.environ["LOGIN_ISSUER"],
    PUBLIC_URL=os.environ["PUBLIC_URL"],
)
django.setup()

View = Callable[[HttpRequest, Caller], Awaitable[JsonResponse]]

guard = Guard(issuer=settings.LOGIN_ISSUER, audience="https://api.example.com", public_url=settings.PUBLIC_URL)


def protected(view: View, guard: Guard = guard) -> Callable[[HttpRequest], Awaitable[JsonResponse]]:
    @wraps(view)
    async def checked(request: HttpRequest) -> JsonResponse:
        try:
            caller = await guard.check(request.method, request.path, request.headers.items())
        except Denied as denied:
            return JsonResponse({"error": denied.error}, status=denied.status_code, headers=denied.headers)
        return await view(request, caller)

    return checked


async def me(request: HttpRequest, caller: Caller) -> JsonResponse:
    return JsonResponse({"user": caller.user_id, "device": caller.device_id, "client": caller.client_id})


async def orders(request: HttpRequest, caller: Caller) -> JsonResponse:
    return JsonResponse([], safe=False)


urlpatterns: list[Any] = [path("me", protected(me)), path("orders", protected(orders, guard.needs("orders")))]

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application()) as server:
        server.serve_forever()
