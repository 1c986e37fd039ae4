"""Redis as people run it, each for real: with password and TLS, behind Sentinel, as a Cluster; and Valkey."""

import datetime
import ipaddress
import random
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.servers import Process, free_port, wait_for

PASSWORD = "correct horse/battery:staple@"
QUOTED = "correct%20horse%2Fbattery%3Astaple%40"
# How long a master may be silent before the others elect anew. A busy machine makes it silent for a while.
PATIENCE_MS = 2000


class Node:
    """One server process of any kind, on a free port."""

    def __init__(self, folder: Path, *options: str, program: str = "redis-server", port: int | None = None) -> None:
        found = shutil.which(program)
        assert found, f"{program} is missing; ./scripts/test installs it"
        self.port = port or free_port()
        self.folder = folder / f"node-{self.port}"
        self.folder.mkdir()
        base = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        self._command = [found, "--port", str(self.port), *base, *options]
        self.process: Process
        self.start()

    def start(self) -> None:
        self.process = Process(self._command, self.folder, "redis.log")

    def kill(self) -> None:
        self.process.stop(signal.SIGKILL)

    def pause(self) -> None:
        self.process.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.popen.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2, **options)

    def answers(self, **options: Any) -> bool:
        with suppress(redis.RedisError, OSError), self.client(**options) as client:
            return bool(client.ping())
        return False


class Kind:
    """A Redis to run on: its `url`, and what a test may do to it."""

    url: str

    def __init__(self, folder: Path) -> None:
        self.nodes: list[Node] = []
        try:
            self.build(folder)
        except BaseException:
            self.stop()
            raise

    def build(self, folder: Path) -> None:
        raise NotImplementedError

    def fail_over(self) -> None:
        """A master dies, with `kill -9`; returns once another one has its place. The dead one comes back as its
        replica."""
        raise NotImplementedError

    @contextmanager
    def silenced(self, key: str) -> Iterator[None]:
        """The master of this key hangs. Inside, another one has its place; afterwards the first one wakes up, and
        believes for a moment that it is still the master."""
        raise NotImplementedError
        yield

    def stop(self) -> None:
        for each in self.nodes:
            each.resume()
            each.kill()


class Single(Kind):
    """One server. It has nobody to take its place: a failover is a restart without memory."""

    program = "redis-server"

    def build(self, folder: Path) -> None:
        self.nodes.append(Node(folder, program=self.program))
        self.url = f"redis://127.0.0.1:{self.nodes[0].port}/0"
        wait_for(self.answers, self.program)

    def answers(self) -> bool:
        return self.nodes[0].answers()

    def fail_over(self) -> None:
        self.nodes[0].kill()
        self.nodes[0].start()
        wait_for(self.answers, "the restarted server")


class Valkey(Single):
    """The same, in the other implementation."""

    program = "valkey-server"

    def build(self, folder: Path) -> None:
        super().build(folder)
        self.url = self.url.replace("redis:", "valkey:")


class Secured(Single):
    """One server that wants a user's password, over TLS with a certificate of our own authority."""

    def build(self, folder: Path) -> None:
        authority = make_certificates(folder)
        port = free_port()
        tls = ["--tls-port", str(port), "--tls-auth-clients", "no", "--port", "0"]
        files = ["--tls-cert-file", str(folder / "server.crt"), "--tls-key-file", str(folder / "server.key")]
        users = ["--user", "default", "off", "--user", "pairing", "on", f">{PASSWORD}", "~*", "&*", "+@all"]
        self._options = {
            "username": "pairing",
            "password": PASSWORD,
            "ssl": True,
            "ssl_ca_certs": str(authority),
            # The authority has no key identifiers, as many private ones: see `ssl_context`.
            "ssl_exclude_verify_flags": [ssl.VerifyFlags.VERIFY_X509_STRICT],
        }
        self.nodes.append(Node(folder, *tls, *files, "--tls-ca-cert-file", str(authority), *users, port=port))
        self.url = f"rediss://pairing:{QUOTED}@localhost:{port}/0?ssl_ca_certs={authority}"
        wait_for(self.answers, "redis-server with TLS")

    def answers(self) -> bool:
        return self.nodes[0].answers(**self._options)


