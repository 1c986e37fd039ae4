"""The options under which uvicorn serves the application with all of its limits: for `serve`, and for embedders.

Why not uvicorn's defaults: see `transport/__init__.py` for the connections. The rest is set for the reasons given here.
"""

import functools
from typing import Any

from pairing_ws.config import process
from pairing_ws.config import settings as config
from pairing_ws.transport.connection_limits import ConnectionLimits
from pairing_ws.transport.http1 import HttpProtocol
from pairing_ws.transport.websocket import WebSocketProtocol
from pairing_ws.web.gate import security_headers


def uvicorn_options(settings: config.Settings) -> dict[str, Any]:
    """Keyword arguments for `uvicorn.Config` and `uvicorn.run`, beside the application:
    `uvicorn.run(app, **uvicorn_options(settings))`.

    Each call makes the connection limits of one process: one call per server. The caller may replace options
    (`{**uvicorn_options(settings), "port": 80}`), but `http` and `ws` only at the price of the limits. The options
    `access_log`, `limit_concurrency`, `ws_per_message_deflate` and `reset_contextvars` have no effect beside these.
    """
    in_all, per_address = settings.most_connections
    limits = ConnectionLimits(per_address, in_all, settings.proxies)
    descriptors = process.descriptors()
    return {
        "host": settings.host,
        "port": settings.port,
        "http": functools.partial(HttpProtocol, limits, security_headers(settings)),
        "ws": WebSocketProtocol,
        "ws_max_size": 4096,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": False,
        # As many may be accepted before one of them is counted: fewer than the descriptors that are spared.
        "backlog": min(512, max(descriptors // 8, 16)) if descriptors else 2048,
        "log_config": None,
        # uvicorn's prints query strings, and costs time and memory per request.
        "access_log": False,
        # Forwarded addresses are read by our own edge, from PAIRING_TRUSTED_PROXIES alone.
        "proxy_headers": False,
        "server_header": False,
        # In seconds. Longer than the idle limit of common proxies: a proxy that closes first writes to no closed
        # connection.
        "timeout_keep_alive": 75,
        # In seconds. Sockets are closed at once; this is for calls under way, of which a long poll would take 30 s.
        "timeout_graceful_shutdown": 5,
    }
