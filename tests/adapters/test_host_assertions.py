"""The file with the host application's keys: what it may hold, and what stops the start."""

import json
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from pairing_ws.adapters.jwt.host_assertions import HostKeyError, read_host_keys
from pairing_ws.app import create_app
from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError

KEY, OTHER = (ECKey.generate_key("P-256", {"kid": kid}) for kid in ("one", "other"))


def jwks(*keys: ECKey) -> str:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


def nameless(key: ECKey) -> dict[str, object]:
    return {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}


@pytest.mark.parametrize(
    ("content", "kids"),
    [
        (KEY.as_pem(private=False).decode(), [""]),
        (json.dumps(KEY.as_dict(private=False)), ["one"]),
        (json.dumps({"keys": [nameless(KEY)]}), [""]),
        (jwks(KEY, OTHER), ["one", "other"]),
    ],
    ids=["pem", "jwk", "jwks of one", "jwks"],
)
def test_keys_come_as_pem_or_jwk_or_jwks(tmp_path: Path, content: str, kids: list[str]) -> None:
    file = tmp_path / "host"
    file.write_text(content)
    assert list(read_host_keys(file)) == kids


BAD = {
    "nothing": "",
    "no key": "hello",
    "half a document": '{"keys": [',
    "an empty set": '{"keys": []}',
    "a list that is none": '{"keys": 7}',
    "something that is no key": '{"keys": ["x"]}',
    "a private pem": KEY.as_pem(private=True).decode(),
    "a private jwk": json.dumps(KEY.as_dict(private=True)),
    "another curve": json.dumps(ECKey.generate_key("P-384").as_dict(private=False)),
    "rsa": RSAKey.generate_key(2048).as_pem(private=False).decode(),
    "ed25519": json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=False)),
    "two without a name": json.dumps({"keys": [nameless(KEY), nameless(OTHER)]}),
}


@pytest.mark.security(31)
@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_file_without_usable_keys_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "host"
    file.write_text(content)
    with pytest.raises(HostKeyError):
        read_host_keys(file)


@pytest.mark.security(31)
def test_such_a_file_stops_the_start_with_the_settings_name(tmp_path: Path) -> None:
    file = tmp_path / "host.pem"
    file.write_text("hello")
    settings = Settings(
        host_key_file=file, signing_key_file=tmp_path / "keys.json", database_url=f"sqlite:///{tmp_path}/pairing.db"
    )
    with pytest.raises(SettingsError, match=r"^PAIRING_HOST_KEY_FILE should be"):
        create_app(settings)
