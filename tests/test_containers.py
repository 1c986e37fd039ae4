"""Dockerfile and compose.yaml, as far as they can be checked where no container engine runs: what they name exists,
their settings are ours and pass, and their commands do what they are there for, run as they stand."""

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from pairing_ws.config import settings as config
from pairing_ws.config.environment import environment_name, load
from tests.support.servers import Process, clean_environment, free_port, wait_for

ROOT = Path(__file__).resolve().parent.parent
NGINX = (ROOT / "scripts" / "deploy" / "nginx.conf").read_text()
OURS = ("pairing-a", "pairing-b")
GIVEN = {
    "PAIRING_PUBLIC_URL": "https://login.example.com",
    "REDIS_PASSWORD": "redis0password",
    "POSTGRES_PASSWORD": "postgres0password",
    "TLS_FOLDER": "/etc/tls",
}
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def interpolated(text: str) -> str:
    """As Compose does it, for the forms we use."""

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if name not in GIVEN:
            assert operator == "-", f"{name} is not given"
        return GIVEN.get(name, rest)

    return VARIABLE.sub(value, text)


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated((ROOT / "compose.yaml").read_text()))


def instructions(name: str) -> list[str]:
    """The arguments of every such instruction in the Dockerfile."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [line.partition(" ")[2].strip() for line in lines if line.startswith(f"{name} ")]


def run_line() -> list[str]:
    """What the container runs, with this interpreter, on this machine alone."""
    words = json.loads(instructions("ENTRYPOINT")[0]) + json.loads(instructions("CMD")[0])
    return [{"python": sys.executable, "0.0.0.0": "127.0.0.1"}.get(word, word) for word in words]


def health_line() -> list[str]:
    command = json.loads(instructions("HEALTHCHECK")[0].partition("CMD")[2])
    return [sys.executable if word == "python" else word for word in command]


# Dockerfile


def test_the_image_runs_as_somebody_without_rights_and_is_told_to_end_as_the_server_expects() -> None:
    user, group = instructions("USER")[-1].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert instructions("EXPOSE") == ["8000"]
    # What is written has to outlive the container.
    assert instructions("VOLUME") == instructions("WORKDIR") == ["/data"]


def test_what_is_copied_exists_and_nothing_else_gets_into_the_build() -> None:
    copied = {line.split()[0] for line in instructions("COPY") if not line.startswith("--from")}
    assert all((ROOT / name).exists() for name in copied)
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_dependencies_are_installed_as_locked_without_compiling() -> None:
    (install,) = [line for line in instructions("RUN") if "pip" in line]
    assert all(word in install for word in ("--require-hashes", "--only-binary :all:", "requirements.lock"))
    assert not [line for line in instructions("RUN") if "apt" in line]


@pytest.mark.parametrize(
    "image", [*instructions("FROM"), *(each.get("image") for each in COMPOSE["services"].values())]
)
def test_every_foreign_image_names_its_version(image: str) -> None:
    name = image.split()[0]
    assert name == "pairing-ws" or re.fullmatch(r"[a-z]+:\d+[\w.-]*", name)


def test_the_containers_command_serves_its_health_check_notices_and_it_ends_cleanly(tmp_path: Path) -> None:
    port = free_port()
    environment = clean_environment() | {"PORT": str(port), "PAIRING_PUBLIC_URL": "https://login.example.com"}

    def healthy() -> bool:
        return subprocess.run(health_line(), env=environment, cwd=tmp_path, capture_output=True).returncode == 0

    assert not healthy()
    server = Process(run_line(), tmp_path, "serve.log", environment)
    try:
        wait_for(healthy, f"the server ({server.log})")
    finally:
        code = server.stop(signal.Signals[instructions("STOPSIGNAL")[0]])
    assert code == 0
    assert not healthy()
    # Where the volume is mounted.
    assert {"pairing.db", "pairing-keys.json"} <= {each.name for each in tmp_path.iterdir()}


FAILING = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 503 Service Unavailable\\r\\nContent-Length: 0\\r\\n\\r\\n")
"""


def test_a_server_that_fails_is_not_healthy() -> None:
    with subprocess.Popen([sys.executable, "-c", FAILING], stdout=subprocess.PIPE, text=True) as failing:
        assert failing.stdout
        environment = clean_environment() | {"PORT": failing.stdout.readline().strip()}
        checked = subprocess.run(health_line(), env=environment, capture_output=True, text=True)
        failing.kill()
    # It answered, and that was not enough.
    assert (checked.returncode, checked.stderr) == (1, "")


