"""All that knows the inside of a connection: HTTP/1.1 and WebSockets between uvicorn's `Server` and the application.

Why uvicorn's own protocols do not do. They bound nothing that a client sends before it is authenticated: a header of
any size is read (httptools takes time that grows with its square), any number of requests may be pipelined, a client
that sends half a head or reads nothing keeps its connection for ever, and so does each of any number of connections
from one address. They answer an offer of h2c or a wrong handshake by closing, or in plain text. And they cost: 13.4 KB
per waiting WebSocket, where these take 6.7, 8.4 KB per idle HTTP connection (4.3), 156 µs of CPU per connect (53), and
two writes per response (one). Measured in process, without the application and the kernel.

The parts, from the bytes up: `http1` (httptools to requests) with `request_limits`, `upgrade` and `connection_limits`;
`request_cycle` and `response_head` (a request and its response as ASGI); `websocket` (`websockets`' Sans-I/O protocol
to ASGI) with `handshake`. Of uvicorn they use what its `Server` does with any protocol class: the constructor's
arguments (`Config`, `ServerState`, the application's state), `connections`, `tasks`, `total_requests`,
`default_headers` and `shutdown()`.

What would let this room be deleted: limits of uvicorn's own on heads, pipelining, idle and unread connections and
connections per address, and a WebSocket of its that keeps no queue, no event and no handshake while it waits.
"""
