"""How this process logs: one event a line, as JSON unless it is a terminal. No secret is ever handed to a logger."""

import logging
import sys
from contextlib import suppress

import structlog

from pairing_ws.web.request import request_id


def configure(form: str = "auto", level: str = "info") -> None:
    """Send our own and the libraries' lines through structlog, to standard error. `form` is `json`, `text`, or `auto`:
    text where it is a terminal."""
    colors = sys.stderr.isatty()
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
    ]
    # Its default traceback shows local variables, secrets among them.
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if form == "text" or (form == "auto" and colors)
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A line below the level costs next to nothing.
        wrapper_class=structlog.make_filtering_bound_logger(least),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    # Both renderers escape control characters: what a client sends can't forge a line.
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.processors.format_exc_info],
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
        print(text, file=sys.stderr)


def _add_request(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    current = request_id.current.get()
    if current is not None:
        event["request_id"] = str(current)
    return event
