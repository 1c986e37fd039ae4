"""Approvals that need a recent proof, over HTTP on two processes: passkeys, the host's word, and what is worth none."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from tests.processes.conftest import Pair, at, refusal
from tests.support.authenticator import PRESENT, VERIFIED, Authenticator, b64
from tests.support.client import Api, NewDevice, Phone
from tests.support.host import HOST, STEP_UP, word
from tests.support.limits import NO_LIMITS
from tests.support.servers import RedisServer, Server, running

NEEDED = (403, "step_up_required")
REFUSED = (403, "step_up_refused")


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[tuple[Server, Server]]:
    """A proof may be five minutes old, and the host's key is known. No quarantine, so that pairs can be made fast."""
    folder: Path = tmp_path_factory.mktemp("step-up")
    key = folder / "host.pem"
    key.write_bytes(HOST.as_pem(private=False))
    shared = {
        "REDIS_URL": redis_server.url,
        **NO_LIMITS,
        "PAIRING_STEP_UP_SECONDS": "300",
        "PAIRING_HOST_KEY_FILE": str(key),
        "PAIRING_VERIFY": "never",
    }
    with running(folder, **shared) as one, running(folder, **shared, PAIRING_PUBLIC_URL=one.public_url) as other:
        yield one, other


@pytest.fixture
async def owner(pair: Pair) -> Phone:
    """Just logged in by an invite: that is a recent proof."""
    return await pair.phone()


@pytest.fixture
async def key(pair: Pair, owner: Phone) -> Authenticator:
    """The account's passkey."""
    made = Authenticator(pair.servers[0].public_url)
    answer = await add(owner, made)
    assert answer.status_code == 201, answer.text
    return made


@pytest.fixture
async def guest(owner: Phone) -> Phone:
    """Let in by a scan: nobody has proved anything at this device."""
    return await let_in(owner)


@pytest.fixture
async def asking(guest: Phone) -> NewDevice:
    """A third device, that the guest has scanned and cannot approve yet."""
    device = await guest.api.new_pairing()
    await guest.claim(device.pairing)
    return device


async def let_in(by: Phone) -> Phone:
    device = await by.api.new_pairing()
    await by.claim(device.pairing)
    approved = await by.approve(device.id)
    assert approved.status_code == 200, approved.text
    return Phone(by.api, (await device.log_in()).json())


async def add(phone: Phone, key: Authenticator, name: str = "Ada's key", **lies: Any) -> httpx2.Response:
    asked = await phone.post("/passkeys/options")
    if asked.status_code != 200:
        return asked
    return await phone.post("/passkeys", {"name": name, "credential": key.create(asked.json()["publicKey"], **lies)})


async def options(phone: Phone) -> dict[str, Any]:
    answer = await phone.post(f"{STEP_UP}/options")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["publicKey"])


async def prove(phone: Phone, key: Authenticator, **lies: Any) -> httpx2.Response:
    return await phone.post(STEP_UP, {"credential": key.get(await options(phone), **lies)})


async def events(phone: Phone) -> list[str]:
    return [line["event"] for line in (await phone.get("/activity")).json()["activity"]]


# Approval


async def test_nothing_is_approved_before_a_recent_proof_and_it_counts_on_every_process_at_once(
    pair: Pair, key: Authenticator, guest: Phone, asking: NewDevice
) -> None:
    before = (await asking.poll()).json()
    # Both processes have seen this session as it was.
    for api in (pair.one, pair.two):
        answer = await at(api, guest).approve(asking.id)
        assert refusal(answer) == NEEDED
        assert (answer.json()["methods"], answer.json()["maxAge"]) == (["webauthn", "host"], 300)
    assert (await asking.poll()).json()["version"] == before["version"]
    assert refusal(await asking.log_in()) == (409, "not_approved")

    proved = await prove(at(pair.one, guest), key)
    assert proved.status_code == 200
    assert 295 <= proved.json()["expiresIn"] <= 300
    assert (await at(pair.two, guest).approve(asking.id)).json()["status"] == "approved"
    assert (await asking.log_in()).status_code == 200


