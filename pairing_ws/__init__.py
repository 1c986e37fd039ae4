"""Passwordless login by QR-code device pairing, pushed over WebSockets.

The public names, for an application that serves or mounts this one:

    settings = load_settings(public_url="https://app.example.com/login")
    uvicorn.run(create_app(settings), **uvicorn_options(settings))

`Guard` protects such an application's own routes (see `guard`).

All other modules may change with any version. Each name is loaded when it is first asked for, so that a start that
needs one of them does not pay for the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairing_ws.app import create_app
    from pairing_ws.config.environment import load as load_settings
    from pairing_ws.guard.caller import Caller
    from pairing_ws.guard.guard import Guard
    from pairing_ws.guard.refusals import Denied
    from pairing_ws.server.uvicorn_options import uvicorn_options

__all__ = ["Caller", "Denied", "Guard", "__version__", "create_app", "load_settings", "uvicorn_options"]

__version__ = "0.1.0"

# In which module each is, and under which name.
_LAZY = {
    "Caller": ("guard.caller", "Caller"),
    "Denied": ("guard.refusals", "Denied"),
    "Guard": ("guard.guard", "Guard"),
    "create_app": ("app", "create_app"),
    "load_settings": ("config.environment", "load"),
    "uvicorn_options": ("server.uvicorn_options", "uvicorn_options"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
