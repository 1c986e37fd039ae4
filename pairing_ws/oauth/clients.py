"""What the operator does with clients, by the command line or the calls of `/api/v1/admin`: add, look up, change,
rotate the secret, remove."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pairing_ws.accounts import ended
from pairing_ws.core import codes
from pairing_ws.core.audit import Audit
from pairing_ws.core.clock import Clock
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth import registration
from pairing_ws.oauth.ports import Algorithm, Client, ClientStore, ClientTokens, DeviceGrant

# A client's id says which application it is, and something that nobody else has.
_SLUG_LETTERS = 24


class Registration(NamedTuple):
    """A new client as its operator describes it, see `ports.Client`.

    It gets a secret unless it is `public` or proves itself by `jwks`. Without `id_token_alg` it gets RS256, or ES256
    where no key can sign that.
    """

    name: str
    public: bool = False
    redirect_uris: Sequence[str] = ()
    post_logout_redirect_uris: Sequence[str] = ()
    backchannel_logout_uri: str | None = None
    device_grant: DeviceGrant = DeviceGrant.OFF
    scopes: Sequence[str] = ()
    id_token_alg: Algorithm | None = None
    access_token_alg: Algorithm = Algorithm.ES256
    audience: str = ""
    origins: Sequence[str] = ()
    logo_uri: str | None = None
    jwks: Mapping[str, Any] | None = None
    trusted: bool = False
    token_exchange: bool = False


class WithSecret(NamedTuple):
    """A client with its secret, which is known only now; None if it has none."""

    client: Client
    secret: str | None


class Clients:
    """A client is looked up by its id, or by its name if no other has the same. Raises NOT_FOUND.

    `issuer` is the public address. `require_usable` raises BAD_REQUEST unless a client can prove itself by these keys.
    """

    def __init__(
        self,
        store: ClientStore,
        tokens: ClientTokens,
        require_usable: Callable[[Mapping[str, Any]], None],
        issuer: str,
        clock: Clock,
        random: codes.RandomBytes,
        audit: Audit,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._require_usable = require_usable
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._audit = audit

    async def add(self, wanted: Registration) -> WithSecret:
        """Raises BAD_REQUEST for what can't be registered."""
        secret = None if wanted.public or wanted.jwks else codes.token(self._random, 32)
        wanted = wanted._replace(
            id_token_alg=self._algorithm(wanted.id_token_alg), access_token_alg=self._algorithm(wanted.access_token_alg)
        )
        bare = Client(id="", name="", created_at=self._clock(), secret_hash=codes.digest(secret) if secret else None)
        client = self._described(bare, wanted)
        while not await self._store.add(client := msgspec.structs.replace(client, id=self._new_id(client.name))):
            pass
        self._audit("client.added", client=client.id, client_name=client.name)
        return WithSecret(client, secret)

    async def all(self) -> Sequence[Client]:
        """Every client, by name."""
        return await self._store.all()

    async def of_id(self, client_id: str) -> Client:
        client = await self._store.get(client_id)
        if client is None:
            raise Refused(Code.NOT_FOUND, "no such client")
        return client

    async def find(self, id_or_name: str) -> Client:
        clients = await self._store.all()
        for each in clients:
            if each.id == id_or_name:
                return each
        called = [each for each in clients if each.name == id_or_name]
        if len(called) > 1:
            ids = ", ".join(each.id for each in called)
            raise Refused(Code.BAD_REQUEST, f"several clients have that name, write one's id: {ids}")
        if not called:
            raise Refused(Code.NOT_FOUND, "no such client")
        return called[0]

    async def change(self, id_or_name: str, changes: Mapping[str, Any]) -> Client:
        """Change these fields, by their names in `Registration`; id, secret and who is logged in stay.

        Raises BAD_REQUEST for what can't be registered, and for keys where it proves itself otherwise.
        """
        client = await self.find(id_or_name)
        if "jwks" in changes and client.jwks is None:
            raise Refused(Code.BAD_REQUEST, f"{client.name!r} has no keys of its own: add another client, with them")
        for each in ("id_token_alg", "access_token_alg"):
            if each in changes:
                self._algorithm(changes[each])
        present = {name: getattr(client, name) for name in Registration._fields if name != "public"}
        changed = self._described(client, Registration(**present | dict(changes), public=client.is_public))
        if not await self._store.replace(changed):
            raise Refused(Code.NOT_FOUND, "no such client")
        self._audit("client.changed", client=client.id, client_name=changed.name, changed=" ".join(sorted(changes)))
        return changed

    async def rotate(self, id_or_name: str) -> WithSecret:
        """Give it another secret; the one before is worth nothing from now on. Raises BAD_REQUEST if it has none."""
        client = await self.find(id_or_name)
        if client.secret_hash is None:
            raise Refused(Code.BAD_REQUEST, f"{client.name!r} has no secret: it is public, or proves itself by its key")
        secret = codes.token(self._random, 32)
        client = msgspec.structs.replace(client, secret_hash=codes.digest(secret))
        if not await self._store.replace(client):
            raise Refused(Code.NOT_FOUND, "no such client")
        self._audit("client.rotated", client=client.id, client_name=client.name)
        return WithSecret(client, secret)

    async def remove(self, id_or_name: str) -> Client:
        """With all that it was granted; it is told so."""
        client = await self.find(id_or_name)
        grants = await self._store.remove(client.id, self._clock())
        if grants is None:
            raise Refused(Code.NOT_FOUND, "no such client")
        self._audit("client.removed", client=client.id, client_name=client.name)
        ended.report(self._audit, grants)
        return client

    def _described(self, client: Client, wanted: Registration) -> Client:
        """The client as its operator describes it now."""
        described = msgspec.structs.replace(
            client,
            name=registration.name(wanted.name),
            jwks=self._keys(wanted.jwks) if wanted.jwks is not None else None,
            redirect_uris=registration.redirect_uris(wanted.redirect_uris),
            post_logout_redirect_uris=registration.redirect_uris(
                wanted.post_logout_redirect_uris, "post-logout redirect URI"
            ),
            backchannel_logout_uri=registration.web_address(wanted.backchannel_logout_uri, "back-channel logout URI"),
            device_grant=wanted.device_grant,
            scopes=registration.scopes(wanted.scopes),
            id_token_alg=wanted.id_token_alg or client.id_token_alg,
            access_token_alg=wanted.access_token_alg,
            audience=registration.audience(wanted.audience, self._issuer),
            origins=registration.origins(wanted.origins),
            logo_uri=registration.logo(wanted.logo_uri),
            trusted=wanted.trusted,
            token_exchange=wanted.token_exchange,
        )
        if wanted.public:
            _require_use_of_public(wanted)
        return described

    def _keys(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        keys = registration.jwks(given)
        self._require_usable(keys)
        return keys

    def _algorithm(self, wanted: Algorithm | None) -> Algorithm:
        offered = self._tokens.algorithms()
        if wanted is None:
            return Algorithm.RS256 if Algorithm.RS256 in offered else Algorithm.ES256
        if wanted not in offered:
            raise Refused(
                Code.BAD_REQUEST,
                f"no key here signs {wanted}, but {' and '.join(offered)} alone; `pairing-ws keys rotate` makes one",
            )
        return wanted

    def _new_id(self, name: str) -> str:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LETTERS].strip("-") or "client"
        letters = codes.user_code(self._random).replace("-", "").lower()
        return f"{slug}-{letters}"


def _require_use_of_public(wanted: Registration) -> None:
    if wanted.jwks is not None:
        raise Refused(Code.BAD_REQUEST, "a client with keys of its own is not public")
    if not wanted.redirect_uris and wanted.device_grant is DeviceGrant.OFF and not wanted.token_exchange:
        raise Refused(
            Code.BAD_REQUEST,
            "a public client needs a redirect URI, the device grant or token exchange: nobody could log in",
        )
