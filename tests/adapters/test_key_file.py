"""The key file: who may read it, who makes it, and what a change leaves behind."""

import base64
import errno
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from pairing_ws.adapters.jwt.key_file import change_key_file, exposure, make_key_file, read_key_file, signing_keys
from pairing_ws.adapters.jwt.key_ring import KeyRing
from pairing_ws.adapters.jwt.key_set import KeyFileError, without_made
from tests.support.clock import FakeClock
from tests.support.embedded import settings_in
from tests.support.servers import CLI, clean_environment, run_cli


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> Path:
    path = tmp_path / "keys.json"
    make_key_file(path, clock)
    return path


def kids(path: Path) -> list[str]:
    return [each["kid"] for each in read_key_file(path).keys]


def test_a_change_leaves_no_other_file_behind(clock: FakeClock, path: Path) -> None:
    change_key_file(path, lambda keys: keys.rotated(clock))
    make_key_file(path, clock)
    assert os.listdir(path.parent) == [path.name]


def test_a_key_that_is_not_there_is_not_removed_and_the_answer_names_those_that_are(
    clock: FakeClock, path: Path
) -> None:
    with pytest.raises(KeyFileError, match=f"no signing key 'unknown'; there are: {kids(path)[0]}"):
        change_key_file(path, lambda keys: keys.without("unknown", clock))
    assert len(kids(path)) == 1


def test_of_fifty_rotations_and_removals_at_once_none_is_undone(clock: FakeClock, path: Path) -> None:
    [stolen] = kids(path)

    def change(number: int) -> None:
        if number == 25:
            change_key_file(path, lambda keys: keys.without(stolen, clock))
        else:
            change_key_file(path, lambda keys: keys.rotated(clock))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(change, range(51)))
    assert stolen not in kids(path)
    assert len(kids(path)) >= 50


def test_a_full_disk_leaves_the_keys_as_they_were_and_says_so(tmp_path: Path) -> None:
    assert run_cli("keys", "rotate", folder=tmp_path).returncode == 0
    path = tmp_path / "pairing-keys.json"
    before = path.read_bytes()
    done = subprocess.run(
        ["prlimit", "--fsize=0", *CLI, "keys", "rotate"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "pairing-ws: pairing-keys.json can't be written, and is as it was: File too large\n"
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_the_key_file_is_made_for_its_owner_alone_and_then_left_as_it_is(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"
    old = os.umask(0)
    try:
        make_key_file(path, clock)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    make_key_file(path, clock)
    assert path.read_bytes() == before
    assert len(KeyRing(path, clock).pepper) >= 32


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o777])
def test_a_key_file_that_others_could_read_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"chmod 600 .*keys\.json"):
        read_key_file(path)


@pytest.mark.parametrize("mode", [0o440, 0o640])
def test_a_key_file_that_only_the_group_of_the_process_can_read_is_accepted(path: Path, mode: int) -> None:
    # As a secret of Kubernetes with `fsGroup` is.
    path.chmod(mode)
    assert exposure(path) is None
    assert read_key_file(path).keys


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_key_file_that_another_group_can_read_is_refused(path: Path) -> None:
    os.chown(path, -1, 54_321)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_key_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_key_file_on_a_read_only_mount_is_warned_about_and_used(path: Path, tmp_path: Path) -> None:
    # As a secret of Kubernetes is by default: 0644, on a mount where nobody can change it.
    secret = tmp_path / "secret"
    secret.mkdir()
    mounted = (
        f"mount -t tmpfs none {secret} && cp {path} {secret} && chmod 644 {secret}/keys.json"
        f" && mount -o remount,ro {secret} && exec {shlex.join([*CLI, 'doctor'])}"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted],
        cwd=tmp_path,
        env=clean_environment() | {"PAIRING_SIGNING_KEY_FILE": f"{secret}/keys.json"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done
    assert f"warning  {secret}/keys.json can be read by other users (mode 644), and its mode can't be" in done.stdout


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_where_there_are_no_hard_links_threads_that_make_the_file_at_once_agree_on_one(
    tmp_path: Path, clock: FakeClock, code: int
) -> None:
    path = tmp_path / "keys.json"

    def no_links(_: str, __: Path) -> None:
        raise OSError(code, os.strerror(code))

    def make(_: int) -> str:
        make_key_file(path, clock, no_links)
        return kids(path)[0]

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(make, range(64)))) == 1
    assert os.listdir(tmp_path) == ["keys.json"]


