"""The attacks, one function each: black box, over HTTP and WebSocket. Each says first what it tries, and raises NotHeld
if it can."""

from tests.attack.attack import ATTACKS
from tests.attack.attacks import applications, backend, hosts, keys, numbers, pairings, upstream, web

__all__ = ["ATTACKS", "applications", "backend", "hosts", "keys", "numbers", "pairings", "upstream", "web"]
