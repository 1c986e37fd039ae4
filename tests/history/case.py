"""One pairing from first call to last: who takes part, what each of them can ask, and how a patient client asks."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.history.clients import PATIENCE, Party, RecordingClient
from tests.history.record import Operation

FINAL = frozenset({"denied", "cancelled", "expired", "consumed"})
# Longer than any pairing lives.
GIVES_UP = 200.0


class Case:
    """`phones` are logged in, each in an account of its own; the first is the one that means it."""

    def __init__(self, client: RecordingClient, phones: Sequence[Party], chance: random.Random) -> None:
        self.client, self.phones, self.random = client, phones, chance
        self.phone = phones[0]
        self.id = self.code = self.user_code = self.number = self._auth_key = ""
        self.guesses = 0
        # The newest that an answer told.
        self.deadline = 0.0
        self.began = client.recorder.now()
        # The new device shows the code (flow 2), or the phone does (flow 1).
        self.flow_2 = chance.random() < 0.6
        self._devices = 0
        self.device = self.new_device()

    def new_device(self) -> Party:
        self._devices += 1
        secret = secrets.token_urlsafe(24)
        described = {"X-Device-Code": f"code-{secrets.token_hex(8)}", "X-Device-Name": "Tablet"}
        return Party(f"B{self._devices}", {"Pairing-Secret": secret, **described}, {"secret": secret})

    @property
    def creator(self) -> Party:
        return self.device if self.flow_2 else self.phone

    @property
    def claimant(self) -> Party:
        return self.phone if self.flow_2 else self.device

    # One question each

    async def ask(
        self,
        call: str,
        party: Party,
        method: str,
        path: str,
        body: Any = None,
        *,
        how: str = "",
        process: int | None = None,
        patience: float = PATIENCE,
        **headers: str,
    ) -> Operation:
        """Ask a process, any unless it is named. What comes back holds the answer, as far as there was one."""
        place = self.random.randrange(len(self.client.servers)) if process is None else process
        operation = Operation(call, party.name, 0.0, pairing=self.id, process=place, how=how)
        reply = await self.client.call(operation, method, path, party, body, patience, **headers)
        if reply is not None:
            self.number = reply.body.get("number", self.number)
            if operation.answer and operation.answer.seen:
                self.deadline = max(self.deadline, operation.answer.seen.deadline)
            if call == "create" and reply.status == 201:
                self.id, self.user_code = reply.body["id"], reply.body["userCode"]
                self.code = reply.body["qr"]["text"].split("#")[1]
                if "secret" in reply.body:
                    party.headers["Pairing-Secret"] = party.proof["secret"] = reply.body["secret"]
            self._auth_key = reply.body.get("authKey", self._auth_key)
        return operation

    async def create(self) -> bool:
        """Whether there is a pairing now. Of one whose answer got lost nobody knows the id."""
        if self.flow_2 and self.random.random() < 0.3:
            # The server makes the secret then.
            del self.device.headers["Pairing-Secret"]
        await self.ask("create", self.creator, "POST", "/pairings", {"qr": "none"})
        return bool(self.id)

    async def claim(self, party: Party, how: str = "", **more: Any) -> Operation:
        if how == "typed":
            return await self.ask("claim", party, "POST", "/pairings/claim", {"userCode": self.user_code}, how=how)
        body = {"code": self.code if how != "wrong" else self.code[::-1]}
        return await self.ask("claim", party, "POST", f"/pairings/{self.id}/claim", body, how=how, **more)

    async def approve(self, party: Party, **more: Any) -> Operation:
        return await self.ask("approve", party, "POST", f"/pairings/{self.id}/approve", **more)

    async def deny(self, party: Party, **more: Any) -> Operation:
        return await self.ask("deny", party, "POST", f"/pairings/{self.id}/deny", **more)

    async def cancel(self, party: Party, **more: Any) -> Operation:
        return await self.ask("cancel", party, "DELETE", f"/pairings/{self.id}", **more)

    async def log_in(self, party: Party, how: str = "right", **more: Any) -> Operation:
        """With the right number if one has been shown by now, a wrong one, or none."""
        if how == "right" and not self.number:
            how = ""
        # Another one each time: the same one again is a repeated call, and counts once.
        self.guesses += 1
        wrong = f"{(int(self.number or 0) + self.guesses) % 1000:03}"
        body = {"number": self.number if how == "right" else wrong} if how else {}
        return await self.ask("login", party, "POST", f"/pairings/{self.id}/login", body, how=how, **more)

    async def read(self, party: Party, **more: Any) -> Operation:
        return await self.ask("read", party, "GET", f"/pairings/{self.id}", **more)

    async def read_if_news(self, party: Party, known: int) -> Operation:
        """Unless the version is the known one."""
        return await self.read(party, how="if news", **{"If-None-Match": f'"{known}"'})

    async def long_poll(self, party: Party, since: int, wait: int, **more: Any) -> Operation:
        path = f"/pairings/{self.id}?since={since}&wait={wait}"
        return await self.ask("read", party, "GET", path, how="long poll", patience=wait + PATIENCE, **more)

    async def use(self, how: str) -> Operation:
        """The keys, which a login must have given by now. Their first use ends its repeating."""
        holder = Party(self.device.name, {"Auth-Key": self._auth_key})
        method, path = ("GET", "/me") if how == "me" else ("DELETE", "/sessions/current")
        return await self.ask("use", holder, method, path, how=how)

    # What a patient client does

    async def persist(self, act: Callable[[], Awaitable[Operation]]) -> Operation:
        """Ask again, at either process, until it is known what happened."""
        end = asyncio.get_running_loop().time() + GIVES_UP
        while True:
            done = await act()
            if done.known or asyncio.get_running_loop().time() > end:
                return done
            await self.pause(0.05, 0.4)

    async def wait_for(self, party: Party, awaited: str) -> str:
        """By socket, long poll or poll: the awaited status, or a final one or "unknown" that came instead."""
        wait = self.random.choice((self._by_socket, self._by_long_poll, self._by_poll))
        end = asyncio.get_running_loop().time() + GIVES_UP
        process = self.random.randrange(len(self.client.servers))
        while asyncio.get_running_loop().time() < end:
            status = await wait(party, FINAL | {awaited, "unknown"}, process)
            if status:
                return status
            process = (process + 1) % len(self.client.servers)
            await self.pause(0.02, 0.3)
        return ""

    async def _by_socket(self, party: Party, awaited: frozenset[str], process: int) -> str:
        status, _ = await self.client.watch(self.id, party, process, awaited)
        return status

    async def _by_long_poll(self, party: Party, awaited: frozenset[str], process: int) -> str:
        since = 0
        while True:
            asked = await self.long_poll(party, since, 20, process=process)
            status = status_of(asked)
            if status in awaited or not status:
                return status
            since = asked.answer.seen.version if asked.answer and asked.answer.seen else 0

    async def _by_poll(self, party: Party, awaited: frozenset[str], process: int) -> str:
        while True:
            status = status_of(await self.read(party, process=process))
            if status in awaited or not status:
                return status
            await self.pause(0.1, 0.5)

    async def pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self.random.uniform(least, most))


def status_of(asked: Operation) -> str:
    """What a read says of the pairing; "" if it says nothing."""
    if not asked.known or asked.answer is None:
        return ""
    if asked.answer.status == 404:
        return "unknown"
    return asked.answer.seen.status if asked.answer.seen else ""
