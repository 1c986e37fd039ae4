"""A server whose clock differs from this machine's, in a process of its own: `python -m tests.support.skewed FILE`.

FILE holds by how many seconds, and is read again at each look at the clock: tests set it while the server runs.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn

from pairing_ws.app import create_app
from pairing_ws.config import environment
from pairing_ws.core.clock import system_clock
from pairing_ws.server.logging import configure
from pairing_ws.server.uvicorn_options import uvicorn_options
from tests.support.servers import Server


class SkewedServer(Server):
    """`servers.Server` with a clock that is `ahead` of this machine's by so many seconds."""

    def __init__(self, folder: Path, ahead: float, **env: Any) -> None:
        self._ahead = folder / f"ahead-{ahead:g}"
        self.set_clock(ahead)
        super().__init__(folder, **env)

    def set_clock(self, ahead: float) -> None:
        # In place at once: the server may be looking.
        written = self._ahead.with_suffix(".new")
        written.write_text(str(ahead))
        written.replace(self._ahead)

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.skewed", str(self._ahead)]
        self.run(command, self._environment() | {"PORT": str(self.port)})


def main(ahead: Path) -> None:
    configure()
    settings = environment.load()
    app = create_app(settings, clock=lambda: system_clock() + round(float(ahead.read_text()) * 1000))
    uvicorn.run(app, **uvicorn_options(settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
