import secrets


def token() -> str:
    """A name nobody else uses on a shared Redis."""
    return secrets.token_urlsafe(16)