# compose.yaml


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_a_server_is_a_setting_and_together_they_pass(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(variable)
    environment = COMPOSE["services"][name]["environment"]
    known = {environment_name(field) for field in config.Settings.model_fields}
    assert environment.keys() <= known
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    loaded = load(host="0.0.0.0")
    assert loaded.has_public_address
    assert GIVEN["REDIS_PASSWORD"] in (loaded.redis_url or "")
    assert GIVEN["POSTGRES_PASSWORD"] in loaded.database_url


def test_no_password_has_a_default() -> None:
    used = VARIABLE.findall((ROOT / "compose.yaml").read_text())
    names = {name for name, _, _ in used if "PASSWORD" in name}
    assert names == {"REDIS_PASSWORD", "POSTGRES_PASSWORD"}
    for name in names:
        operators = {operator for each, operator, _ in used if each == name}
        assert "?" in operators
        assert "-" not in operators


def test_the_servers_are_alike_and_given_time_to_end() -> None:
    one, two = ({k: v for k, v in COMPOSE["services"][name].items() if k != "networks"} for name in OURS)
    assert one == two
    assert int(one["stop_grace_period"].removesuffix("s")) > 10
    # One key file for both, where the image keeps it.
    assert one["volumes"] == [f"keys:{instructions('VOLUME')[0]}"]


def test_nginx_knows_both_servers_and_they_believe_it_alone() -> None:
    services = COMPOSE["services"]
    port = instructions("EXPOSE")[0]
    assert set(re.findall(r"^\s+server (\S+) max_fails", NGINX, re.M)) == {f"{name}:{port}" for name in OURS}
    addresses = {name: services[name]["networks"]["front"]["ipv4_address"] for name in (*OURS, "nginx")}
    network = ipaddress.ip_network(COMPOSE["networks"]["front"]["ipam"]["config"][0]["subnet"])
    # The first one is the gateway's.
    assert set(map(ipaddress.ip_address, addresses.values())) <= set(list(network.hosts())[1:])
    assert len(set(addresses.values())) == 3
    for name in OURS:
        assert services[name]["environment"]["PAIRING_TRUSTED_PROXIES"] == addresses["nginx"]
        assert "ports" not in services[name]


def test_nginx_finds_its_configuration_and_certificates() -> None:
    mounted = dict(each.rsplit(":", 2)[:2] for each in COMPOSE["services"]["nginx"]["volumes"])
    assert (ROOT / "scripts/deploy/nginx.conf").exists()
    assert mounted["./scripts/deploy/nginx.conf"] == "/etc/nginx/nginx.conf"
    certificates = re.findall(r"ssl_certificate(?:_key)?\s+(\S+);", NGINX)
    assert {str(Path(each).parent) for each in certificates} == {mounted[GIVEN["TLS_FOLDER"]]}


def test_stores_are_reached_by_the_servers_alone() -> None:
    for name in ("redis", "postgres"):
        assert COMPOSE["services"][name]["networks"] == ["back"]
        assert "ports" not in COMPOSE["services"][name]
        for ours in OURS:
            assert COMPOSE["services"][ours]["depends_on"][name] == {"condition": "service_healthy"}
    assert COMPOSE["networks"]["back"]["internal"] is True


def test_redis_starts_with_its_configuration_asks_for_the_password_and_evicts_nothing(tmp_path: Path) -> None:
    service = COMPOSE["services"]["redis"]
    assert service["command"] == ["redis-server", service["configs"][0]["target"]]
    file = tmp_path / "redis.conf"
    port = free_port()
    file.write_text(f"port {port}\nbind 127.0.0.1\n{COMPOSE['configs']['redis']['content']}")
    server = Process(["redis-server", str(file)], tmp_path, "redis.log")
    try:
        wait_for(lambda: "Ready to accept connections" in server.log.read_text(), "redis-server")
        with redis.Redis(port=port, password=service["environment"]["REDISCLI_AUTH"]) as client:
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.stop(signal.SIGKILL)


def test_a_platform_that_installs_from_requirements_txt_gets_the_lock_and_the_procfile_runs_what_that_brings() -> None:
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    # Nothing beside the lock: with hashes in it, pip takes no other packages, nor this folder as one.
    assert lines == ["-r requirements.lock"]
    assert "://" not in (ROOT / "requirements.lock").read_text()
    commands = [line.partition(": ")[2].split() for line in (ROOT / "Procfile").read_text().splitlines()]
    for command in commands:
        # Not `pairing-ws`: the lock installs what this needs, and not this itself.
        assert command[:3] == ["python", "-m", "pairing_ws"]
        done = subprocess.run(
            [sys.executable, *command[1:], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
