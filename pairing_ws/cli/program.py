"""What commands need of the program: its settings, its database, its accounts, its clients."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pairing_ws.accounts.service import AccountService
from pairing_ws.adapters.sql.database import migrate
from pairing_ws.components import Components, build
from pairing_ws.config.environment import load
from pairing_ws.config.settings import Settings
from pairing_ws.server.logging import configure
from pairing_ws.web.services import Services

T = TypeVar("T")


def command_settings() -> Settings:
    """For a command whose result people read: it logs warnings, and more only if `PAIRING_LOG_LEVEL` says so."""
    settings = load()
    configure(settings.log_format, settings.log_level if "log_level" in settings.model_fields_set else "warning")
    return settings


def prepare(settings: Settings) -> None:
    """Look at all that can be looked at without connecting to it, and bring the database up to date."""
    build(settings)
    asyncio.run(migrate(settings.database_url))


def with_accounts(act: Callable[[AccountService], Awaitable[T]]) -> T:
    """Run `act` on the accounts of the configured database, which is brought up to date first."""
    return with_services(lambda services: act(services.accounts))


def with_services(act: Callable[[Services], Awaitable[T]]) -> T:
    """The same for what has to do with more than accounts."""

    return with_components(lambda components: act(components.services))


def with_components(act: Callable[[Components], Awaitable[T]]) -> T:
    """The same for what is no service of the edge."""

    async def run() -> T:
        components = build(command_settings())
        async with components.running():
            return await act(components)

    return asyncio.run(run())
