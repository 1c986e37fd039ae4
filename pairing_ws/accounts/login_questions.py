"""Asks the host application about each login, once: who asks, who waits for the answer, and how long it counts."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import msgspec

from pairing_ws.accounts import refresh_keys as keys
from pairing_ws.accounts.login_hook import Login, LoginHook, Question, QuestionStore, Said, State
from pairing_ws.accounts.ports import User
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.ports import Bus

# A question that is as it was for so long is nobody's any more: its process was killed. By the waiting process's own
# time, so that it needs no clock that agrees.
ABANDONED_SECONDS = 4.0
# A yes counts for as long as its login could still be tried: it failed, perhaps for want of room, and comes again.
ACCEPTED_MS = 600_000


class LoginQuestions:
    """What one login is told, every caller and every process is told.

    The answer is kept, sealed under the client's secret, before anything is done by it: a login that is repeated, or
    could not be finished, asks nobody a second time. A question is asked again, as the same one, only where no answer
    was kept: the host application gave none, the process was killed, or the database was away just then.
    """

    def __init__(
        self,
        store: QuestionStore,
        bus: Bus,
        hook: LoginHook,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit,
        abandoned_seconds: float = ABANDONED_SECONDS,
    ) -> None:
        self._store = store
        self._bus = bus
        self._hook = hook
        self._clock = clock
        self._random = random
        self._audit = audit
        self._abandoned_seconds = abandoned_seconds
        self._under_way: set[asyncio.Future[Said]] = set()

    async def answer(self, login: Login, secret: str) -> Said:
        """What the host application says to it. No transaction is open meanwhile.

        A refusal is told again for 30 s without asking, and changes nothing: neither pairing nor invite is used up.
        Raises LOGIN_REFUSED, ACCOUNT_LOCKED, NOT_FOUND without such an account, and Unavailable if no answer came; then
        the login may be tried again.
        """
        # A caller that finds another one asking waits for it; twice at the most.
        for _ in range(3):
            seen = await self._store.question(login.origin)
            if seen is not None and seen.state is State.ASKED:
                waited, seen = seen, await self._when_settled(seen)
                if seen is not None and seen.turn == waited.turn and seen.state is State.FAILED:
                    raise Unavailable("the application")
                if seen is not None and seen.turn != waited.turn and seen.state is State.ASKED:
                    continue
            if seen is not None and (said := self._kept(seen, secret)) is not None:
                return _accepted(said)
            user = await self._store.user(login.user_id)
            if user is None:
                raise Refused(Code.NOT_FOUND, "no such account")
            if user.locked_at is not None:
                raise Refused(Code.ACCOUNT_LOCKED, "the account is locked")
            mine = self._next(seen, login, secret)
            if await self._store.begin(mine):
                return await self._to_its_end(self._ask(mine, login, user, secret))
        raise Unavailable("the application")

    def _next(self, before: Question | None, login: Login, secret: str) -> Question:
        """The question as this caller asks it: the same one, if it has no answer and was this client's."""
        unanswered = before is not None and before.state in (State.ASKED, State.FAILED)
        same = before if before is not None and unanswered and codes.matches(secret, before.asker) else None
        return Question(
            origin=login.origin,
            user_id=login.user_id,
            turn=before.turn + 1 if before else 1,
            asker=codes.digest(secret),
            session_id=same.session_id if same else codes.token(self._random),
            asked_at=self._clock(),
        )

    def _kept(self, question: Question, secret: str) -> Said | None:
        """The answer, if it counts for this client: of several that have the same invite each is asked about."""
        if self._clock() >= question.kept_until or not codes.matches(secret, question.asker):
            return None
        return keys.unseal(question.sealed, secret, Said)

    async def _ask(self, question: Question, login: Login, user: User, secret: str) -> Said:
        try:
            said = await self._hook(login, user, question.session_id)
        except Refused:
            await self._settle(msgspec.structs.replace(question, state=State.FAILED))
            raise
        refused = said.refusal is not None
        settled = msgspec.structs.replace(
            question,
            state=State.REFUSED if refused else State.ACCEPTED,
            sealed=keys.seal(said, secret, self._random),
            kept_until=self._clock() + (keys.GRACE_MS if refused else ACCEPTED_MS),
        )
        await self._settle(settled)
        if refused:
            self._audit(
                "session.refused",
                account=user.id,
                username=user.username,
                device=login.device_id,
                device_name=login.device.name,
                ip=login.device.ip,
                amr=login.how,
                why=said.refusal,
            )
        return _accepted(said)

    async def _settle(self, question: Question) -> None:
        await self._store.settle(question)
        await self._bus.publish(_channel(question.origin))

    async def _to_its_end(self, asking: Awaitable[Said]) -> Said:
        """Also where the caller breaks off: the answer is then there for its next try."""
        task = asyncio.ensure_future(asking)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Future[Said]) -> None:
        self._under_way.discard(task)
        # Perhaps nobody waits for it any more.
        with suppress(asyncio.CancelledError):
            task.exception()

    async def _when_settled(self, asked: Question) -> Question | None:
        """That login's question once it is not that one any more, or that one if it was abandoned."""
        changed = asyncio.Event()
        async with self._bus.watch([_channel(asked.origin)], lambda _: changed.set()):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._abandoned_seconds):
                    while (now := await self._store.question(asked.origin)) == asked:
                        await changed.wait()
                        changed.clear()
                    return now
        # A message may get lost.
        return await self._store.question(asked.origin)


def _accepted(said: Said) -> Said:
    if said.refusal is not None:
        raise Refused(Code.LOGIN_REFUSED, said.refusal)
    return said


def _channel(origin: str) -> str:
    # Braces as with pairings: a Redis Cluster hash tag.
    return f"login:{{{origin}}}"