class SentinelTrio(Kind):
    """A master and a replica, both with a password, watched by three Sentinels."""

    def build(self, folder: Path) -> None:
        auth = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        self.nodes.append(Node(folder, *auth))
        master = self.nodes[0]
        wait_for(lambda: master.answers(password=PASSWORD), "the master")
        self.nodes.append(Node(folder, *auth, "--replicaof", "127.0.0.1", str(master.port)))
        self._data = self.nodes.copy()
        self.sentinels = [self._sentinel(folder, master.port) for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        self.url = f"redis+sentinel://:{QUOTED}@{hosts}/main/0"
        wait_for(self._settled, "three Sentinels that know each other and a replica")

    def _sentinel(self, folder: Path, master: int) -> Node:
        port = free_port()
        file = folder / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\n"
            f'sentinel monitor main 127.0.0.1 {master} 2\nsentinel auth-pass main "{PASSWORD}"\n'
            f"sentinel down-after-milliseconds main {PATIENCE_MS}\nsentinel failover-timeout main 5000\n"
        )
        self.nodes.append(Sentinel(folder, file, port))
        return self.nodes[-1]

    def _settled(self) -> bool:
        for each in self.sentinels:
            with suppress(redis.RedisError, OSError, KeyError), each.client() as client:
                master = client.sentinel_master("main")
                replicas = [one for one in client.sentinel_slaves("main") if not one["is_disconnected"]]
                linked = replicas and all(one.get("master-link-status") == "ok" for one in replicas)
                if master["num-other-sentinels"] == 2 and linked and not master["is_odown"]:
                    continue
            return False
        return True

    def master(self, sentinel: Node | None = None) -> Node:
        """Which one the first Sentinel names, or this one."""
        with (sentinel or self.sentinels[0]).client() as client:
            _, port = client.sentinel_get_master_addr_by_name("main")
        return next(each for each in self._data if each.port == port)

    def _elected(self, before: Node, sentinel: Node | None = None) -> bool:
        with suppress(redis.RedisError, OSError, StopIteration):
            master = self.master(sentinel)
            if master is not before:
                with master.client(password=PASSWORD) as client:
                    return bool(client.role()[0] == b"master")
        return False

    @contextmanager
    def silenced(self, key: str) -> Iterator[None]:
        wait_for(self._settled, "a replica to fail over to")
        before = self.master()
        before.pause()
        try:
            wait_for(lambda: self._elected(before), "a new master")
            yield
        finally:
            before.resume()

    def fail_over(self, observer: Node | None = None) -> None:
        """As the first Sentinel sees it, or `observer`, while others may sleep."""
        wait_for(lambda: observer or self._settled(), "a replica to fail over to")
        before = self.master(observer)
        before.kill()
        wait_for(lambda: self._elected(before, observer), "a new master")
        before.start()


class Sentinel(Node):
    """Watches a master, and rewrites its own configuration file."""

    def __init__(self, folder: Path, file: Path, port: int) -> None:
        self._file = file
        super().__init__(folder, port=port)

    def start(self) -> None:
        self.process = Process([self._command[0], str(self._file), "--sentinel"], self.folder, "sentinel.log")


