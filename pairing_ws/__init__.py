"""Passwordless login by QR-code device pairing, pushed over WebSockets.

`create_app` (in `pairing_ws.app`) builds the ASGI application; `pairing-ws` is the command line.
"""

__version__ = "0.1.0"
