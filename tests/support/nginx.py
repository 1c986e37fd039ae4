"""nginx as shipped (`scripts/deploy/`). Ports, names, files and upstreams are replaced in its text, nothing else."""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.servers import Process, free_port, wait_for

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy"
CONFIGURATION, FORWARD_AUTH = DEPLOY / "nginx.conf", DEPLOY / "nginx-forward-auth.conf"
NAME = "login.local"
PROTECTED = "wiki.local"


class Nginx:
    """In front of the servers at those ports; with `wiki`, the port of an application, that one is protected."""

    def __init__(self, folder: Path, *upstreams: int, wiki: int | None = None) -> None:
        found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, "nginx is missing; ./scripts/test installs it"
        self.port, self.plain_port = free_port(), free_port()
        self.host = f"{NAME}:{self.port}"
        self.wiki = f"{PROTECTED}:{self.port}"
        self.folder = folder
        self._certify()
        file = folder / "nginx.conf"
        file.write_text(self._configuration(upstreams, wiki))
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

    def log(self) -> list[str]:
        return (self.folder / "access.log").read_text().splitlines()

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _configuration(self, upstreams: tuple[int, ...], wiki: int | None) -> str:
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
        if wiki is not None:
            # As its first lines say: at the end of "http".
            text = text.rstrip().removesuffix("}") + FORWARD_AUTH.read_text() + "}\n"
            replaced |= {
                "https://wiki.example.com": f"https://{self.wiki}",
                "X-Forwarded-Host wiki.example.com": f"X-Forwarded-Host {self.wiki}",
                "wiki.example.com": PROTECTED,
                "wiki:3000": f"127.0.0.1:{wiki}",
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
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DNSName(PROTECTED)]), critical=False)
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


@contextmanager
def started(folder: Path, *upstreams: int, wiki: int | None = None) -> Iterator[Nginx]:
    nginx = Nginx(folder, *upstreams, wiki=wiki)
    try:
        yield nginx
    finally:
        nginx.stop()
