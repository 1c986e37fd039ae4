"""Settings: the fields, checked together, and what follows from them."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from pydantic import model_validator

from pairing_ws.config import forward_auth
from pairing_ws.config.addresses import Network, is_local, is_loopback, origin_of
from pairing_ws.config.fields import Fields
from pairing_ws.config.process import descriptors
from pairing_ws.config.values import NamedComplaint

# Of a process that has many descriptors; one that has few leaves a third of them, and a quarter of its connections.
SPARE_DESCRIPTORS = 768
CONNECTIONS_FOR_CALLS = 200


class Settings(Fields):
    """All settings, checked."""

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("demo"):
            values.setdefault("quarantine_seconds", 0)
        return values

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.workers < 1:
            raise _wrong("WEB_CONCURRENCY", "should be at least 1")
        if self.workers > 1 and not self.redis_url:
            raise _wrong(
                "WEB_CONCURRENCY",
                "above 1 needs REDIS_URL: without it each process would keep its own pairings, and a device could"
                " wait in one of them for what happens in another",
            )
        if (self.redis_ca_file or not self.redis_tls_verify) and not self._redis_by_tls:
            name = "PAIRING_REDIS_CA_FILE" if self.redis_ca_file else "PAIRING_REDIS_TLS_VERIFY"
            raise _wrong(name, "needs a REDIS_URL with TLS: rediss://…")
        for name, url, secrets in (
            ("LOGIN_HOOK", self.login_hook_url, self.login_hook_secret),
            ("WEBHOOK", self.webhook_url, self.webhook_secret),
        ):
            if url and not secrets:
                raise _wrong(
                    f"PAIRING_{name}_URL", f"needs PAIRING_{name}_SECRET; `pairing-ws webhook secret` prints one"
                )
            if url and urlsplit(url).scheme != "https" and not self.allow_private_targets:
                raise _wrong(f"PAIRING_{name}_URL", "should be https; PAIRING_ALLOW_PRIVATE_TARGETS allows http nearby")
        if self.signing_keys and "signing_key_file" in self.model_fields_set:
            raise _wrong("PAIRING_SIGNING_KEYS", "and PAIRING_SIGNING_KEY_FILE are both set; unset one of them")
        if bool(self.upstream_issuer) != bool(self.upstream_client_id):
            missing = "PAIRING_UPSTREAM_CLIENT_ID" if self.upstream_issuer else "PAIRING_UPSTREAM_ISSUER"
            raise _wrong(missing, "is needed beside the other settings of the provider that people log in with")
        if not self.public_url:
            object.__setattr__(self, "public_url", f"http://localhost:{self.port}")
            if not is_loopback(self.host):
                raise _wrong("PAIRING_PUBLIC_URL", f"is needed when listening on {self.host}: the address people see")
        if self.demo:
            if self.has_public_address or not is_local(self.host):
                raise _wrong(
                    "PAIRING_PUBLIC_URL", "and --host must be local with --demo, which starts without quarantine"
                )
        elif not is_loopback(self.host) and urlsplit(self.public_url).scheme != "https":
            raise _wrong("PAIRING_PUBLIC_URL", f"should be https when listening on {self.host}; --demo allows http")
        if self.qr_rotate_seconds:
            if not self.secure_cookies:
                raise _wrong(
                    "PAIRING_QR_ROTATE_SECONDS",
                    "needs an https PAIRING_PUBLIC_URL, or localhost: elsewhere browsers let no page compute codes",
                )
            if self.verify == "never":
                raise _wrong(
                    "PAIRING_QR_ROTATE_SECONDS",
                    "needs PAIRING_VERIFY=remote or always: the typed code beside the picture doesn't rotate, and only"
                    " the number stops a person who passes it on",
                )
        forward_auth.check(self.forward_auth_hosts, self.trusted_proxies, self.public_url)
        # The product's own pages are always among them.
        origins = dict.fromkeys((self.public_origin, *self.allowed_origins))
        object.__setattr__(self, "allowed_origins", tuple(origins))
        return self

    @property
    def most_connections(self) -> tuple[int, int]:
        """Of one process: how many at once in all, and from one address. 0 is no limit.

        The descriptors that are left are for stores, for the files that answers are read from, and for what is accepted
        before it is counted (uvicorn's `backlog`). No address has more than half: it would shut out all others.
        """
        of_descriptors = max(descriptors() * 2 // 3, descriptors() - SPARE_DESCRIPTORS)
        in_all = _least(of_descriptors, self.limit_all_connections)
        return in_all, _least(self.limit_connections, in_all // 2) if self.limit_connections else 0

    @property
    def most_sockets(self) -> tuple[int, int]:
        """The same for sockets, which leave some connections to calls."""
        in_all, _ = self.most_connections
        return (
            _least(self.limit_all_sockets, max(in_all * 3 // 4, in_all - CONNECTIONS_FOR_CALLS)),
            _least(self.limit_sockets, in_all // 2) if self.limit_sockets else 0,
        )

    @property
    def _redis_by_tls(self) -> bool:
        from pairing_ws.config.redis_url import RedisAddress

        return self.redis_url is not None and RedisAddress.parse(self.redis_url).tls is not None

    @property
    def public_host(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    @property
    def public_origin(self) -> str:
        return origin_of(urlsplit(self.public_url))

    @property
    def has_public_address(self) -> bool:
        """Whether `public_url` leads through the internet: neither this machine nor a private network's address."""
        return not is_local(self.public_host)

    @property
    def secure_cookies(self) -> bool:
        """Browsers keep Secure cookies for https and for this machine only; a demo over plain http needs the rest.
        Cryptography for pages is bound to the same."""
        return urlsplit(self.public_url).scheme == "https" or is_loopback(self.public_host)

    @property
    def upstream_label(self) -> str:
        """What people know the provider by that they can log in with; "" if there is none."""
        return self.upstream_name or urlsplit(self.upstream_issuer).hostname or ""

    @property
    def proxies(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(network) for network in self.trusted_proxies)


def _least(*limits: int) -> int:
    """Of those that are limits; 0 is none."""
    return min((each for each in limits if each), default=0)


def _wrong(name: str, text: str) -> NamedComplaint:
    return NamedComplaint(f"{name} {text}")