# RSA beside EC


class OldKeySet(msgspec.Struct):
    """As the versions read it that knew no RSA."""

    keys: list[dict[str, Any]]
    pepper: str


def forget_rsa(path: Path) -> OldKeySet:
    """Leave the file as those versions wrote it."""
    old = msgspec.json.decode(path.read_bytes(), type=OldKeySet)
    path.write_bytes(msgspec.json.encode(old))
    return old


def test_a_version_that_knows_no_rsa_reads_its_keys_in_the_file_of_this_one(path: Path) -> None:
    old, new = msgspec.json.decode(path.read_bytes(), type=OldKeySet), read_key_file(path)
    assert (old.keys, old.pepper) == (new.keys, new.pepper)
    assert [ECKey.import_key(without_made(each)).curve_name for each in old.keys] == ["P-256"]


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_without_an_rsa_key_gets_one_at_start_and_stays_otherwise_as_it_was(
    path: Path, clock: FakeClock, mode: int
) -> None:
    old = forget_rsa(path)
    path.chmod(mode)
    assert KeyRing(path, clock).of("RS256") == {}
    assert signing_keys(settings_in(path.parent, signing_key_file=path), clock) == path
    new = read_key_file(path)
    assert (new.keys, new.pepper) == (old.keys, old.pepper)
    assert [each["kty"] for each in new.rsa_keys] == ["RSA"]
    assert path.stat().st_mode & 0o777 == mode
    signing_keys(settings_in(path.parent, signing_key_file=path), clock)
    assert read_key_file(path) == new


def test_servers_that_start_at_once_agree_on_one_rsa_key(path: Path, clock: FakeClock) -> None:
    forget_rsa(path)
    settings = settings_in(path.parent, signing_key_file=path)

    def start(_: int) -> str:
        signing_keys(settings, clock)
        return next(iter(KeyRing(path, clock).of("RS256")))

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(start, range(16)))) == 1


def test_a_rotation_or_the_removal_of_the_key_that_signs_changes_one_algorithm_alone_or_both(
    path: Path, clock: FakeClock
) -> None:
    before = read_key_file(path)
    rotated = change_key_file(path, lambda keys: keys.rotated(clock))
    assert rotated.keys[1:] == before.keys
    assert rotated.rsa_keys[1:] == before.rsa_keys
    removed = change_key_file(path, lambda keys: keys.without(rotated.rsa_keys[0]["kid"], clock))
    assert removed.keys == rotated.keys
    assert removed.rsa_keys[1:] == before.rsa_keys
    assert removed.rsa_keys[0] != rotated.rsa_keys[0]
    forget_rsa(path)
    assert len(change_key_file(path, lambda keys: keys.rotated(clock)).rsa_keys) == 1


