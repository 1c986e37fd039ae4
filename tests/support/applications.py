"""Applications that log people in: their registration in a server's database, and their requests."""

import base64
import hashlib
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pairing_ws.adapters.jwt.client_tokens import JwtClientTokens
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.sql.client_store import SqlClients
from pairing_ws.adapters.sql.database import open_database
from pairing_ws.core.clock import system_clock
from pairing_ws.oauth.ports import Algorithm, Client

CALLBACK = "https://app.example.com/callback"


class Application:
    """One that is registered at the server whose database is in `folder`."""

    def __init__(self, client: Client, redirect_uri: str) -> None:
        self.client, self.redirect_uri = client, redirect_uri
        self.verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def query(self, **more: Any) -> str:
        """A good authorization request; None leaves a parameter out."""
        fields = {
            "client_id": self.client.id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": "openid profile",
            "state": "a-state",
            "nonce": "a-nonce",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **more,
        }
        return urlencode({name: value for name, value in fields.items() if value is not None}, doseq=True)


async def register(folder: Path, database_url: str | None = None, **settings: Any) -> Application:
    """What `pairing-ws client add` does, without a process of its own. Public, unless `settings` say otherwise."""
    made = Client(
        **{
            "id": f"app-{secrets.token_hex(6)}",
            "name": "The Shop",
            "created_at": 0,
            "redirect_uris": (CALLBACK,),
            **settings,
        }
    )
    database = open_database(database_url or f"sqlite:///{folder / 'pairing.db'}")
    try:
        assert await SqlClients(database).add(made)
    finally:
        await database.close()
    return Application(made, made.redirect_uris[0])


def id_token(folder: Path, issuer: str, application: Application, **more: Any) -> str:
    """One that the server has given the application: signed with the key in `folder`."""
    claims = {"iss": issuer, "aud": application.client.id, "sub": "nobody", "sid": "none", "iat": 0, "exp": 1, **more}
    tokens = JwtClientTokens(KeyRing(folder / "pairing-keys.json", system_clock), issuer)
    return tokens.sign(claims, typ="JWT", alg=Algorithm.RS256)


def answer_in(location: str) -> dict[str, str]:
    """The parameters of an answer to the application."""
    return dict(parse_qsl(urlsplit(location).query))
