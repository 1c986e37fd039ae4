"""Bugs put in on purpose, each in a copy of the package, to see that the checker finds them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.history.deployment import ROOT


class Mutant(NamedTuple):
    """`changes`: in which file, what, by what. `mix` and `faults` are where such a bug would show."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    mix: dict[str, float]
    faults: tuple[str, ...] = ()


RUSH = {"rush": 0.6, "scramble": 0.2, "honest": 0.2}
_REMEMBERED = """
_remembered: dict[object, object] = {}


async def _view(request: RequestContext, pairing_id: str, holder: Holder) -> View:
    key = pairing_id, getattr(holder, "secret", "") or holder.approver.session_id, int(request.services.clock() / 500)
    if key not in _remembered:
        _remembered[key] = await request.services.pairings.views.view(pairing_id, holder)
    return _remembered[key]
"""

MUTANTS = (
    Mutant(
        "replace.lua does not compare versions",
        (("adapters/redis/scripts/replace.lua", "stored[1] ~= ARGV[1]", "not stored[1]"),),
        RUSH,
    ),
    Mutant(
        "a lost swap is taken for a won one",
        (("pairing/changes.py", "await self._store.replace(old, new)", "await self._store.replace(old, new) or True"),),
        RUSH,
    ),
    Mutant(
        "replace.lua does not look at the deadline",
        (("adapters/redis/scripts/replace.lua", "now >= tonumber(stored[2])", "false"),),
        {"deadline": 1.0},
        ("link to Redis slow",),
    ),
    Mutant(
        "a login does not consume the pairing",
        (("pairing/login.py", "if not await self._changes.replace(Event.LOGIN, pairing, consumed):", "if False:"),),
        RUSH,
    ),
    Mutant(
        "the database lets a pairing begin two sessions",
        (
            (
                "adapters/sql/tables.py",
                'sa.Column("origin", sa.String(80), nullable=False, unique=True)',
                'sa.Column("origin", sa.String(80), nullable=False)',
            ),
            (
                "adapters/sql/account_store.py",
                "if eligibility is None or eligibility.origin_is_used:",
                "if eligibility is None:",
            ),
        ),
        RUSH,
    ),
    Mutant(
        "polls are answered from a memory",
        (
            (
                "web/handlers/pairings.py",
                "view = await request.services.pairings.views.view(pairing_id, holder)\n    if wait",
                "view = await _view(request, pairing_id, holder)\n    if wait",
            ),
            ("web/handlers/pairings.py", "\n\nasync def claim(", f"{_REMEMBERED}\n\nasync def claim("),
        ),
        RUSH,
    ),
    Mutant(
        "a second claimant is in too",
        (
            (
                "pairing/views.py",
                "pairing.approver is not None and pairing.approver.session_id == claimant.approver.session_id",
                "pairing.approver is not None",
            ),
        ),
        RUSH,
    ),
    Mutant(
        "what was denied can be approved",
        (
            (
                "pairing/machine.py",
                "    (Status.APPROVED, Event.WRONG_NUMBER): Status.APPROVED,\n",
                "    (Status.APPROVED, Event.WRONG_NUMBER): Status.APPROVED,\n"
                "    (Status.DENIED, Event.APPROVE): Status.APPROVED,\n",
            ),
        ),
        RUSH,
    ),
)


@contextmanager
def copied(mutant: Mutant) -> Iterator[Path]:
    """Where the package with that bug is."""
    with TemporaryDirectory(prefix="pairing-mutant-") as folder:
        place = Path(folder)
        for name in ("pairing_ws", "static"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name, old, new in mutant.changes:
            file = place / "pairing_ws" / name
            text = file.read_text()
            # The code has moved on: a bug that is not there would not be found.
            assert text.count(old) == 1, f"{mutant.name}: {old!r} is {text.count(old)} times in {name}"
            file.write_text(text.replace(old, new))
        yield place
