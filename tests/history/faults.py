"""What goes wrong in a run: at random, one thing or two at a time, each for seconds, each made good again."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from tests.history.deployment import Deployment, kill, processes, signal_all
from tests.history.record import Recorder
from tests.support.postgres import PostgresServer
from tests.support.proxy import FaultProxy
from tests.support.redis_kinds import PASSWORD, Cluster, SentinelTrio
from tests.support.servers import RedisServer, Server, wait_for


class Fault(NamedTuple):
    """`target`: two faults of one are never at once. `often`: how many of it are in a pack."""

    name: str
    target: str
    often: int
    happen: Callable[[], Awaitable[None]]


class Faults:
    """All that can befall a deployment, or only what is named. `restarts`: the servers that may be restarted."""

    def __init__(
        self,
        deployment: Deployment,
        recorder: Recorder,
        chance: random.Random,
        restarts: Sequence[Server],
        only: Sequence[str] = (),
    ) -> None:
        self._recorder, self._random = recorder, chance
        self.counts: Counter[str] = Counter()
        redis = deployment.redis
        kinds = self._of_redis(redis) if isinstance(redis, RedisServer) else self._of_many(redis)
        if deployment.postgres:
            kinds += self._of_sql(deployment.postgres)
        for place, server in enumerate(deployment.servers):
            kinds += self._of_server(server, f"server {place + 1}", server in restarts)
        for name, link in deployment.links.items():
            kinds += self._of_link(link, name)
        self._kinds = [each for each in kinds if not only or each.name in only]
        self._names = {each.name for each in self._kinds}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def enough(self) -> bool:
        """Whether each kind has happened, and a failover some times."""
        return self._names == set(self.counts) and self.counts["master killed"] >= 5 * ("master killed" in self._names)

    async def run(self, goes_on: Callable[[], bool]) -> None:
        """As from a pack of cards: in any order, and none a second time before each has had its turn."""
        while self._kinds and goes_on():
            pack = [each for each in self._kinds for _ in range(each.often)]
            self._random.shuffle(pack)
            while pack and goes_on():
                both = [pack.pop()]
                if pack and pack[-1].target != both[0].target and self._random.random() < 0.3:
                    both.append(pack.pop())
                await asyncio.gather(*(self._happen(each) for each in both))
                await self._wait(0.1, 1)

    async def _happen(self, fault: Fault) -> None:
        since = self._recorder.now()
        self.counts[fault.name] += 1
        self._recorder.look_at_clock()
        try:
            await fault.happen()
        finally:
            self._recorder.faults.append((f"{fault.name} ({fault.target})", since, self._recorder.now()))

    async def _wait(self, least: float, most: float) -> None:
        await asyncio.sleep(self._random.uniform(least, most))

    def _of_server(self, server: Server, name: str, restarts: bool) -> list[Fault]:
        async def pause() -> None:
            signal_all(server, signal.SIGSTOP)
            try:
                await self._wait(1, 3)
            finally:
                signal_all(server, signal.SIGCONT)

        async def start() -> None:
            """As whoever runs it does: again, if it ends because a store is away just now."""
            for _ in range(20):
                try:
                    await asyncio.to_thread(server.start)
                    return
                except AssertionError:
                    await asyncio.to_thread(kill, server)
                    await self._wait(0.2, 1)
            raise RuntimeError(f"{name} does not start: {server.log_text()[-2000:]}")

        async def killed() -> None:
            await asyncio.to_thread(kill, server)
            await self._wait(0, 1)
            await start()

        async def rolled() -> None:
            await asyncio.to_thread(server.stop)
            await start()

        async def worker_killed() -> None:
            workers = processes(server)[1:]
            if workers:
                os.kill(self._random.choice(workers), signal.SIGKILL)

        faults = [Fault("server paused", name, 3, pause)]
        if len(processes(server)) > 1:
            faults.append(Fault("worker killed", name, 3, worker_killed))
        if restarts:
            faults += [Fault("server killed", name, 2, killed), Fault("server rolled", name, 2, rolled)]
        return faults

    def _of_redis(self, redis: RedisServer) -> list[Fault]:
        async def pause() -> None:
            redis.pause()
            try:
                await self._wait(0.3, 4)
            finally:
                redis.resume()

        async def restart() -> None:
            event = self._recorder.begin_event("wipe")
            redis.stop()
            await self._wait(0, 2)
            await asyncio.to_thread(redis.start)
            event.returned = self._recorder.now()

        async def kill_links(kind: str, most: int) -> None:
            for _ in range(self._random.randint(1, most)):
                await asyncio.to_thread(redis.command, "CLIENT", "KILL", "TYPE", kind)
                await self._wait(0.01, 0.3)

        return [
            Fault("Redis paused", "Redis", 3, pause),
            Fault("Redis restarted, empty", "Redis", 1, restart),
            Fault("pub/sub links killed", "Redis", 3, lambda: kill_links("pubsub", 10)),
            Fault("command links killed", "Redis", 2, lambda: kill_links("normal", 5)),
        ]

    def _of_many(self, redis: SentinelTrio | Cluster) -> list[Fault]:
        async def fail_over() -> None:
            event = self._recorder.begin_event("failover")
            await asyncio.to_thread(redis.fail_over)
            event.returned = self._recorder.now()

        options = {} if isinstance(redis, Cluster) else {"password": PASSWORD}

        async def silence() -> None:
            event = self._recorder.begin_event("split")
            await asyncio.to_thread(silent_for_a_while, f"{self._random.random()}")
            event.returned = self._recorder.now()

        def silent_for_a_while(key: str) -> None:
            before = redis.master_of(key) if isinstance(redis, Cluster) else redis.master()
            with redis.silenced(key):
                time.sleep(0.5)
            with before.client(**options) as client:
                wait_for(lambda: client.role()[0] == b"slave", "the end of the old master's belief")

        def kill_links(kind: str) -> None:
            for node in redis.masters() if isinstance(redis, Cluster) else [redis.master()]:
                with node.client(**options) as client:
                    client.client_kill_filter(_type=kind)

        return [
            Fault("master killed", "Redis", 6, fail_over),
            Fault("master silent", "Redis", 3, silence),
            Fault("pub/sub links killed", "Redis", 2, lambda: asyncio.to_thread(kill_links, "pubsub")),
            Fault("command links killed", "Redis", 2, lambda: asyncio.to_thread(kill_links, "normal")),
        ]

    def _of_sql(self, postgres: PostgresServer) -> list[Fault]:
        async def pause() -> None:
            postgres.pause()
            try:
                await self._wait(0.3, 3)
            finally:
                postgres.resume()

        async def restart() -> None:
            await asyncio.to_thread(postgres.stop)
            await self._wait(0, 2)
            await asyncio.to_thread(postgres.start)

        return [Fault("PostgreSQL paused", "SQL", 2, pause), Fault("PostgreSQL crashed", "SQL", 2, restart)]

    def _of_link(self, link: FaultProxy, to: str) -> list[Fault]:
        async def during(begin: Callable[[], object], end: Callable[[], None], least: float, most: float) -> None:
            await asyncio.to_thread(begin)
            try:
                await self._wait(least, most)
            finally:
                await asyncio.to_thread(end)

        def refused() -> None:
            link.refuse()
            link.cut()

        async def slow() -> None:
            by = self._random.uniform(0.02, 0.4)
            await during(lambda: link.delay(by), lambda: link.delay(0), 1, 4)

        async def lose_answers() -> None:
            for _ in range(self._random.randint(1, 8)):
                # In place of the answer a reset: what was asked for has happened.
                await asyncio.to_thread(link.lose_answer_to, b"EVALSHA|COMMIT")
                await self._wait(0.05, 0.3)
            await asyncio.to_thread(link.heal)

        named = f"link to {to}"
        return [
            Fault(f"{named} slow", named, 4, slow),
            Fault(f"{named} cut", named, 2, lambda: asyncio.to_thread(_nothing_of, link.cut)),
            Fault(f"{named} refused", named, 2, lambda: during(refused, link.accept, 0.5, 3)),
            Fault(f"{named} black-holed", named, 2, lambda: during(link.black_hole, link.heal, 1, 6)),
            Fault(f"{named} deaf", named, 2, lambda: during(lambda: link.half("answers"), link.heal, 0.5, 4)),
            Fault(f"{named} frozen", named, 1, lambda: during(link.freeze, link.heal, 2, 6)),
            Fault(f"{named} loses answers", named, 3, lose_answers),
        ]


def _nothing_of(act: Callable[[], object]) -> None:
    act()
