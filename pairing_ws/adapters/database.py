"""How the database is reached and brought up to date. What is asked of it stands in `sql.py`."""

from typing import Any

import sqlalchemy as sa
import structlog
from alembic import command, config
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pairing_ws.errors import Unavailable

log = structlog.get_logger()

# Any number that no other program on the same PostgreSQL uses for its advisory lock.
_MIGRATION_LOCK = 7_239_471


def database_url(url: str) -> sa.URL:
    """The URL with the async driver it needs: `postgres://`, `postgresql://` and `sqlite://` name none."""
    parsed = sa.make_url(url)
    driver = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg"}
    return parsed.set(drivername=driver.get(parsed.drivername, parsed.drivername))


def open_database(url: str) -> AsyncEngine:
    parsed = database_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(
            parsed, hide_parameters=True, pool_pre_ping=True, pool_size=10, max_overflow=10, pool_timeout=5
        )
    engine = create_async_engine(parsed, hide_parameters=True, pool_size=5, max_overflow=0, pool_timeout=10)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A deferred transaction that reads and then writes loses an update or fails; see SQLite's "BEGIN IMMEDIATE".
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema up to date, in one transaction under a lock: of many processes one works, the others wait."""

    def upgrade(connection: sa.Connection) -> None:
        settings = config.Config()
        settings.set_main_option("script_location", "pairing_ws.adapters:migrations")
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")

    try:
        async with engine.execution_options(writes=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            await connection.run_sync(upgrade)
    except (SQLAlchemyError, OSError) as error:
        # The driver's own words: a connection that fails quotes no parameters.
        log.error("database.failed", error=str(getattr(error, "orig", error)))
        raise Unavailable("the database") from error
