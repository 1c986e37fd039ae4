"""What processes have used so far: CPU seconds and memory. Linux only."""

import os
from pathlib import Path


def cpu(pid: int) -> float:
    """User and system time of all threads in seconds, to the microsecond. /proc/PID/stat counts in 10 ms."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


def cpu_of_family(pid: int) -> float:
    """A process and its children, those that have ended included."""
    ended = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]))
    return cpu(pid) + sum(map(cpu, children(pid))) + ended / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def family_kib(pid: int) -> int:
    """A process and its children; what they share counts once."""
    shares = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in (pid, *children(pid)))
    return sum(int(each.split("\nPss:")[1].split()[0]) for each in shares)
