"""From the start of the process to the first answer of a server that is ready (P12)."""

import resource
import subprocess
import sys
from collections.abc import Collection
from statistics import median

from benchmark.clients import clock
from benchmark.meters import cpu_of_family
from benchmark.sizes import Sizes
from benchmark.stand import standing
from benchmark.table import Found, Goal, Row

IMPORTS = "import starlette, uvicorn, redis.asyncio, sqlalchemy.ext.asyncio"


async def starting(_wanted: Collection[str], sizes: Sizes) -> Found:
    ready: list[float] = []
    ready_cpu: list[float] = []
    imports: list[float] = []
    imports_cpu: list[float] = []
    async with standing() as stand:
        # The first start makes key file and database, and compiles what was changed.
        with stand.brief():
            _import()
        for _ in range(sizes.starts):
            started = clock()
            with stand.brief() as server:
                ready.append(clock() - started)
                ready_cpu.append(cpu_of_family(server.pid))
            took, cpu = _import()
            imports.append(took)
            imports_cpu.append(cpu)
    start, floor = median(ready), median(imports)
    by_cpu = median(ready_cpu) / median(imports_cpu)
    return Found(
        [Row("P12", "start to ready, s", f"{start:.2f}", f"imports {floor:.2f}", start / floor, Goal(2, 1.2))],
        [
            f"P12: with SQLite and Redis, database and keys made before, medians of {sizes.starts}; beside it `python"
            f" -c '{IMPORTS}'`. In CPU time {by_cpu:.2f}."
        ],
        {"starting": {"ready": ready, "ready_cpu": ready_cpu, "imports": imports, "imports_cpu": imports_cpu}},
    )


def _import() -> tuple[float, float]:
    """Seconds by the clock, and of CPU."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), clock()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    took, after = clock() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