def test_a_link_to_the_file_stays_one_and_what_it_leads_to_is_changed(path: Path, clock: FakeClock) -> None:
    link = path.parent / "link.json"
    link.symlink_to(path)
    rotated = change_key_file(link, lambda keys: keys.rotated(clock))
    assert link.is_symlink()
    assert read_key_file(path) == rotated


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_command_of_root_does_not_make_the_servers_file_its_own(path: Path, clock: FakeClock) -> None:
    forget_rsa(path)
    os.chown(path, 54_321, -1)
    signing_keys(settings_in(path.parent, signing_key_file=path), clock)
    assert path.stat().st_uid == 54_321
    assert read_key_file(path).rsa_keys == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_file_that_can_not_be_written_gets_no_rsa_key_and_a_doctor_says_what_that_means(
    path: Path, tmp_path: Path
) -> None:
    forget_rsa(path)
    mounted = (
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}"
        f" && cd / && {shlex.join([*CLI, 'keys', 'list'])} && exec {shlex.join([*CLI, 'doctor'])}"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted],
        env=clean_environment() | {"PAIRING_SIGNING_KEY_FILE": str(path), "DATABASE_URL": "sqlite:////dev/shm/none.db"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "RS256" not in done.stdout.splitlines()[0]
    assert f"warning  {path} has no RSA key: applications that want RS256, as most do, can't be served" in done.stdout


def a_short_rsa_key(stored: dict[str, Any]) -> dict[str, Any]:
    return {**rsa_private_jwk(1024), "kid": "short", "made": 0}


def an_rsa_key_without_its_private_half(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: stored[name] for name in ("kty", "n", "e", "kid", "made")}


def an_rsa_key_with_anothers_private_half(stored: dict[str, Any]) -> dict[str, Any]:
    return stored | {"d": rsa_private_jwk(2048)["d"]}


def an_ec_key(_: dict[str, Any]) -> dict[str, Any]:
    return {**ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True), "made": 0}


def an_rsa_key_without_a_kid(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name != "kid"}


def rsa_private_jwk(bits: int) -> dict[str, Any]:
    return RSAKey.generate_key(bits).as_dict(private=True)


@pytest.mark.security(31)
@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    "wrong",
    [
        a_short_rsa_key,
        an_rsa_key_without_its_private_half,
        an_rsa_key_with_anothers_private_half,
        an_ec_key,
        an_rsa_key_without_a_kid,
    ],
)
def test_a_weak_or_broken_rsa_key_is_refused(path: Path, wrong: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    content = json.loads(path.read_bytes())
    content["rsa_keys"] = [wrong(content["rsa_keys"][0])]
    path.write_text(json.dumps(content))
    with pytest.raises(KeyFileError) as caught:
        read_key_file(path)
    assert content["pepper"] not in str(caught.value)


# What is no key file


def without_private_parts(content: dict[str, Any]) -> None:
    content["keys"][0].pop("d")


def with_a_short_pepper(content: dict[str, Any]) -> None:
    content["pepper"] = base64.urlsafe_b64encode(b"x" * 31).decode()


def with_another_curve(content: dict[str, Any]) -> None:
    content["keys"][0] = ECKey.generate_key("P-384", auto_kid=True).as_dict(private=True) | {"made": 0}


def with_a_symmetric_key(content: dict[str, Any]) -> None:
    content["keys"][0] = OctKey.generate_key(256, auto_kid=True).as_dict(private=True) | {"made": 0}


def without_keys(content: dict[str, Any]) -> None:
    content["keys"] = []


def without_a_kid(content: dict[str, Any]) -> None:
    content["keys"][0].pop("kid")


BROKEN = [
    without_private_parts, with_a_short_pepper, with_another_curve, with_a_symmetric_key, without_keys, without_a_kid,
]  # fmt: skip


@pytest.mark.security(31)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_weak_or_broken_key_file_is_refused(path: Path, broken: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_bytes())
    broken(content)
    path.write_text(json.dumps(content))
    with pytest.raises(KeyFileError) as caught:
        read_key_file(path)
    # The text never quotes what it found.
    assert content["pepper"] not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", "secret", '{"keys": 1, "pepper": 2}'])
def test_a_file_that_is_no_key_file_is_refused(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(KeyFileError, match=r"keys\.json"):
        read_key_file(path)


def test_threads_that_make_the_file_at_once_agree_on_one(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"

    def make(_: int) -> str:
        make_key_file(path, clock)
        return KeyRing(path, clock).jwks()["keys"][0]["kid"]  # type: ignore[no-any-return]

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(make, range(64)))) == 1
    assert os.listdir(tmp_path) == ["keys.json"]


def test_processes_that_make_the_file_at_once_agree_on_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda n: run_cli("invite", f"user{n}", "--json", folder=tmp_path), range(3)))
    assert [each.returncode for each in done] == [0] * 3, [each.stderr for each in done]
    assert len(read_key_file(tmp_path / "pairing-keys.json").keys) == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".pairing-keys")]
