"""How a process loads the program. Imports no room of it, or these would be loaded before `load` is called."""

import gc
from importlib import import_module
from types import ModuleType
from typing import Any

# Garbage is looked for among the newest objects alone, a few thousand at a time, for all clients wait meanwhile: at
# most 2 ms of CPU while 6000 sockets came, where 50,000 objects at once took 20. What lives for longer is never looked
# at again (that would take 40 ms for each 1000 sockets), so nothing that lasts may become garbage that only a
# collection finds; tests say so of connections and timers.
GC_THRESHOLDS = (1000, 5, 1_000_000)


def load(name: str) -> ModuleType:
    """Import the module of that name below `pairing_ws`, and set all objects that exist then aside from garbage
    collection."""
    # Loading makes 200 000 objects that stay. To look for garbage among them, again and again, took a fifth of the time
    # (150 of 750 ms); to let each later full collection walk through them, 60 ms more. What is missed is 1 MB.
    gc.disable()
    try:
        return import_module(f"pairing_ws.{name}")
    finally:
        gc.freeze()
        # What is loaded later, such as an adapter, is no garbage either: 15 ms.
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()


def run_worker(*arguments: Any) -> None:
    """`worker.serve_supervised` in a new interpreter, which has loaded no more than the settings."""
    load("server.worker").serve_supervised(*arguments)
