"""The files of static/vectors: that the JavaScript client does as they say, and that they are right themselves."""

import base64
import hashlib
import hmac
import json
import subprocess
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from pairing_ws.web.close_codes import CloseCode
from tests.client.conftest import CLIENT

VECTORS = CLIENT.parent / "vectors"


def load(name: str) -> dict[str, Any]:
    return dict(json.loads((VECTORS / f"{name}.json").read_text()))


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Any]:
    """What the JavaScript client made of each."""
    program = CLIENT.parents[1] / "tests/client/vectors.mjs"
    done = subprocess.run(["node", program, CLIENT, VECTORS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return {(line["file"], line["name"]): line["found"] for line in lines}


def test_rotating_codes_are_what_the_client_computes_and_the_server_takes(found: dict[tuple[str, str], Any]) -> None:
    for vector in load("rotating-codes")["vectors"]:
        seed = base64.urlsafe_b64decode(vector["seed"] + "=")
        step = vector["elapsedMs"] // (vector["seconds"] * 1000)
        mac = hmac.digest(seed, step.to_bytes(8, "big"), "sha256")
        assert vector["code"] == "~" + base64.urlsafe_b64encode(mac[:16]).decode().rstrip("=")
        assert found["rotating-codes", f"{vector['name']} {vector['elapsedMs']}"] == vector["code"]


def test_proofs_say_what_their_vector_says_and_are_signed_by_its_key(found: dict[tuple[str, str], Any]) -> None:
    told = load("dpop")
    key = ECKey.import_key({name: value for name, value in told["key"].items() if name != "d"})
    assert key.thumbprint() == told["thumbprint"]
    for vector in told["vectors"]:
        proof = jws.deserialize_compact(found["dpop", vector["name"]], key, algorithms=["ES256"])
        assert proof.headers() == told["header"]
        claims = json.loads(proof.payload)
        assert len(base64.urlsafe_b64decode(claims.pop("jti") + "==")) >= 12
        assert isinstance(claims.pop("iat"), int)
        assert claims == vector["claims"]
        if "authKey" in vector:
            digest = hashlib.sha256(vector["authKey"].encode()).digest()
            assert vector["claims"]["ath"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_a_watch_tells_what_its_vector_says_and_nothing_else(found: dict[tuple[str, str], Any]) -> None:
    vectors = load("watching")["vectors"]
    expected = {each["name"]: {name: each[name] for name in ("told", "ended", "stopped")} for each in vectors}
    assert {each["name"]: found["watching", each["name"]] for each in vectors} == expected
    # Each close code of the server's, and what its table says of coming back.
    closes = {step["closes"] for each in vectors for step in each["steps"] if "closes" in step}
    assert {code.value for code in CloseCode} - {1011} <= closes
    for each in vectors:
        if each["stopped"] and (last := each["steps"][-1].get("closes")):
            assert each["stopped"] in {code.error for code in CloseCode if code.value == last}


def test_errors_end_a_watch_or_do_not_as_their_vector_says(found: dict[tuple[str, str], Any]) -> None:
    for each in load("errors")["vectors"]:
        assert found["errors", f"{each['status']} {each['code']}"] == each["watch"], each


def test_pauses_are_no_longer_than_their_vector_says(found: dict[tuple[str, str], Any]) -> None:
    for each in load("back-off")["vectors"]:
        assert found["back-off", f"{each['failures']} {str(each['spread']).lower()}"] == each["longest"]
