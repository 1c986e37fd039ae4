"""One run: servers, people and faults at once, then a look into the database. And what came of it."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.history.checker import Violation, database
from tests.history.deployment import Deployment, Usage, deployed, keys_without_expiry, phones, sessions, usage_of
from tests.history.faults import Faults
from tests.history.mutants import Mutant, copied
from tests.history.record import Recorder
from tests.history.workload import World

PHONES = 12
# Hundreds of operations per second, and the servers still have room to be late.
AT_ONCE = 16
USUAL = {"honest": 0.35, "rush": 0.3, "scramble": 0.2, "numbers": 0.08, "deadline": 0.05, "late": 0.02}
# Seconds after which the servers have all they need.
SETTLED = 20.0
# What a mutant may take until it is found.
MOST_OPERATIONS = 6000
MOST_SECONDS = 120.0


@dataclass
class Outcome:
    """What came of a run. Its violations have been reported when they were found."""

    world: World
    recorder: Recorder
    faults: Faults
    before: list[Usage] = field(default_factory=list)
    after: list[Usage] = field(default_factory=list)


@dataclass
class Plan:
    """How a run goes. `goes_on` is asked before each case and each fault."""

    seed: int
    mix: dict[str, float]
    report: Callable[[Violation], None]
    goes_on: Callable[[Outcome], bool]
    at_once: int = AT_ONCE
    # Places of servers that are never restarted, so that what they hold at the end can be compared with the start.
    lasting: tuple[int, ...] = ()
    only: tuple[str, ...] = ()
    progress: Callable[[Outcome], None] | None = None
    every: float = 60.0


async def run(deployment: Deployment, plan: Plan) -> Outcome:
    """The run. Faults are over before the last cases are, so that these can end."""
    recorder, chance = Recorder(), random.Random(plan.seed)
    client = deployment.client(recorder)
    people = await phones(deployment, client, PHONES)
    world = World(client, people, deployment.rules, chance, plan.mix, plan.report)
    restarts = [server for place, server in enumerate(deployment.servers) if place not in plan.lasting]
    faults = Faults(deployment, recorder, random.Random(plan.seed + 1), restarts, plan.only)
    outcome = Outcome(world, recorder, faults)

    def goes_on() -> bool:
        return plan.goes_on(outcome)

    async def show() -> None:
        while plan.progress:
            await asyncio.sleep(plan.every)
            plan.progress(outcome)

    async def measure() -> None:
        # Under load: what is loaded and opened once only is no leak.
        await asyncio.sleep(SETTLED)
        outcome.before = [usage_of(server) for server in deployment.servers]

    beside = [asyncio.create_task(show()), asyncio.create_task(measure())]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(faults.run(goes_on))
            group.create_task(world.run(plan.at_once, goes_on))
    finally:
        for task in beside:
            task.cancel()
    outcome.after = [usage_of(server) for server in deployment.servers]
    kept = [Violation("?", f"Redis would keep {key} for ever", []) for key in keys_without_expiry(deployment)]
    for violation in (*database(world.kept, await sessions(deployment), client.digests), *kept):
        world.violations.append(violation)
        plan.report(violation)
    client.close()
    return outcome


async def operations_until_found(mutant: Mutant, seed: int) -> tuple[int, Violation | None]:
    """After how many operations that bug was found, and as what."""
    with copied(mutant) as package, deployed(package=package) as deployment:
        end = asyncio.get_running_loop().time() + MOST_SECONDS
        found: list[tuple[int, Violation]] = []
        recorder: Recorder

        def goes_on(outcome: Outcome) -> bool:
            nonlocal recorder
            recorder = outcome.recorder
            return not found and recorder.count < MOST_OPERATIONS and asyncio.get_running_loop().time() < end

        def report(violation: Violation) -> None:
            found.append((recorder.count, violation))

        await run(deployment, Plan(seed, mutant.mix, report, goes_on, only=mutant.faults or ("none",)))
        return found[0] if found else (recorder.count, None)