async def test_the_device_that_shows_the_code_needs_the_proof_too_and_may_show_it_before(
    key: Authenticator, guest: Phone
) -> None:
    shown = await guest.show_code()
    device = await guest.api.join(shown)
    assert refusal(await guest.approve(device.id)) == NEEDED
    assert (await prove(guest, key)).status_code == 200
    assert (await guest.approve(device.id)).status_code == 200
    # Repeated by who has won, it is the same success.
    assert (await guest.approve(device.id)).status_code == 200


async def test_no_proof_is_asked_for_what_cannot_be_approved_and_none_for_a_refusal(guest: Phone) -> None:
    shown = await guest.show_code()
    assert refusal(await guest.approve(shown["id"])) == (409, "not_scanned")
    assert (await guest.deny(shown["id"])).status_code == 200
    assert refusal(await guest.approve(shown["id"])) == (409, "invalid_state")


async def test_the_proof_of_another_session_is_worth_nothing(
    owner: Phone, key: Authenticator, guest: Phone, asking: NewDevice
) -> None:
    assert (await prove(owner, key)).status_code == 200
    assert refusal(await guest.approve(asking.id)) == NEEDED
    # Nor is an answer to a challenge that another session of the same account was given.
    foreign = key.get(await options(owner))
    await options(guest)
    assert refusal(await guest.post(STEP_UP, {"credential": foreign})) == REFUSED
    assert refusal(await guest.approve(asking.id)) == NEEDED


# Passkeys


LIES: dict[str, dict[str, Any]] = {
    "a challenge of its own": {"challenge": b64(bytes(32))},
    "no challenge": {"challenge": ""},
    "a challenge that is no text": {"challenge": 7},
    "another origin": {"origin": "https://login.evil.example"},
    "the origin on another port": {"origin": "http://localhost:1"},
    "another relying party": {"rp_id": "evil.example"},
    "nobody verified": {"flags": PRESENT},
    "nobody there": {"flags": VERIFIED},
    "in another site's frame": {"cross_origin": True},
    "a registration": {"type": "webauthn.create"},
    "another key": {"key": ec.generate_private_key(ec.SECP256R1())},
}


async def test_an_assertion_that_lies_is_refused_and_uses_its_challenge_up(
    key: Authenticator, guest: Phone, asking: NewDevice
) -> None:
    for name, lie in LIES.items():
        asked = await options(guest)
        assert refusal(await guest.post(STEP_UP, {"credential": key.get(asked, **lie)})) == REFUSED, name
        assert refusal(await guest.post(STEP_UP, {"credential": key.get(asked)})) == REFUSED, name
    assert refusal(await guest.approve(asking.id)) == NEEDED
    assert (await prove(guest, key)).status_code == 200


async def test_an_assertion_counts_once_over_all_processes(pair: Pair, owner: Phone, guest: Phone) -> None:
    # One that counts would be found out by its count.
    key = Authenticator(pair.servers[0].public_url, counts=False)
    await add(owner, key)
    answer = key.get(await options(guest))
    calls = [at(api, guest).post(STEP_UP, {"credential": answer}) for api in (pair.one, pair.two) * 10]
    assert sorted(each.status_code for each in await asyncio.gather(*calls)) == [200] + [403] * 19


async def test_another_accounts_passkey_proves_nothing(
    pair: Pair, key: Authenticator, guest: Phone, asking: NewDevice
) -> None:
    stranger, own = await pair.phone(), Authenticator(key.origin)
    assert (await add(stranger, own)).status_code == 201
    assert refusal(await prove(guest, own)) == REFUSED
    # Nor can it be taken over by who knows its name.
    thief = Authenticator(key.origin)
    thief.id = own.id
    assert refusal(await add(await pair.phone(), thief)) == (403, "passkey_refused")
    assert refusal(await guest.approve(asking.id)) == NEEDED


