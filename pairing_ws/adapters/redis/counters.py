"""Where rates are counted in Redis, for all processes together. They are made and asked in `limits.py`."""

from collections.abc import Sequence
from typing import Any

from limits.aio.storage import RedisStorage

from pairing_ws.adapters.redis.client import Commands, Script, translated


class CommandsStorage(RedisStorage):
    """The library's counters and scripts over our own lines, to every kind of Redis."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        super().__init__("redis://", implementation="redispy", key_prefix="limits")

    def configure_bridge(self) -> None:
        """The library's hook: its scripts are registered at, and called through, what the bridge gets here."""
        self.bridge.connection_getter = lambda _: self  # type: ignore[attr-defined]

    def register_script(self, text: bytes) -> Any:
        script = Script(text.decode())

        async def run(keys: Sequence[str], arguments: Sequence[object]) -> Any:
            with translated():
                return await self._commands.run(script, keys, *arguments)

        return run
