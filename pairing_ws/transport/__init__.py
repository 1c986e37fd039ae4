"""All that knows the inside of a connection: HTTP/1.1, WebSockets, their limits."""
