"""How this process logs: one event a line, as JSON unless it is a terminal. No secret is ever handed to a logger."""

import json
import logging
import sys
from contextlib import suppress
from types import SimpleNamespace

import structlog

from pairing_ws.web.request import request_id

# Kept: `json.dumps` makes one for each line that may have more than JSON's own types.
_encode = json.JSONEncoder(default=repr).encode

_LEVELS = ("debug", "info", "warning", "error", "critical")


def configure(form: str = "auto", level: str = "info") -> None:
    """Send our own and the libraries' lines to standard error, in one form: `json`, `text`, or `auto`, which is text
    where it is a terminal.

    Our own do not take the way through the standard library's `logging`: it makes two records of each, and finds out
    which line of code it came from. Without it a line takes 14 µs in place of 29, and a login writes four.
    """
    colors = sys.stderr.isatty()
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
        structlog.processors.format_exc_info,
    ]
    # Its default traceback shows local variables, secrets among them.
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if form == "text" or (form == "auto" and colors)
        else _as_json
    )
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=lambda *_: SimpleNamespace(**dict.fromkeys(_LEVELS, say)),
        # A line below the level costs next to nothing.
        wrapper_class=structlog.make_filtering_bound_logger(least),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    # Both renderers escape control characters: what a client sends can't forge a line.
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(least)
    # uvicorn's own lines for each socket hold its query string; others' details may hold anything.
    for noisy in ("httpx2", "alembic", "asyncio", "uvicorn.error", "websockets"):
        logging.getLogger(noisy).setLevel(max(least, logging.WARNING))


def say(text: str) -> None:
    """A line for the operator, on standard error. A full disk behind it raises nothing."""
    with suppress(OSError):
        # In one piece: what another thread says must not come before its end.
        sys.stderr.write(f"{text}\n")


def _as_json(_: object, __: str, event: structlog.types.EventDict) -> str:
    return _encode(event)


def _add_request(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    current = request_id.current.get()
    if current is not None:
        event["request_id"] = str(current)
    return event