class Cluster(Kind):
    """Three masters with a replica each."""

    SLOTS = 16384

    def build(self, folder: Path) -> None:
        self._buses: list[int] = []
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(PATIENCE_MS)]
        for _ in range(6):
            self._buses.append(bus_port())
            self.nodes.append(Node(folder, *options, "--cluster-port", str(self._buses[-1])))
        for each in self.nodes:
            wait_for(each.answers, "a Cluster's node")
        self._ids = {}
        for number, each in enumerate(self.nodes):
            with each.client() as client:
                self._ids[each.port] = client.execute_command("CLUSTER MYID").decode()
                if number < 3:
                    first, end = self.SLOTS * number // 3, self.SLOTS * (number + 1) // 3
                    client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                if number:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, self._buses[0])
        wait_for(lambda: all(len(self._known(each)) == 6 for each in self.nodes), "six nodes that know each other")
        for replica, master in zip(self.nodes[3:], self.nodes[:3], strict=True):
            with replica.client() as client:
                client.execute_command("CLUSTER REPLICATE", self._ids[master.port])
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.nodes[:3])
        wait_for(self._settled, "a Cluster whose every master has a replica")

    def _known(self, node: Node) -> dict[str, Any]:
        with node.client() as client:
            return dict(client.execute_command("CLUSTER NODES"))

    def _settled(self) -> bool:
        with suppress(redis.RedisError, OSError):
            for each in self.nodes:
                with each.client() as client:
                    if client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                        return False
                    role = client.role()
                    if role[0] == b"slave" and role[3] != b"connected":
                        return False
                if len(self.masters()) != 3:
                    return False
            return True
        return False

    def masters(self) -> list[Node]:
        """Every node that serves slots, by any living node's word."""
        for each in self.nodes:
            with suppress(redis.RedisError, OSError):
                ports = {
                    int(address.rpartition(":")[2])
                    for address, facts in self._known(each).items()
                    if "master" in facts["flags"] and facts["slots"] and "fail" not in facts["flags"]
                }
                return [node for node in self.nodes if node.port in ports]
        return []

    def master_of(self, key: str) -> Node:
        for node in self.nodes:
            with suppress(redis.RedisError, OSError), node.client() as client:
                slot = int(client.execute_command("CLUSTER KEYSLOT", key))
                for first, end, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS"):
                    if first <= slot <= end:
                        return next(each for each in self.nodes if each.port == port)
        raise AssertionError(f"no node serves {key}")

    def fail_over(self, node: Node | None = None) -> None:
        """Of the first master, unless another one is named."""
        wait_for(self._settled, "replicas to fail over to")
        dead = node or self.masters()[0]
        dead.kill()
        wait_for(lambda: len(self.masters()) == 3 and dead not in self.masters(), "a replica that takes over")
        dead.start()

    @contextmanager
    def silenced(self, key: str) -> Iterator[None]:
        wait_for(self._settled, "replicas to fail over to")
        before = self.master_of(key)
        before.pause()
        try:
            wait_for(lambda: before not in self.masters() and len(self.masters()) == 3, "a replica that takes over")
            yield
        finally:
            before.resume()

    @contextmanager
    def moving_slot(self, key: str) -> Iterator[None]:
        """Give the key's slot to another master while clients go on. Inside, the slot's keys have gone already, and
        both nodes know that it is on its way."""
        source = self.master_of(key)
        target = next(each for each in self.masters() if each is not source)
        with source.client() as here, target.client() as there:
            slot = int(here.execute_command("CLUSTER KEYSLOT", key))
            there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self._ids[source.port])
            here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self._ids[target.port])
            for name in here.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
                here.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 2000)
            yield
            for each in (there, here):
                each.execute_command("CLUSTER SETSLOT", slot, "NODE", self._ids[target.port])


def bus_port() -> int:
    """Where the nodes of a Cluster talk to one another: below the ports that the system gives to any connection."""
    while True:
        port = random.randint(20_000, 32_000)
        with suppress(OSError), closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", port))
            return port


KINDS: dict[str, type[Kind]] = {
    "tls": Secured,
    "valkey": Valkey,
    "sentinel": SentinelTrio,
    "cluster": Cluster,
}


@contextmanager
def running_kind(name: str, folder: Path) -> Iterator[Any]:
    kind = KINDS[name](folder)
    try:
        yield kind
    finally:
        kind.stop()


def make_certificates(folder: Path) -> Path:
    """`server.crt` and `server.key` for localhost, and the file of the authority that signed them."""
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("test authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority = (
        builder("test authority", authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        builder("localhost", key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "authority.crt").write_bytes(authority.public_bytes(encoding))
    (folder / "server.crt").write_bytes(certificate.public_bytes(encoding))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(key.private_bytes(encoding, *plain))
    return folder / "authority.crt"
