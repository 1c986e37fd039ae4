"""The lines of the Procfile as a platform runs them: with the four variables that it and the operator set, and each
process on a disk of its own that is gone with it."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client import Api
from tests.support.postgres import Postgres
from tests.support.redis_kinds import Node, make_certificates
from tests.support.servers import CLI, Process, RedisServer, answers, clean_environment, free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
LINES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
PUBLIC_URL = "https://login.example.com"


class Platform:
    """`config` is what every process gets. A process's folder is its disk; programs are found from anywhere."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.port = free_port()
        self.config = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PAIRING_PUBLIC_URL": PUBLIC_URL}
        self._folders = (folder / f"disk-{number}" for number in itertools.count())

    def _environment(self) -> dict[str, str]:
        ours = clean_environment()
        return {name: ours[name] for name in ("PATH", "PYTHONPATH")} | self.config | {"PORT": str(self.port)}

    def _disk(self) -> Path:
        folder = next(self._folders)
        folder.mkdir()
        return folder

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own beside the servers."""
        done = subprocess.run(
            command, cwd=self._disk(), env=self._environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done

    def release(self) -> str:
        """What it says."""
        return self.run(*line("release")).stderr

    def invite(self) -> str:
        return str(json.loads(self.run(*CLI, "invite", "alice", "--json").stdout)["code"])

    @contextmanager
    def web(self, ready: int = 200) -> Iterator[Path]:
        """Runs until the end; its log."""
        process = Process(line("web"), self._disk(), "web.log", self._environment())
        try:
            wait_for(lambda: answers("127.0.0.1", self.port) == ready, f"{process.log}: /readyz {ready}")
            yield process.log
        finally:
            assert process.stop() == 0, process.log.read_text()

    def api(self) -> Api:
        """Through the platform's router, which knows the public name."""
        api = Api(f"http://127.0.0.1:{self.port}")
        api.http.headers["Host"] = "login.example.com"
        return api


def line(name: str) -> list[str]:
    words = LINES[name].split()
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    url = postgres_server.url(postgres_server.empty_database())
    try:
        # As Heroku spells it.
        yield url.replace("postgresql://", "postgres://")
    finally:
        postgres_server.drop(url)


@pytest.fixture
def platform(tmp_path: Path, database_url: str, redis_server: RedisServer) -> Platform:
    return Platform(tmp_path, database_url, redis_server.url)


def event(log: str, name: str) -> list[dict[str, str]]:
    found = [json.loads(each) for each in log.splitlines() if each.startswith("{")]
    return [each for each in found if each["event"] == name]


async def test_it_serves_with_nothing_but_what_a_platform_sets_and_says_how_to_keep_the_keys(
    platform: Platform,
) -> None:
    [said] = event(platform.release(), "keys.made_here")
    assert "set PAIRING_SIGNING_KEYS to what `python -m pairing_ws keys make` prints" in said["hint"]
    async with platform.api() as api:
        with platform.web() as log:
            assert len(event(log.read_text(), "keys.made_here")) == 1
            phone = await api.log_in_by_invite(platform.invite())
            assert (await phone.get("/me")).status_code == 200
        # What the hint is about: the next one has another disk. People stay logged in, by another authKey.
        with platform.web() as log:
            assert len(event(log.read_text(), "keys.made_here")) == 1
            assert (await phone.get("/me")).status_code == 401
            renewed = await phone.post("/sessions/refresh", {"refreshKey": phone.keys["refreshKey"]})
            assert renewed.status_code == 200, renewed.text


async def test_keys_as_a_value_outlast_the_disk_and_nothing_is_said(platform: Platform) -> None:
    platform.config["PAIRING_SIGNING_KEYS"] = platform.run(*CLI, "keys", "make").stdout.strip()
    assert event(platform.release(), "keys.made_here") == []
    async with platform.api() as api:
        with platform.web():
            phone = await api.log_in_by_invite(platform.invite())
        with platform.web() as log:
            assert (await phone.get("/me")).status_code == 200
            assert event(log.read_text(), "keys.made_here") == []


def test_keys_from_a_file_that_the_platform_mounts_will_do(platform: Platform, tmp_path: Path) -> None:
    mounted = tmp_path / "signing-keys"
    mounted.write_text(platform.run(*CLI, "keys", "make").stdout)
    platform.config["PAIRING_SIGNING_KEYS_FILE"] = str(mounted)
    for name in ("DATABASE_URL", "REDIS_URL"):
        (tmp_path / name).write_text(platform.config.pop(name) + "\n")
        platform.config[f"{name}_FILE"] = str(tmp_path / name)
    with platform.web() as log:
        assert event(log.read_text(), "keys.made_here") == []


@pytest.fixture
def platforms_redis(tmp_path: Path) -> Iterator[str]:
    """With TLS and a certificate that no authority of this machine has signed, as Heroku's."""
    make_certificates(tmp_path)
    port = free_port()
    node = Node(
        tmp_path,
        *("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", "p0"),
        *("--tls-cert-file", str(tmp_path / "server.crt"), "--tls-key-file", str(tmp_path / "server.key")),
        *("--tls-ca-cert-file", str(tmp_path / "authority.crt")),
        port=port,
    )
    options = {"password": "p0", "ssl": True, "ssl_cert_reqs": "none"}
    try:
        wait_for(lambda: node.answers(**options), "redis-server with TLS")
        yield f"rediss://:p0@localhost:{port}"
    finally:
        node.kill()


def test_a_redis_whose_certificate_nobody_vouches_for_is_refused_with_the_settings_that_decide_it(
    tmp_path: Path, database_url: str, platforms_redis: str
) -> None:
    platform = Platform(tmp_path, database_url, platforms_redis)
    with platform.web(ready=503) as log:
        causes = [each["cause"] for each in event(log.read_text(), "redis.failed")]
        assert any("PAIRING_REDIS_CA_FILE and PAIRING_REDIS_TLS_VERIFY" in each for each in causes), causes
    platform.config["PAIRING_REDIS_TLS_VERIFY"] = "false"
    with platform.web():
        pass
