"""The logging of the test's own process, for tests that run the command line inside it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def kept_logging() -> Iterator[None]:
    """What is configured inside is forgotten afterwards, by loggers that remember it since their first line too."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers, root.level
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers = handlers
        root.setLevel(level)
        for name, module in list(sys.modules.items()):
            if name.startswith("pairing_ws"):
                for each in vars(module).values():
                    if isinstance(each, type(structlog.get_logger())):
                        vars(each).pop("bind", None)
