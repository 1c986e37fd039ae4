"""The arithmetic of `scripts/capacity`: from what was measured to what a peak needs, as shown in scripts/deploy.

What may live here: what follows from the numbers, worked out each time, and the words between them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from pairing_ws.adapters.memory import AFTERLIFE_MS
from pairing_ws.adapters.sql.postgresql import POOL_SIZE
from pairing_ws.config.settings import Settings

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
CODES_A_SECOND, RENEWALS_A_SECOND = WAITING / CODE_SECONDS, IN_USE / KEY_SECONDS
# A core that is busier makes everybody queue.
BUSY = 0.6
# Of a large machine, but none out of the ordinary.
CORES = 16

Costs = Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """CPU in seconds, sizes in KiB."""

    # Of each step, per person; of "wait", per socket and second.
    calls: Mapping[str, Costs]
    commands: Mapping[str, float]
    messages: Mapping[str, float]
    statements: Mapping[str, float]
    # Processes, how many of them watch the channel, and what one message then costs.
    message_us: Sequence[tuple[int, int, float]]
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
    rows = _peak(measured, login)
    total = {part: sum(max(costs[part], 0) for costs in rows.values()) for part in PARTS}
    processes = math.ceil(total["server"] / BUSY)
    parts = (
        _costs(measured, login),
        _ratios(measured, login),
        _sizes(measured),
        _peak_table(rows, total, processes),
        _peak_sizes(measured, processes),
        _steps(measured, login, processes),
    )
    return "<!-- capacity -->\n" + "\n\n".join(parts) + "\n<!-- /capacity -->"


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
    (two, _, message), (many, _, same_message), (_, _, dear_message) = measured.message_us
    return _text(
        f"A core carries {_rate(login['server'])} logins a second in a process, {_rate(login['sql'])} in PostgreSQL and"
        f" {_rate(login['redis'])} in Redis: {login['server'] / login['sql']:.0f} full processes fill a core of"
        f" PostgreSQL, {login['server'] / login['redis']:.0f} the one core that Redis uses. A login"
        f" publishes {round(sum(measured.messages[step] for step in STEPS))} times; a message costs Redis {message:.1f}"
        f" µs with {two} processes connected, {same_message:.1f} with {many}, and {dear_message:.1f} only if all {many}"
        f" watch that pairing."
    )


def _sizes(measured: Measured) -> str:
    return _text(
        f"A GiB holds {_rate(measured.socket_kib / 2**20)} open sockets ({measured.socket_kib:.0f} KiB each, beside"
        f" {measured.process_kib / 1024:.0f} MiB per process) or, in Redis, {_rate(measured.pairing_kib / 2**20)} codes"
        f" ({measured.pairing_kib:.1f} KiB each, finished {measured.finished_kib:.1f}, for {KEPT_SECONDS} s;"
        f" {measured.subscription_kib:.1f} per watched one, {measured.counter_kib:.1f} per address or account that a"
        f" limit counts). A million logins take {measured.row_kib * 1e6 / 2**20:.1f} GiB of PostgreSQL."
    )


def _peak(measured: Measured, login: Costs) -> dict[str, Costs]:
    return {
        f"{LOGINS_A_SECOND} logins a second": _times(login, LOGINS_A_SECOND),
        f"{WAITING:,} sockets wait": _times(measured.calls["wait"], WAITING),
        f"their codes run out after {CODE_SECONDS} s: {CODES_A_SECOND:.0f} new ones a second": _times(
            _sum(measured.calls, "create", "open", "give_up"), CODES_A_SECOND
        ),
        f"{IN_USE:,} devices in use: {RENEWALS_A_SECOND:.0f} renew their keys each second": _times(
            measured.calls["renew_keys"], RENEWALS_A_SECOND
        ),
    }


def _peak_table(rows: Mapping[str, Costs], total: Costs, processes: int) -> str:
    lines = ["| cores, at a morning's peak | processes | Redis | PostgreSQL |", "|---|---:|---:|---:|"]
    for what, costs in (dict(rows) | {"together, all busy": total}).items():
        lines.append(f"| {what} | " + " | ".join(f"{max(costs[part], 0):.2f}" for part in PARTS) + " |")
    rest = " | ".join(f"**{total[part] / BUSY:.1f}**" for part in ("redis", "sql"))
    lines.append(f"| **to have, {BUSY:.0%} busy** | **{processes}** | {rest} |")
    return "\n".join(lines)


def _peak_sizes(measured: Measured, processes: int) -> str:
    memory = (WAITING * measured.socket_kib + processes * measured.process_kib) / 2**20
    kept = KEPT_SECONDS * (CODES_A_SECOND * measured.pairing_kib + LOGINS_A_SECOND * measured.finished_kib)
    redis_memory = (kept + WAITING * measured.subscription_kib) / 2**20
    wal = sorted(LOGINS_A_SECOND * each / 1024 for each in measured.wal_kib)
    return _text(
        f"That takes {memory:.1f} GiB in the processes and {redis_memory:.1f} in Redis (and a higher"
        f" `PAIRING_LIMIT_PAIRINGS`); {LOGINS_A_SECOND + 2 * RENEWALS_A_SECOND:.0f} commits a second; per second"
        f" {wal[0]:.0f} MiB of WAL for the logins, right after a checkpoint {wal[-1]:.0f}. What is full first, and what"
        f" to do then:"
    )


def _steps(measured: Measured, login: Costs, processes: int) -> str:
    home, other = measured.cluster["home"], measured.cluster["other"]
    # Where it is next to nothing, its first digit is noise.
    counting = max(home - other, 5e-6)
    steps = (
        f"**The processes.** Add some, on any machine: they share Redis, PostgreSQL and the key file, and nothing else."
        f" Each opens up to {POOL_SIZE} connections to PostgreSQL, these {processes * POOL_SIZE}: raise its"
        f" `max_connections`.",
        f"**Redis** works on one core, which is {BUSY:.0%} busy with {_rate(login['redis'] / BUSY)} logins a second."
        f" Then go to a Cluster (`redis+cluster://…`), which spreads pairings and their messages by the pairing's id."
        f" Three masters with replicas carry {login['redis'] / home:.1f} times what one server does: a login costs"
        f" {_ms(home + 2 * other)} ms there instead of {_ms(login['redis'])}, for each round trip takes fewer"
        f" commands along, and replicas are told. `live-pairings`, the key that counts all and stays on one node, is"
        f" {_ms(counting)} ms of it: it alone would fill a core at {_rate(counting)} logins a second.",
        f"**PostgreSQL** grows with its machine: {CORES} cores, {BUSY:.0%} busy, would carry"
        f" {_rate(login['sql'] / CORES / BUSY)} logins a second. It needs a disk that syncs fast (here in"
        f" {measured.sync_ms:.1f} ms, for {measured.commits_per_sync:.1f} commits at a time, and more where more wait),"
        f" and no shards.",
    )
    return "\n".join(_text(f"{number}. {text}", "   ") for number, text in enumerate(steps, 1))


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


def _text(text: str, indent: str = "") -> str:
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