async def test_a_copied_authenticator_is_found_by_its_count_and_told_in_the_activity(
    key: Authenticator, guest: Phone
) -> None:
    assert (await prove(guest, key)).status_code == 200
    assert refusal(await prove(guest, key, count=1)) == REFUSED
    assert (await events(guest))[0] == "passkey.copied"
    assert (await prove(guest, key)).status_code == 200


async def test_an_authenticator_that_does_not_count_proves_again_and_again(
    pair: Pair, owner: Phone, guest: Phone
) -> None:
    synced = Authenticator(pair.servers[0].public_url, counts=False)
    assert (await add(owner, synced)).status_code == 201
    for _ in range(2):
        assert (await prove(guest, synced)).status_code == 200


async def test_a_challenge_for_a_new_passkey_is_none_for_a_step_up(key: Authenticator, owner: Phone) -> None:
    asked = (await owner.post("/passkeys/options")).json()["publicKey"]
    own = {"rpId": "localhost", "challenge": asked["challenge"]}
    assert refusal(await owner.post(STEP_UP, {"credential": key.get(own)})) == REFUSED


async def test_a_registration_that_lies_is_refused(pair: Pair, owner: Phone) -> None:
    key = Authenticator(pair.servers[0].public_url)
    for name, lie in {**LIES, "a registration": {"type": "webauthn.get"}}.items():
        # Without attestation nothing says whose key it is.
        if name != "another key":
            assert refusal(await add(owner, key, **lie)) == (403, "passkey_refused"), name
    assert (await owner.get("/passkeys")).json() == {"passkeys": []}


@pytest.mark.security(25)
async def test_what_is_no_credential_is_refused_without_a_failure(key: Authenticator, owner: Phone) -> None:
    good = key.get(await options(owner))
    for broken in (
        {**good, "id": "é"},
        {**good, "rawId": "x"},
        {**good, "response": {}},
        {**good, "response": {"clientDataJSON": 7, "attestationObject": [], "authenticatorData": {}}},
        {**good, "response": {**good["response"], "authenticatorData": "AAAA"}},
        {**good, "response": {**good["response"], "clientDataJSON": b64(b"[" * 9000)}},
        {**good, "response": {**good["response"], "signature": b64(b"")}},
    ):
        await options(owner)
        assert refusal(await owner.post(STEP_UP, {"credential": broken})) == REFUSED
        await owner.post("/passkeys/options")
        answer = await owner.post("/passkeys", {"name": "x", "credential": broken})
        assert refusal(answer) == (403, "passkey_refused")
    unfit: tuple[dict[str, Any], ...] = (
        {}, {"credential": good, "hostToken": "x"}, {"credential": {}}, {"credential": {"id": 7}},
    )  # fmt: skip
    for neither in unfit:
        assert refusal(await owner.post(STEP_UP, neither)) == (400, "bad_request")


async def test_a_device_that_was_only_let_in_changes_no_passkey(key: Authenticator, guest: Phone) -> None:
    (held,) = (await guest.get("/passkeys")).json()["passkeys"]
    assert refusal(await add(guest, Authenticator(key.origin))) == NEEDED
    assert refusal(await guest.api.http.delete(f"/passkeys/{held['id']}", headers=guest.headers)) == NEEDED
    # By the passkey that is there, both can be done.
    assert (await prove(guest, key)).status_code == 200
    assert (await add(guest, Authenticator(key.origin), "Another")).status_code == 201
    assert (await guest.api.http.delete(f"/passkeys/{held['id']}", headers=guest.headers)).status_code == 204
    (left,) = (await guest.get("/passkeys")).json()["passkeys"]
    assert (left["name"], left["addedBy"]) == ("Another", guest.keys["device"]["id"])
    assert (await events(guest))[:2] == ["passkey.removed", "passkey.added"]
    # What was removed proves nothing any more, anywhere.
    assert refusal(await prove(guest, key)) == REFUSED


