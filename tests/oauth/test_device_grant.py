"""What devices without a browser are answered (RFC 8628): one pairing, one decision, one set of tokens."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from pairing_ws.core.devices import Approver
from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import OAuthError
from pairing_ws.oauth.ports import Client, DeviceGrant, Grant
from pairing_ws.oauth.types import DeviceAuthorization, TokenSet
from pairing_ws.pairing.types import ByKey
from tests.oauth.conftest import ISSUER, World, refused_with
from tests.support.client_tokens import claims
from tests.support.oauth_stores import Stores
from tests.support.pairing_world import HERE, THERE, by_key

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
UNKNOWN = ["", ".", "x", "a" * 5000, f"{'a' * 22}.{'b' * 43}", f"{'a' * 22}.", f"{{}}{'a' * 20}.{'b' * 43}", "ä.ö"]


@pytest.fixture
async def device(world: World, stores: Stores) -> Client:
    """A public client that may use the grant."""
    return await stores.client(
        "tv", device_grant=DeviceGrant.ON, scopes=("openid", "email"), logo_uri=f"{ISSUER}/tv.png"
    )


def approver(world: World) -> ByKey:
    who = world.login
    here = Approver(user_id=who.user_id, session_id=who.session_id, device_id=who.device_id, ip=HERE)
    return by_key()._replace(approver=here)


async def asked(world: World, client: Client, **form: Any) -> DeviceAuthorization:
    request = world.request(client, **form)._replace(ip=THERE)
    return await world.service.device_grants.authorize(request, "curl/8")


async def claimed(world: World, client: Client, **form: Any) -> DeviceAuthorization:
    made = await asked(world, client, **form)
    await world.pairings.claims.claim_by_user_code(made.user_code, approver(world), HERE)
    return made


async def approved(world: World, client: Client, **form: Any) -> DeviceAuthorization:
    made = await claimed(world, client, **form)
    await world.pairings.decisions.approve(id_of(made), approver(world))
    return made


def id_of(made: DeviceAuthorization) -> str:
    return made.device_code.partition(".")[0]


async def poll(world: World, client: Client, device_code: str, key: str | None = None, **form: Any) -> TokenSet:
    request = world.request(client, key, grant_type=GRANT_TYPE, device_code=device_code, **form)
    return await world.service.tokens.exchange(request)


async def word(world: World, client: Client, made: DeviceAuthorization, **form: Any) -> str:
    return await refused_with(poll(world, client, made.device_code, **form))


async def grant_of(world: World, made: DeviceAuthorization) -> Grant:
    grant = await world.stores.grants.of_origin(f"device:{id_of(made)}")
    assert grant
    return grant


# Asking


async def test_a_device_is_told_what_to_show_and_how_often_to_ask(world: World, device: Client) -> None:
    made = await asked(world, device)
    assert len(made.device_code) == 22 + 1 + 43
    assert made.verification_uri == f"{ISSUER}/link"
    assert made.verification_uri_complete == f"{ISSUER}/link?user_code={made.user_code}"
    assert (made.expires_in, made.interval) == (600, 5)


async def test_the_approver_sees_the_client_and_what_it_gets(world: World, device: Client) -> None:
    made = await claimed(world, device, scope="email openid groups nonsense")
    view = await world.pairings.views.view(id_of(made), approver(world))
    assert view.pairing.client
    told = msgspec.structs.asdict(view.pairing.client)
    expected = {"id": "tv", "name": "The tv", "logo_uri": f"{ISSUER}/tv.png", "scopes": ("email", "openid")}
    assert expected.items() <= told.items()


async def test_without_a_scope_it_gets_what_it_was_registered_with_and_with_none_that_it_may_have_nothing(
    world: World, device: Client, stores: Stores
) -> None:
    assert (await poll(world, device, (await approved(world, device)).device_code)).scope == "openid email"
    any_scope = await stores.client("any", device_grant=DeviceGrant.ON)
    assert (await poll(world, any_scope, (await approved(world, any_scope)).device_code)).scope == "openid"
    assert await refused_with(asked(world, device, scope="groups")) == "invalid_scope"


async def test_a_client_without_the_grant_neither_asks_nor_polls(world: World, device: Client) -> None:
    made = await approved(world, device)
    off = msgspec.structs.replace(device, device_grant=DeviceGrant.OFF)
    assert await refused_with(asked(world, off)) == "unauthorized_client"
    assert await word(world, off, made) == "unauthorized_client"


async def test_a_client_of_the_same_network_is_let_in_from_there_alone(world: World, device: Client) -> None:
    near = msgspec.structs.replace(device, device_grant=DeviceGrant.SAME_NETWORK)
    made = await asked(world, near)
    for ip, found in ((HERE, False), (THERE, True)):
        claim = world.pairings.claims.claim_by_user_code(made.user_code, approver(world), ip)
        if found:
            await claim
        else:
            with pytest.raises(Refused, match="not_found"):
                await claim


# Waiting


async def test_the_first_poll_is_free_and_only_early_ones_of_what_waits_are_slowed(
    world: World, device: Client
) -> None:
    made = await asked(world, device)
    assert await word(world, device, made) == "authorization_pending"
    assert [await word(world, device, made) for _ in range(3)] == ["slow_down"] * 3
    # Another device's are counted apart.
    assert await word(world, device, await asked(world, device)) == "authorization_pending"
    await world.pairings.claims.claim_by_user_code(made.user_code, approver(world), HERE)
    assert await word(world, device, made) == "slow_down"
    await world.pairings.decisions.approve(id_of(made), approver(world))
    assert (await poll(world, device, made.device_code)).refresh_token


async def test_after_an_early_poll_the_interval_is_as_it_was(world: World, device: Client) -> None:
    made = await asked(world, device)
    for wait, answer in ((0, "authorization_pending"), (1, "slow_down"), (4, "authorization_pending")):
        world.clock.forward(seconds=wait)
        assert await word(world, device, made) == answer
    world.clock.forward(seconds=5)
    assert await word(world, device, made) == "authorization_pending"


async def test_how_it_ended_is_told(world: World, device: Client) -> None:
    made = await claimed(world, device)
    await world.pairings.decisions.deny(id_of(made), approver(world))
    assert [await word(world, device, made) for _ in range(2)] == ["access_denied"] * 2
    made = await asked(world, device)
    world.clock.forward(seconds=601)
    assert [await word(world, device, made) for _ in range(2)] == ["expired_token"] * 2
    world.clock.forward(seconds=301)
    assert await word(world, device, made) == "invalid_grant"


async def test_a_store_that_is_away_is_no_answer_to_the_grant(world: World, device: Client) -> None:
    made = await approved(world, device)
    world.pairings.store.away = True
    with pytest.raises(Refused) as caught:
        await poll(world, device, made.device_code)
    assert caught.value.code is Code.UNAVAILABLE
    world.pairings.store.away = False
    assert await poll(world, device, made.device_code)


@pytest.mark.parametrize("code", UNKNOWN)
async def test_what_is_no_device_code_is_refused(world: World, device: Client, code: str) -> None:
    assert await refused_with(poll(world, device, code)) == ("invalid_grant" if code else "invalid_request")


@pytest.mark.security(43)
async def test_another_clients_device_code_and_a_devices_pairing_are_unknown_and_lose_nothing(
    world: World, device: Client, stores: Stores
) -> None:
    made = await approved(world, device)
    other = await stores.client("other", device_grant=DeviceGrant.ON)
    assert await word(world, other, made) == "invalid_grant"
    created = await world.pairings.new()
    code = f"{created.view.pairing.id}.{created.secret}"
    assert await refused_with(poll(world, device, code)) == "invalid_grant"
    wrong = f"{id_of(made)}.{'x' * 43}"
    assert await refused_with(poll(world, device, wrong)) == "invalid_grant"
    assert await poll(world, device, made.device_code)


# Tokens


async def test_the_tokens_are_for_what_was_approved_by_whom(world: World, device: Client) -> None:
    made = await approved(world, device, scope="openid email")
    given = await poll(world, device, made.device_code)
    access, identity = claims(given.access_token), claims(given.id_token or "")
    now = world.clock() // 1000
    assert {"sub": world.login.user_id, "client_id": "tv", "scope": "openid email"}.items() <= access.items()
    assert {"aud": "tv", "auth_time": now, "amr": ["qr"], "acr": "1"}.items() <= identity.items()
    grant = await grant_of(world, made)
    assert (grant.session_id, grant.device_id) == (world.login.session_id, world.login.device_id)
    assert grant.offline
    assert grant.id == identity["sid"]
    assert (await world.refresh(given.refresh_token, device)).scope == "openid email"


async def test_the_same_poll_gets_the_same_answer_for_half_a_minute_and_then_ends_it(
    world: World, device: Client
) -> None:
    made = await approved(world, device)
    first = await poll(world, device, made.device_code)
    world.clock.forward(seconds=29)
    assert await poll(world, device, made.device_code) == first
    world.clock.forward(seconds=1)
    assert await word(world, device, made) == "invalid_grant"
    assert (await grant_of(world, made)).ended_why == "reused"


async def test_once_something_of_it_was_used_another_poll_ends_it(world: World, device: Client) -> None:
    made = await approved(world, device)
    given = await poll(world, device, made.device_code)
    await world.user_info(given.access_token)
    assert await word(world, device, made) == "invalid_grant"
    assert (await grant_of(world, made)).ended_why == "reused"


async def test_a_key_that_was_proved_binds_the_tokens_and_another_gets_no_repetition(
    world: World, device: Client
) -> None:
    made = await approved(world, device)
    given = await poll(world, device, made.device_code, key="jkt")
    assert (given.token_type, claims(given.access_token)["cnf"]) == ("DPoP", {"jkt": "jkt"})
    assert await refused_with(poll(world, device, made.device_code, key="other")) == "invalid_grant"


@pytest.mark.security(43)
async def test_of_a_hundred_polls_at_two_processes_all_get_one_set_of_tokens(
    world: World, elsewhere: Stores, device: Client
) -> None:
    other, made = world.another(elsewhere), await approved(world, device)
    given = await asyncio.gather(*(poll((world, other)[n % 2], device, made.device_code) for n in range(100)))
    assert len({each.refresh_token for each in given}) == len({each.access_token for each in given}) == 1
    assert [event for event, _ in world.events] == ["grant.started"]


async def test_a_login_that_has_ended_since_begins_nothing(world: World, device: Client) -> None:
    made = await approved(world, device)
    await world.stores.users.lock(world.login.username, world.clock())
    assert await word(world, device, made) == "invalid_grant"
    made = await approved(world, device)
    world.pairings.accounts.refuses = Code.PAIRING_DENIED
    assert await word(world, device, made) == "access_denied"


# The number


async def test_a_client_that_knows_numbers_has_to_send_the_one_that_the_approver_sees(
    world: World, device: Client
) -> None:
    made = await approved(world, device, number="supported")
    number = (await world.pairings.views.view(id_of(made), approver(world))).number
    assert number
    assert await word(world, device, made) == "number_required"
    wrong = {"number": f"{(int(number) + 1) % 1000:03}"}
    with pytest.raises(OAuthError, match="attempts left: 2") as caught:
        await poll(world, device, made.device_code, **wrong)
    assert caught.value.error == "number_mismatch"
    given = await poll(world, device, made.device_code, number=number)
    assert await poll(world, device, made.device_code, number=number) == given


async def test_the_third_wrong_number_ends_it(world: World, device: Client) -> None:
    made = await approved(world, device, number="supported")
    number = int((await world.pairings.views.view(id_of(made), approver(world))).number or 0)
    wrong = [f"{(number + more) % 1000:03}" for more in (1, 2, 3)]
    assert [await word(world, device, made, number=each) for each in wrong] == ["number_mismatch"] * 3
    assert await word(world, device, made, number=f"{number:03}") == "access_denied"


@pytest.mark.parametrize("form", [{}, {"number": "yes"}, {"number": "123"}])
async def test_a_client_that_did_not_say_so_is_asked_for_no_number(
    world: World, device: Client, form: Mapping[str, str]
) -> None:
    made = await approved(world, device, **form)
    assert (await world.pairings.views.view(id_of(made), approver(world))).number is None
    assert await poll(world, device, made.device_code, number="000")
