"""`serve`, and `db upgrade`: the part of it that a release step can do first."""

import click
import structlog

from pairing_ws.cli.program import command_settings, prepare
from pairing_ws.config.environment import load
from pairing_ws.config.warnings import warnings
from pairing_ws.server import supervisor
from pairing_ws.server.logging import configure

log = structlog.get_logger()


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; beyond loopback it needs PAIRING_PUBLIC_URL.",
)
@click.option("--port", type=int, help="Port to listen on.  [default: PORT, or 8000]")
@click.option("--workers", type=int, help="Processes; above 1 needs REDIS_URL.  [default: WEB_CONCURRENCY, or 1]")
@click.option("--demo", is_flag=True, help="For trying it out: http on a local network, no quarantine for new devices.")
def serve(host: str, port: int | None, workers: int | None, demo: bool) -> None:
    """Run the server. Migrates the database first. Stops within 10 s of SIGTERM, and tells sockets to reconnect."""
    settings = load(host=host, port=port, workers=workers, demo=demo or None)
    configure(settings.log_format, settings.log_level)
    for warning in warnings(settings):
        log.warning("settings.doubtful", hint=warning)
    # Here, so that what is wrong with key file, database or push credentials is one clear line.
    prepare(settings)
    supervisor.run(settings)


@click.group("db")
def database() -> None:
    """The database's schema."""


@database.command()
def upgrade() -> None:
    """Bring the schema up to date. `serve` does it too; a platform's release step can do it first."""
    prepare(command_settings())
    print("The database is up to date.")
