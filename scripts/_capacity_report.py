"""The arithmetic of `scripts/capacity`: from what was measured to what a peak needs, as the README shows it.

What may live here: what follows from the numbers, worked out anew each time, and the words between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from pairing_ws.adapters.database import POOL_SIZE
from pairing_ws.adapters.memory import AFTERLIFE_MS
from pairing_ws.config import Settings

PARTS = ("server", "redis", "sql")
# What is shown together, by the steps in it.
LOGIN = {
    "show a code: create it, open its socket": ("create", "open"),
    "scan and approve, with both pushes": ("claim", "approve"),
    "log in, with the push and the socket's end": ("log_in",),
}
OTHERS = {
    "poll": ("poll",),
    "renew keys: refresh, and the new one's first use": ("renew_keys",),
    "give up, with the push and the socket's end": ("give_up",),
}
STEPS = tuple(step for steps in LOGIN.values() for step in steps)

# The example, a morning's peak.
LOGINS_A_SECOND = 500
WAITING = IN_USE = 100_000
CODE_SECONDS = Settings.model_fields["ttl_seconds"].default
KEY_SECONDS = Settings.model_fields["auth_key_seconds"].default
KEPT_SECONDS = CODE_SECONDS + AFTERLIFE_MS // 1000
# A core that is busier makes everybody queue.
BUSY = 0.6

Costs = Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """CPU in seconds, sizes in KiB."""

    # Of each step, per person; of "wait", per socket and second.
    calls: Mapping[str, Costs]
    commands: Mapping[str, float]
    rings: Mapping[str, float]
    statements: Mapping[str, float]
    # Processes, how many of them watch the channel, and what one ring then costs.
    ring_us: Sequence[tuple[int, int, float]]
    # A login on a Cluster: all processes, the node that is home to `live-pairings`, each other node.
    cluster: Costs
    process_kib: float
    socket_kib: float
    # In Redis.
    pairing_kib: float
    finished_kib: float
    subscription_kib: float
    counter_kib: float
    # In PostgreSQL: device, session and activity, with indexes; and what is written per login, in each round since the
    # checkpoint.
    row_kib: float
    wal_kib: Sequence[float]
    sync_ms: float
    commits_per_sync: float


def markdown(measured: Measured) -> str:
    login = _sum(measured.calls, *STEPS)
    parts = (
        _costs(measured, login),
        _ratios(measured, login),
        _cluster(measured, login),
        _sizes(measured),
        _peak(measured, login),
    )
    return "\n\n".join(("<!-- capacity -->\n" + parts[0], *parts[1:-1], parts[-1] + "\n<!-- /capacity -->"))


def _costs(measured: Measured, login: Costs) -> str:
    def row(what: str, costs: Costs, steps: Sequence[str]) -> str:
        cpu = " | ".join(_ms(costs[part]) for part in PARTS)
        counts = (round(sum(each[step] for step in steps)) for each in (measured.commands, measured.statements))
        return f"| {what} | {cpu} | " + " | ".join(str(count or "") for count in counts) + " |"

    def rows(kinds: Mapping[str, Sequence[str]]) -> list[str]:
        return [row(what, _sum(measured.calls, *steps), steps) for what, steps in kinds.items()]

    lines = ["| CPU, ms | processes | Redis | PostgreSQL | commands | statements |", "|---|---:|---:|---:|---:|---:|"]
    lines += [*rows(LOGIN), row("**a login, all in all**", login, STEPS), *rows(OTHERS)]
    lines += [row("wait on a socket, for a minute", _times(measured.calls["wait"], 60), ())]
    return "\n".join(lines)


def _ratios(measured: Measured, login: Costs) -> str:
    (two, _, ring), (many, _, same_ring), (_, _, dear_ring) = measured.ring_us
    return _text(
        f"A core carries {_rate(login['server'])} logins a second in a process, {_rate(login['sql'])} in PostgreSQL,"
        f" {_rate(login['redis'])} in Redis: **processes saturate first.** {login['server'] / login['sql']:.0f} full"
        f" ones fill a core of PostgreSQL, {login['server'] / login['redis']:.0f} the one core that Redis uses. A login"
        f" rings {round(sum(measured.rings[step] for step in STEPS))} times; a ring costs Redis {ring:.1f} µs with"
        f" {two} processes connected, {same_ring:.1f} µs with {many}, and {dear_ring:.1f} µs only if all {many} watch"
        f" that very pairing."
    )


def _cluster(measured: Measured, login: Costs) -> str:
    home, other = measured.cluster["home"], measured.cluster["other"]
    # The first digit is noise already where it is next to nothing.
    counting = max(home - other, 5e-6)
    return _text(
        f"On a Cluster of three masters with replicas, a login costs {_ms(home + 2 * other)} ms of Redis in all, since"
        f" each round trip takes fewer commands along, and {_ms(home)} on the busiest node: three carry"
        f" {login['redis'] / home:.1f} times what one server does. {_ms(counting)} ms of that is `live-pairings`, the"
        f" one key that counts all pairings and stays on one node: it would fill a core at {_rate(counting)} logins a"
        f" second."
    )


def _sizes(measured: Measured) -> str:
    return _text(
        f"A GiB holds {_rate(measured.socket_kib / 2**20)} open sockets ({measured.socket_kib:.0f} KiB each, beside"
        f" {measured.process_kib / 1024:.0f} MiB per process) or, in Redis, {_rate(measured.pairing_kib / 2**20)} codes"
        f" ({measured.pairing_kib:.1f} KiB each; finished {measured.finished_kib:.1f}; kept for {KEPT_SECONDS} s;"
        f" {measured.subscription_kib:.1f} per watched one, {measured.counter_kib:.1f} per address or account that a"
        f" limit counts). A million logins take {measured.row_kib * 1e6 / 2**20:.1f} GiB of PostgreSQL."
    )


def _peak(measured: Measured, login: Costs) -> str:
    codes, renewals = WAITING / CODE_SECONDS, IN_USE / KEY_SECONDS
    rows = {
        f"{LOGINS_A_SECOND} logins a second": _times(login, LOGINS_A_SECOND),
        f"{WAITING:,} sockets wait": _times(measured.calls["wait"], WAITING),
        f"their codes run out after {CODE_SECONDS} s: {codes:.0f} new ones a second": _times(
            _sum(measured.calls, "create", "open", "give_up"), codes
        ),
        f"{IN_USE:,} devices in use: {renewals:.0f} renew their keys each second": _times(
            measured.calls["renew_keys"], renewals
        ),
    }
    total = {part: sum(max(costs[part], 0) for costs in rows.values()) for part in PARTS}
    rows["**cores, all busy**"] = total
    processes = -(-total["server"] // BUSY)
    lines = ["| at a morning's peak | processes | Redis | PostgreSQL |", "|---|---:|---:|---:|"]
    for what, costs in rows.items():
        lines.append(f"| {what} | " + " | ".join(f"{max(costs[part], 0):.2f}" for part in PARTS) + " |")
    rest = " | ".join(f"**{total[part] / BUSY:.1f}**" for part in ("redis", "sql"))
    lines.append(f"| **to have, {BUSY:.0%} busy** | **{processes:.0f}** | {rest} |")

    memory = (WAITING * measured.socket_kib + processes * measured.process_kib) / 2**20
    kept = KEPT_SECONDS * (codes * measured.pairing_kib + LOGINS_A_SECOND * measured.finished_kib)
    redis_memory = (kept + WAITING * measured.subscription_kib) / 2**20
    commits = LOGINS_A_SECOND + 2 * renewals
    wal = sorted(LOGINS_A_SECOND * each / 1024 for each in measured.wal_kib)
    text = (
        f"That is {memory:.1f} GiB for the processes and {redis_memory:.1f} for Redis. PostgreSQL commits"
        f" {commits:.0f} times a second and writes {wal[0]:.0f} MiB of WAL, right after a checkpoint {wal[-1]:.0f};"
        f" forcing it to the disk took {measured.sync_ms:.1f} ms here and served {measured.commits_per_sync:.1f}"
        f" commits (more, where more wait). The processes may open {processes * POOL_SIZE:.0f} connections, {POOL_SIZE} each:"
        f" raise `max_connections`, which is 100 by default."
    )
    return "\n".join(lines) + "\n\n" + _text(text)


def _sum(calls: Mapping[str, Costs], *steps: str) -> Costs:
    return {part: sum(calls[step][part] for step in steps) for part in PARTS}


def _times(costs: Costs, factor: float) -> Costs:
    return {part: cost * factor for part, cost in costs.items()}


def _ms(seconds: float) -> str:
    # What is less is noise.
    return f"{seconds * 1000:.2f}" if seconds >= 5e-6 else ""


def _rate(seconds: float) -> str:
    """Per second, in two digits: the third is another one in each run."""
    rate = 1 / seconds
    return f"{round(rate, 2 - len(str(int(rate)))):,.0f}"


def _text(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)
