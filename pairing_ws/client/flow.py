"""A whole login: show a code, wait for a person to allow it, ask for the number if one is needed, and log in."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from pairing_ws.client.client import Client
from pairing_ws.client.problems import Problem
from pairing_ws.client.records import Device, Keys, NewPairing, Pairing

GOODBYE_SECONDS = 2.0

Show = Callable[[NewPairing], None]
Told = Callable[[Pairing], None]
AskNumber = Callable[[int | None], Awaitable[str]]


async def log_in(
    client: Client, device: Device, show: Show, ask_number: AskNumber, told: Told = lambda _: None
) -> Keys:
    """The keys of a session that a person has allowed on another device of theirs.

    `show` gets each code: a second one when the first has expired unseen. `told` hears of each further state.
    `ask_number` returns what a person types, the three digits that the other device shows; it gets None at first, and
    then how many attempts are left. Raises Problem `pairing_denied`, `pairing_cancelled`, `pairing_expired` (if it had
    been scanned), `login_refused` and whatever else the calls do. If it is cancelled, it takes the code back.
    """
    while True:
        pairing = await client.create_pairing(device)
        show(pairing)
        try:
            state, scanned = await _decided(client, pairing, told)
        except asyncio.CancelledError:
            # A caller that gives up leaves no code behind that others could still allow. Without an answer it expires.
            with suppress(Problem, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await client.cancel(pairing)
            raise
        if state.status == "approved":
            return await _with_number(client, pairing, state, ask_number)
        if state.status != "expired" or scanned:
            raise Problem(f"pairing_{state.status}")


async def _decided(client: Client, pairing: NewPairing, told: Told) -> tuple[Pairing, bool]:
    """The state in which it is approved or over, and whether anybody had scanned it."""
    state: Pairing = pairing
    scanned = False
    async with aclosing(client.watch(pairing)) as states:
        async for state in states:
            told(state)
            scanned = scanned or state.status == "scanned"
            if state.status == "approved":
                break
    return state, scanned


async def _with_number(client: Client, pairing: NewPairing, state: Pairing, ask_number: AskNumber) -> Keys:
    number = await ask_number(None) if state.needs_number else None
    while True:
        try:
            return await client.log_in(pairing, number)
        except Problem as problem:
            if problem.code not in ("number_required", "number_mismatch") or problem.members.get("attemptsLeft") == 0:
                raise
            number = await ask_number(problem.members.get("attemptsLeft"))