async def test_an_account_has_at_most_ten_passkeys_however_many_come_at_once(pair: Pair, owner: Phone) -> None:
    phones = [owner] + [await pair.phone(owner.keys["user"]["username"]) for _ in range(3)]
    statuses: list[int] = []

    async def keep_adding(phone: Phone, api: Api) -> None:
        for _ in range(4):
            key = Authenticator(pair.servers[0].public_url)
            statuses.append((await add(at(api, phone), key)).status_code)

    await asyncio.gather(
        *(keep_adding(phone, api) for phone, api in zip(phones, (pair.one, pair.two) * 2, strict=True))
    )
    assert sorted(statuses) == [201] * 10 + [409] * 6


# The host's word


async def test_the_hosts_word_lets_this_session_approve_and_counts_once(
    pair: Pair, guest: Phone, asking: NewDevice
) -> None:
    answer = await guest.approve(asking.id)
    assert (refusal(answer), answer.json()["methods"]) == (NEEDED, ["host"])
    said = word(guest)
    vouched = await guest.post(STEP_UP, {"hostToken": said})
    # The proof is as old as the host says.
    assert vouched.status_code == 200
    assert 285 <= vouched.json()["expiresIn"] <= 295
    assert (await at(pair.two, guest).approve(asking.id)).status_code == 200
    for api in (pair.one, pair.two):
        assert refusal(await at(api, guest).post(STEP_UP, {"hostToken": said})) == REFUSED


FOREIGN = ECKey.generate_key("P-256")
BAD_WORDS: dict[str, dict[str, Any]] = {
    "another key": {"key": FOREIGN},
    "no signature": {"key": b"", "header": {"alg": "none"}},
    "the public key as a shared secret": {
        "key": HOST.as_pem(private=False),
        "header": {"alg": "HS256"},
    },
    "a key that it brings along": {"key": FOREIGN, "header": {"jwk": FOREIGN.as_dict(private=False)}},
    "an unknown extension": {"header": {"crit": ["b64"], "b64": True}},
    "another type": {"header": {"typ": "at+jwt"}},
    "no type": {"header": {"typ": "JWT"}},
    "another audience": {"aud": "https://login.evil.example"},
    "no audience": {"aud": None},
    "another user": {"sub": "somebody-else"},
    "no user": {"sub": None},
    "another session": {"sid": secrets.token_urlsafe(16)},
    "no session": {"sid": None},
    "over": {"exp": lambda now: now - 120},
    "no end": {"exp": None},
    "good for an hour": {"exp": lambda now: now + 3600},
    "a proof too long ago": {"auth_time": lambda now: now - 400},
    "a proof to come": {"auth_time": lambda now: now + 200, "exp": lambda now: now + 280},
    "no proof": {"auth_time": None},
    "a proof that is no number": {"auth_time": "now"},
}


@pytest.mark.security(15)
async def test_a_word_that_is_not_the_hosts_own_for_this_session_and_moment_is_refused(
    guest: Phone, asking: NewDevice
) -> None:
    for name, bad in BAD_WORDS.items():
        assert refusal(await guest.post(STEP_UP, {"hostToken": word(guest, **bad)})) == REFUSED, name
    assert refusal(await guest.approve(asking.id)) == NEEDED


@pytest.mark.security(15)
async def test_neither_an_auth_key_nor_another_sessions_word_is_the_hosts(owner: Phone, guest: Phone) -> None:
    for wrong in (guest.keys["authKey"], word(owner), word(guest) + "x", "", "x.y.z"):
        assert refusal(await guest.post(STEP_UP, {"hostToken": wrong})) == REFUSED
    assert refusal(await guest.post(STEP_UP, {"hostToken": "x" * 5000})) == (400, "bad_request")
