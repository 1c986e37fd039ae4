"""How this process logs: one event a line, as JSON where nobody watches. No secret is ever handed to a logger."""

import logging
import sys
from contextlib import suppress

import structlog


def configure() -> None:
    """Send our own and the libraries' lines through structlog, to standard error."""
    watched = sys.stderr.isatty()
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Its default traceback shows local variables, secrets among them.
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if watched
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    # Both renderers escape control characters: what a stranger sends can't forge a line.
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # uvicorn's own lines for each socket hold its query string.
    for noisy in ("httpx2", "alembic", "aiosqlite", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def say(text: str) -> None:
    """A line for the operator, on standard error. A full disk behind it stops nobody."""
    with suppress(OSError):
        print(text, file=sys.stderr)
