from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    calls: dict
    commands: dict
    statements: dict
    cluster: dict
    row_kib: float
    rows: int
    live: int
    links: Any
    wal_kib: list
    commits_per_sync: float
    sync_ms: float
    counter_kib: float
    connections: float
    ring_us: list
    socket_kib: float
    pairing_kib: float
    subscription_kib: float


def markdown(m):
    import json, dataclasses

    return json.dumps(dataclasses.asdict(m), indent=1)
