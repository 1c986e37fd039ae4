"""Which server Sentinel names as master."""

import asyncio
from contextlib import suppress
from typing import Any

from pairing_ws.adapters.outages import cause_of
from pairing_ws.adapters.redis.connection import Address, Login, name_of
from pairing_ws.adapters.redis.errors import ConnectionLost, RedisError
from pairing_ws.adapters.redis.topology import SHORT_CONNECT_TIMEOUT, SHORT_REPLY_TIMEOUT, Topology


class SentinelTopology(Topology):
    """The master. After a failover it is another server."""

    _master = ""

    def _login_for_requests(self) -> Login:
        address, tls = self._address, self._login.tls
        # Sentinels have credentials of their own, and no databases.
        user, password = address.sentinel_username, address.sentinel_password
        return Login(SHORT_CONNECT_TIMEOUT, SHORT_REPLY_TIMEOUT, user, password, tls=tls)

    @property
    def nodes(self) -> set[str]:
        return {self._master} if self._master else set()

    @property
    def is_discovered(self) -> bool:
        return bool(self._master)

    def node_for_key(self, key: str) -> str:
        return self._master

    async def connect(self, node: str) -> asyncio.Transport:
        """As of one server, but never to one that is not the master any more: a server that died and came back without
        its memory says that it is the master until a Sentinel tells it otherwise."""
        transport = await super().connect(node)
        try:
            await self._refresh_now()
            if self._master != node:
                raise ConnectionLost(f"{node} is the master no more")
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _refresh_now(self) -> None:
        """A look that begins now, not one that is under way."""
        if self._refreshing and not self._refreshing.done():
            with suppress(RedisError, OSError, TimeoutError):
                await asyncio.shield(self._refreshing)
        await self.refresh()

    async def _discover(self) -> None:
        """The newest answer counts. One Sentinel that has not heard of the failover yet still names the old master,
        which may have come back empty."""
        hosts = self._address.hosts
        answers = await asyncio.gather(*map(self._query_sentinel, hosts), return_exceptions=True)
        known = [answer for answer in answers if not isinstance(answer, BaseException)]
        _, master, is_down = max(known, default=(0, "", True))
        if is_down:
            said = ", ".join(
                f"{name_of(host)} {f'says: {cause_of(answer)}' if isinstance(answer, Exception) else 'knows none'}"
                for host, answer in zip(hosts, answers, strict=True)
            )
            raise ConnectionLost(f"no master is in service for {self._address.service}: {said}")
        self._master = master

    async def _query_sentinel(self, sentinel: Address) -> tuple[int, str, bool]:
        """Which configuration it knows (they count up), which server is master in it, and whether it takes that one for
        dead."""
        service = self._address.service
        # In this order: the address is then at least as new as the number, never older.
        state, address = await self._requests.request(
            sentinel, ("SENTINEL", "MASTER", service), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        )
        fields = _text_fields(state)
        name = name_of((address[0].decode(), int(address[1])))
        is_down = not {"s_down", "o_down"}.isdisjoint(fields["flags"].split(","))
        return int(fields["config-epoch"]), name, is_down and name == name_of((fields["ip"], int(fields["port"])))


def _text_fields(reply: Any) -> dict[str, str]:
    """A map, which RESP2 and some Sentinels write as a flat list."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}
