"""What a command of the command line gave, run in this process: see the fixture `run`."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]
