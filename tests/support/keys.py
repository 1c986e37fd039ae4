"""A device with a key of its own, as a client program sees it: it proves the key with each call (RFC 9449)."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey

from tests.support.client import Api, device_headers
from tests.support.tokens import parts

PUBLIC = ("kty", "crv", "x", "y")


class DeviceKey:
    def __init__(self) -> None:
        self.pair = ECKey.generate_key("P-256", private=True)
        self.jwk = {name: self.pair.as_dict(private=False)[name] for name in PUBLIC}
        self.jkt = self.pair.thumbprint()

    def proof(
        self,
        method: str,
        url: str,
        nonce: str | None,
        auth_key: str | None = None,
        *,
        header: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """`header` and `changed` replace members; None takes one out."""
        claims = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": url, "iat": 1_700_000_000, "nonce": nonce}
        if auth_key is not None:
            claims["ath"] = ath(auth_key)
        return self.signed({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk} | (header or {}), claims | changed)

    def signed(self, header: dict[str, Any], claims: Any) -> str:
        """By hand, for no library signs what must be refused."""
        text = f"{spelt(header)}.{spelt(claims)}"
        assert self.pair.private_key
        r, s = decode_dss_signature(self.pair.private_key.sign(text.encode(), ECDSA(SHA256())))
        return f"{text}.{spelt(r.to_bytes(32) + s.to_bytes(32))}"


def spelt(part: Any) -> str:
    """One part of a JWT; bytes as they are, anything else as JSON."""
    if isinstance(part, dict):
        part = {name: value for name, value in part.items() if value is not None}
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def ath(auth_key: str) -> str:
    return spelt(hashlib.sha256(auth_key.encode()).digest())


def payload(token: str) -> dict[str, Any]:
    return parts(token)[1]


@dataclass
class BoundDevice:
    """Its keys, once it has some. `public_url` is what proofs name, whichever process is asked."""

    api: Api
    public_url: str
    key: DeviceKey = field(default_factory=DeviceKey)
    keys: dict[str, Any] = field(default_factory=dict)
    nonce: str = ""

    @property
    def auth_key(self) -> str:
        return str(self.keys["authKey"])

    def url(self, path: str) -> str:
        return f"{self.public_url}/api/v1{path}"

    def proof(self, method: str, path: str, auth_key: str | None = None, **changed: Any) -> str:
        return self.key.proof(method, self.url(path), auth_key=auth_key, **{"nonce": self.nonce, **changed})

    async def send(
        self, method: str, path: str, *, proof: str | None = None, key: str | None = None, **more: Any
    ) -> httpx2.Response:
        """As it stands, `proof` and all; `key` is an authKey."""
        headers = {
            **more.pop("headers", {}),
            **({"DPoP": proof} if proof else {}),
            **({"Auth-Key": key} if key else {}),
        }
        answer = await self.api.http.request(method, path, headers=headers, **more)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        return answer

    async def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx2.Response:
        """With a proof, and once more with a new nonce if the server wants that."""
        answer = await self.send(method, path, proof=self.proof(method, path, key), key=key, **more)
        if answer.status_code == 401 and answer.json()["code"] == "use_dpop_nonce":
            answer = await self.send(method, path, proof=self.proof(method, path, key), key=key, **more)
        return answer

    async def get(self, path: str) -> httpx2.Response:
        return await self.ask("GET", path, key=self.auth_key)

    async def refresh(self) -> httpx2.Response:
        return await self.ask("POST", "/sessions/refresh", json={"refreshKey": self.keys["refreshKey"]})

    async def accept(self, invite: str, **more: Any) -> "BoundDevice":
        body = {"code": invite, "deviceKey": self.key.jwk}
        answer = await self.ask("POST", "/invites/accept", json=body, headers=device_headers(), **more)
        assert answer.status_code == 200, answer.text
        self.keys = answer.json()
        return self
