"""The hosts that forward auth protects, and what they are to the authorization endpoint: clients that no operator has
registered, whose codes this server redeems itself."""

from collections.abc import Iterable
from typing import NamedTuple

from pairing_ws.oauth.ports import Client, ClientsById

# Below this the proxy of a protected host leads to us.
OWN_PATHS = "/.pairing/"
LOGIN_PATH, CALLBACK_PATH, LOGOUT_PATH = f"{OWN_PATHS}login", f"{OWN_PATHS}callback", f"{OWN_PATHS}logout"
# No id of a registered client has a colon.
_CLIENT_ID = "forward-auth:"


class ProtectedHost(NamedTuple):
    """`name` is as a browser sends it: with its port, unless that is the scheme's own. An account has to be in one of
    the `groups`, if there are any."""

    name: str
    origin: str
    groups: frozenset[str]

    @property
    def client_id(self) -> str:
        return _CLIENT_ID + self.name

    @property
    def callback(self) -> str:
        return self.origin + CALLBACK_PATH

    def lets_in(self, groups: Iterable[str]) -> bool:
        return not self.groups or not self.groups.isdisjoint(groups)

    def client(self) -> Client:
        """Trusted, for an operator has named it. Its secret is none that anybody could send."""
        return Client(
            id=self.client_id,
            name=self.name,
            created_at=0,
            secret_hash="",
            redirect_uris=(self.callback,),
            post_logout_redirect_uris=(f"{self.origin}/",),
            scopes=("profile", "email", "groups"),
            trusted=True,
        )


class ProtectedHosts:
    """`default_port` is the one that needs no mention by the scheme of their origins, which they have in common."""

    def __init__(self, hosts: Iterable[ProtectedHost], default_port: str) -> None:
        self._hosts = {each.name: each for each in hosts}
        self._default_port = default_port

    def find(self, name: str) -> ProtectedHost | None:
        """`name` as it came in a header: in any case, with the port that needs no mention or the root's dot."""
        bare, _, port = name.lower().partition(":")
        mentioned = f":{port}" if port not in ("", self._default_port) else ""
        return self._hosts.get(bare.removesuffix(".") + mentioned)

    def client(self, client_id: str) -> Client | None:
        host = self._hosts.get(client_id.removeprefix(_CLIENT_ID)) if client_id.startswith(_CLIENT_ID) else None
        return host.client() if host else None


class ClientsAndHosts:
    """What the endpoints know that browsers are sent to. Those that applications call know registered clients alone."""

    def __init__(self, clients: ClientsById, hosts: ProtectedHosts) -> None:
        self._clients = clients
        self._hosts = hosts

    async def get(self, client_id: str) -> Client | None:
        """See `ports.ClientsById.get`."""
        return self._hosts.client(client_id) or await self._clients.get(client_id)
