"""How a process of ours loads the program. Knows its rooms by their names only, or they would be loaded with it."""

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# Garbage collection looks seldom: most of what a process of ours makes stays, or goes without its help.
GC_THRESHOLDS = (50_000, 50, 1000)


def load(name: str) -> ModuleType:
    """Import a module of ours, and set all that exists then aside from garbage collection."""
    # Loading makes 200 000 objects that stay. To look for garbage among them, again and again, took a fifth of the time
    # (150 of 750 ms); to let each later full collection walk through them, 60 ms more. What is missed is 1 MB.
    gc.disable()
    # For structlog, as if it were not installed: what it would draw with it, our log never asks for. 45 ms.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        return import_module(f"pairing_ws.{name}")
    finally:
        del sys.modules["rich"]
        gc.freeze()
        # What is loaded later, such as redis-py, is no garbage either: 15 ms.
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()


def work(*arguments: Any) -> None:
    """The whole life of a worker: `server.work` in a new interpreter, which has loaded no more than the settings."""
    load("server.supervisor").work(*arguments)
