"""nginx as shipped (`scripts/deploy/nginx.conf`) in front of two processes: what passes, what is kept out, and what
clients notice when a process ends. Ports, names, files and upstreams are replaced in its text, nothing else."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.client import Api, NewDevice, Phone, code_of, device_headers, told, until
from tests.conftest import NO_LIMITS
from tests.embedded import fresh_phone
from tests.processes.conftest import refusal
from tests.servers import Process, RedisServer, Server, eventually, free_port, running, wait_for

CONFIGURATION = Path(__file__).parents[2] / "scripts" / "deploy" / "nginx.conf"
NAME = "login.local"
HOME, AWAY = "127.0.0.2", "127.0.0.3"


class Nginx:
    def __init__(self, folder: Path, *upstreams: int) -> None:
        found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, "nginx is missing; ./scripts/test installs it"
        self.port, self.plain_port = free_port(), free_port()
        self.host = f"{NAME}:{self.port}"
        self.folder = folder
        self._certify()
        file = folder / "nginx.conf"
        file.write_text(self._configuration(upstreams))
        command = [found, "-p", str(folder), "-c", str(file), "-g", f"daemon off; pid {folder}/nginx.pid;"]
        if os.geteuid() == 0:
            # Its usual workers could not look into a test's folder.
            command[-1] += " user root;"
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        self._process = Process(command, folder, "nginx.log")
        wait_for(self._listens, "nginx")

    def stop(self) -> None:
        self._process.stop()

    def log(self) -> list[dict[str, Any]] | list[str]:
        return (self.folder / "access.log").read_text().splitlines()

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _configuration(self, upstreams: tuple[int, ...]) -> str:
        text = CONFIGURATION.read_text()
        replaced = {
            "https://login.example.com": f"https://{self.host}",
            "login.example.com": NAME,
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "listen 80": f"listen 127.0.0.1:{self.plain_port}",
            "/etc/nginx/tls": str(self.folder),
            "/var/log/nginx": str(self.folder),
            "pairing-a:8000": f"127.0.0.1:{upstreams[0]}",
            "pairing-b:8000": f"127.0.0.1:{upstreams[1]}",
            "http {\n": "http {\n" + "".join(f"{each}_temp_path {self.folder}/{each};\n" for each in TEMPORARY),
        }
        for old, new in replaced.items():
            assert old in text, old
            text = text.replace(old, new)
        # Not every machine that runs tests has IPv6.
        return re.sub(r"listen \[::\]:\d+", lambda found: f"# {found[0]}", text)

    def _certify(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        (self.folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.folder / "privkey.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.trust = ssl.create_default_context(cafile=str(self.folder / "fullchain.pem"))


TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass
class Web(Api):
    """The API as a browser at that address reaches it. `url` is `https://NAME:PORT`."""

    nginx: Nginx = field(kw_only=True)
    ip: str = field(kw_only=True)

    def __post_init__(self) -> None:
        async def prepare(request: httpx2.Request) -> None:
            request.extensions["sni_hostname"] = NAME

        self.http = httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{self.nginx.port}/api/v1",
            headers={"Host": self.nginx.host},
            transport=httpx2.AsyncHTTPTransport(verify=self.nginx.trust, local_address=self.ip),
            event_hooks={"request": [prepare]},
            timeout=30,
        )

    @asynccontextmanager
    async def socket(self, pairing_id: str, **credential: str) -> AsyncIterator[websockets.ClientConnection]:
        async with websockets.connect(
            f"wss://{self.nginx.host}/api/v1/pairings/{pairing_id}/socket",
            host="127.0.0.1",
            port=self.nginx.port,
            local_addr=(self.ip, 0),
            ssl=self.nginx.trust,
            subprotocols=[websockets.Subprotocol("pairing.v1")],
        ) as connection:
            await connection.send(json.dumps({"type": "auth", **credential}))
            yield connection

    async def page(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(f"https://127.0.0.1:{self.nginx.port}{path}", headers=headers)


@dataclass
class Site:
    nginx: Nginx
    servers: tuple[Server, Server]

    def web(self, ip: str = HOME) -> Web:
        return Web(f"https://{self.nginx.host}", nginx=self.nginx, ip=ip)

    async def phone(self, api: Api) -> Phone:
        return await fresh_phone(api, self.servers[0].folder)


@contextmanager
def started(folder: Path, *upstreams: int) -> Iterator[Nginx]:
    nginx = Nginx(folder, *upstreams)
    try:
        yield nginx
    finally:
        nginx.stop()


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    ports = free_port(), free_port()
    with started(tmp_path_factory.mktemp("nginx"), *ports) as nginx:
        settings = {
            "REDIS_URL": redis_server.url,
            "PAIRING_PUBLIC_URL": f"https://{nginx.host}",
            "PAIRING_TRUSTED_PROXIES": "127.0.0.1/32",
            **NO_LIMITS,
        }
        # Like real ones they serve one public name, and are no demo.
        with (
            running(folder, demo=False, port=ports[0], **settings) as one,
            running(folder, demo=False, port=ports[1], **settings) as two,
        ):
            yield Site(nginx, (one, two))
