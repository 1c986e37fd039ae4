"""Run the attacks and say of each whether it was held off."""

import asyncio
from dataclasses import dataclass

from tests.attack.attack import Attack
from tests.attack.attacks import ATTACKS, keys, web
from tests.attack.target import Exhausted, NotExamined, NotHeld, Target

HELD, NOT_HELD, NOT_EXAMINED = "held", "NOT HELD", "not examined"


@dataclass
class Row:
    line: int
    attack: str
    outcome: str
    detail: str = ""


async def run(target: Target, lines: set[int], seconds: float) -> list[Row]:
    """One row per attack, in the order of the lines; no new ones begin once the time is over."""
    chosen = sorted((each for each in ATTACKS if not lines or each[0] in lines), key=lambda each: each[0])
    # These wait more than they ask. With one account the devices that one makes would be in others' way.
    patient = [web.dribble, keys.refresh_together] if len(target.phones) > 1 else [web.dribble]
    waiting = {attack: asyncio.create_task(_row(target, line, attack)) for line, attack in chosen if attack in patient}
    end = asyncio.get_running_loop().time() + seconds
    rows = []
    # The flood last: afterwards this address has to wait.
    for line, attack in sorted(chosen, key=lambda each: each[1] is web.flood):
        if attack not in waiting:
            rows.append(await _row(target, line, attack, end - asyncio.get_running_loop().time()))
    return sorted([*rows, *await asyncio.gather(*waiting.values())], key=lambda row: row.line)


async def _row(target: Target, line: int, attack: Attack, left: float = 120) -> Row:
    name = (attack.__doc__ or attack.__name__).strip()
    if left <= 0:
        return Row(line, name, NOT_EXAMINED, "out of time")
    try:
        async with asyncio.timeout(left):
            await attack(target)
    except NotHeld as broken:
        return Row(line, name, NOT_HELD, str(broken))
    except NotExamined as why:
        return Row(line, name, NOT_EXAMINED, str(why))
    except Exhausted:
        return Row(line, name, NOT_EXAMINED, "as many requests as agreed have been sent")
    except TimeoutError:
        return Row(line, name, NOT_EXAMINED if left < 60 else NOT_HELD, "no answer in time")
    except Exception as error:
        # Something answered what no such server answers, or nothing.
        return Row(line, name, NOT_HELD, f"{type(error).__name__}: {error}"[:200])
    return Row(line, name, HELD)


def table(rows: list[Row]) -> str:
    width = max(len(row.attack) for row in rows)
    lines = [
        f"{row.line:>4}  {row.attack:<{width}}  {row.outcome}{f': {row.detail}' if row.detail else ''}" for row in rows
    ]
    return "\n".join([f"line  {'attack':<{width}}  outcome", *lines])
