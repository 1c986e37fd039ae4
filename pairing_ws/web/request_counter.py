"""How many requests were answered, for `/metrics`."""

from functools import lru_cache

from prometheus_client import Counter

# By the route, not the path: what strangers can choose makes no new counter.
REQUESTS = Counter("pairing_requests", "Answered HTTP requests", ["method", "route", "status"])
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
# The route of a request whose path is none of ours.
NO_ROUTE = "none"


def count(method: str, route: str, status: int) -> None:
    _counter(method if method in METHODS else "other", route, status).inc()


# The library's own look-up takes 3 µs.
_counter = lru_cache(maxsize=None)(REQUESTS.labels)
