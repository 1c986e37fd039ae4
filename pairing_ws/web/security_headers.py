"""The headers that make an answer safe in a browser."""

from urllib.parse import urlsplit

from pairing_ws.config.settings import Settings


def security_headers(settings: Settings) -> dict[str, str]:
    """Headers for every answer; an answer's own win. `connect-src` names the socket: not every browser's 'self' has
    it."""
    public = urlsplit(settings.public_url)
    socket = f"{'wss' if public.scheme == 'https' else 'ws'}://{public.netloc}"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": f"'self' {socket}",
        "media-src": "'self' blob:",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
        # Browsers complain about it where it can't work.
        **({"Cross-Origin-Opener-Policy": "same-origin"} if settings.secure_cookies else {}),
    }


class SecurityHeaders:
    """The same, as they are added to a raw ASGI answer."""

    def __init__(self, settings: Settings) -> None:
        self._headers = [(name.lower().encode(), value.encode()) for name, value in security_headers(settings).items()]
        self._names = frozenset(name for name, _ in self._headers)

    def missing_from(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = [name for name, _ in headers if name in self._names]
        return [each for each in self._headers if each[0] not in own] if own else self._headers
