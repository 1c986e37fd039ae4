"""What the modules of OpenID's Basic plan check, a test each, named in its marker. It is not the suite itself:
`pairing_ws/web/oauth/README.md` has the results, and what of the suite they are not."""

import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlencode

import httpx2
import pytest

from tests.support.app_server import AppServer
from tests.support.applications import answer_in
from tests.support.client import Api, Phone
from tests.support.embedded import Embedded, describe_in, fresh_phone
from tests.support.relying_party import Login, RelyingParty
from tests.support.tokens import parts

from .conftest import NewApplication

PERSON = {"name": "Ada Lovelace", "email": "ada@example.com", "email_verified": True, "groups": ("staff",)}
EMAIL = {"email": "ada@example.com", "email_verified": True}

LogInAgain = Callable[[], Awaitable[Phone]]


@pytest.fixture
def username() -> str:
    return f"ada-{secrets.token_hex(6)}"


@pytest.fixture
async def log_in_again(site: Embedded, username: str) -> AsyncIterator[LogInAgain]:
    """Another login of the same person, some seconds later."""
    async with Api(site.url) as api:

        async def again() -> Phone:
            site.clock.advance(3)
            return await fresh_phone(api, site.folder, username, site.clock)

        yield again


@pytest.fixture
async def rp(site: Embedded, app: AppServer, username: str, log_in_again: LogInAgain) -> AsyncIterator[RelyingParty]:
    """Of a person whom much is known of."""
    phone = await log_in_again()
    await describe_in(site.folder, username, **PERSON)
    async with httpx2.AsyncClient(base_url=site.settings.public_url, verify=False) as browser:
        party = RelyingParty(app, phone, browser, site.clock)
        await party.discover()
        yield party


def same_person_and_time(first: Login, second: Login) -> bool:
    return all(first.id_token[name] == second.id_token[name] for name in ("sub", "auth_time"))


def unsigned(claims: dict[str, str]) -> str:
    """A request object of nobody (`alg: none`)."""
    parts = [json.dumps(each).encode() for each in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


# Response type and id_token


@pytest.mark.conformance("oidcc-server")
async def test_a_code_flow_ends_in_an_id_token_that_holds_and_says_no_more_than_was_asked(rp: RelyingParty) -> None:
    login = await rp.log_in()
    assert not PERSON.keys() & login.id_token.keys()


@pytest.mark.conformance("oidcc-response-type-missing")
async def test_a_request_without_response_type_is_answered_with_an_error(rp: RelyingParty) -> None:
    assert (await rp.answer(rp.query(response_type=None)))["error"] == "invalid_request"


@pytest.mark.conformance("oidcc-idtoken-signature")
async def test_an_id_token_is_signed_by_rs256_with_a_key_that_is_named_and_published(rp: RelyingParty) -> None:
    header, _ = parts((await rp.log_in()).tokens["id_token"])
    assert header["alg"] == "RS256"
    assert header["kid"] in {key["kid"] for key in rp.keys["keys"] if key["kty"] == "RSA"}


@pytest.mark.conformance("oidcc-idtoken-unsigned")
async def test_no_id_token_without_a_signature_is_offered(rp: RelyingParty) -> None:
    assert "none" not in rp.metadata["id_token_signing_alg_values_supported"]


@pytest.mark.conformance("oidcc-server-client-secret-post")
async def test_a_secret_in_the_form_will_do(rp: RelyingParty) -> None:
    form = rp.app.code_form((await rp.answer(rp.query()))["code"])
    assert rp.app.secret
    own = {"client_id": rp.app.id, "client_secret": rp.app.secret}
    answer = await rp.browser.post(rp.metadata["token_endpoint"], data=form | own)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() >= {"access_token", "id_token", "token_type"}


@pytest.mark.conformance("oidcc-ensure-request-without-nonce-succeeds-for-code-flow")
async def test_a_nonce_may_be_left_out(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(nonce=None))


# UserInfo


async def told_by(rp: RelyingParty, method: str, in_body: bool = False) -> None:
    """A module's own request, after the one of every login."""
    login = await rp.log_in()
    token = login.tokens["access_token"]
    body = {"data": {"access_token": token}} if in_body else {}
    answer = await rp.user_info(token, method, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["sub"] == login.id_token["sub"]


@pytest.mark.conformance("oidcc-userinfo-get")
async def test_userinfo_answers_a_get(rp: RelyingParty) -> None:
    await told_by(rp, "GET")


@pytest.mark.conformance("oidcc-userinfo-post-header")
async def test_userinfo_answers_a_post_with_the_token_in_its_header(rp: RelyingParty) -> None:
    await told_by(rp, "POST")


@pytest.mark.conformance("oidcc-userinfo-post-body")
async def test_userinfo_answers_a_post_with_the_token_in_its_body(rp: RelyingParty) -> None:
    await told_by(rp, "POST", in_body=True)


# Scopes and claims


@pytest.mark.conformance("oidcc-scope-profile")
async def test_the_scope_profile_tells_the_name(rp: RelyingParty, username: str) -> None:
    told = (await rp.log_in(rp.query(scope="openid profile"))).user_info
    assert told.items() >= {"name": "Ada Lovelace", "preferred_username": username}.items()
    assert "email" not in told


@pytest.mark.conformance("oidcc-scope-email")
async def test_the_scope_email_tells_the_address(rp: RelyingParty) -> None:
    told = (await rp.log_in(rp.query(scope="openid email"))).user_info
    assert told.items() >= EMAIL.items()
    assert "name" not in told


@pytest.mark.conformance("oidcc-scope-address")
async def test_the_scope_address_is_no_error(rp: RelyingParty) -> None:
    assert (await rp.log_in(rp.query(scope="openid address"))).user_info.keys() == {"sub"}


@pytest.mark.conformance("oidcc-scope-phone")
async def test_the_scope_phone_is_no_error(rp: RelyingParty) -> None:
    assert (await rp.log_in(rp.query(scope="openid phone"))).user_info.keys() == {"sub"}


@pytest.mark.conformance("oidcc-scope-all")
async def test_all_scopes_together_tell_what_each_tells(rp: RelyingParty) -> None:
    told = (await rp.log_in(rp.query(scope="openid email phone address profile"))).user_info
    assert told.items() >= (EMAIL | {"name": "Ada Lovelace"}).items()


@pytest.mark.conformance("oidcc-ensure-other-scope-order-succeeds")
async def test_scopes_and_parameters_may_come_in_any_order(rp: RelyingParty) -> None:
    backwards = urlencode(list(reversed(answer_in("?" + rp.query(scope="email openid")).items())))
    assert (await rp.log_in(backwards)).user_info.items() >= EMAIL.items()


@pytest.mark.conformance("oidcc-claims-essential")
async def test_a_claim_that_is_called_essential_is_no_error(rp: RelyingParty) -> None:
    wanted = json.dumps({"userinfo": {"name": {"essential": True}}})
    login = await rp.log_in(rp.query(claims=wanted))
    assert "name" not in login.id_token


# Parameters that must not be an error


@pytest.mark.conformance("oidcc-display-page")
async def test_display_page_is_no_error(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(display="page"))


@pytest.mark.conformance("oidcc-display-popup")
async def test_display_popup_is_no_error(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(display="popup"))


@pytest.mark.conformance("oidcc-ensure-request-with-unknown-parameter-succeeds")
async def test_an_unknown_parameter_is_no_error(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(extra="foobar"))


@pytest.mark.conformance("oidcc-login-hint")
async def test_a_login_hint_is_no_error(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(login_hint="ada@example.com"))


@pytest.mark.conformance("oidcc-ui-locales")
async def test_wishes_for_the_pages_languages_are_no_error(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(ui_locales="se"))


@pytest.mark.conformance("oidcc-claims-locales")
async def test_wishes_for_the_claims_languages_are_no_error(rp: RelyingParty) -> None:
    await rp.log_in(rp.query(claims_locales="se"))


@pytest.mark.conformance("oidcc-ensure-request-with-acr-values-succeeds")
async def test_wishes_for_a_class_of_login_are_no_error(rp: RelyingParty) -> None:
    assert (await rp.log_in(rp.query(acr_values="1 2"))).id_token["acr"] == "1"


@pytest.mark.conformance("oidcc-ensure-post-request-succeeds")
async def test_a_request_may_come_as_a_form(rp: RelyingParty) -> None:
    query = rp.query()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await rp.browser.post(rp.metadata["authorization_endpoint"], content=query, headers=form)
    assert answer.status_code == 303
    address, _, to = answer.headers["location"].partition("?")
    assert (address, answer_in(f"?{to}")) == (rp.metadata["authorization_endpoint"], answer_in(f"?{query}"))
    await rp.log_in(to)


@pytest.mark.conformance("oidcc-ensure-request-with-valid-pkce-succeeds")
async def test_a_challenge_is_answered_by_its_verifier_alone(rp: RelyingParty) -> None:
    await rp.log_in()
    form = rp.app.code_form((await rp.answer(rp.query()))["code"])
    wrong = await rp.redeem(form | {"code_verifier": secrets.token_urlsafe(32)})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")


# Whether the person is asked again


@pytest.mark.conformance("oidcc-prompt-login")
async def test_prompt_login_wants_a_new_login_though_there_is_one(rp: RelyingParty, log_in_again: LogInAgain) -> None:
    first = await rp.log_in()
    query = rp.query(prompt="login")
    page = await rp.send(query)
    assert page.status_code == 200
    second = await rp.finish(query, await rp.consent(page, query, await log_in_again()))
    assert second.id_token["auth_time"] > first.id_token["auth_time"]


@pytest.mark.conformance("oidcc-prompt-none-not-logged-in")
async def test_prompt_none_is_an_error_where_nobody_is_logged_in(rp: RelyingParty) -> None:
    told = await rp.answer(rp.query(prompt="none", state="s" * 128))
    assert told["error"] == "login_required"
    assert "code" not in told


@pytest.mark.conformance("oidcc-prompt-none-logged-in")
async def test_prompt_none_leads_straight_back_where_the_person_is_logged_in(rp: RelyingParty) -> None:
    first = await rp.log_in()
    query = rp.query(prompt="none")
    assert (await rp.send(query)).status_code == 303
    assert same_person_and_time(first, await rp.log_in(query))


@pytest.mark.conformance("oidcc-id-token-hint")
async def test_an_id_token_names_the_person_that_prompt_none_is_about(rp: RelyingParty) -> None:
    first = await rp.log_in()
    query = rp.query(prompt="none", id_token_hint=first.tokens["id_token"])
    assert (await rp.send(query)).status_code == 303
    assert same_person_and_time(first, await rp.log_in(query))


@pytest.mark.conformance("oidcc-max-age-1")
async def test_a_login_that_is_older_than_max_age_is_made_anew(
    rp: RelyingParty, site: Embedded, log_in_again: LogInAgain
) -> None:
    first = await rp.log_in()
    site.clock.advance(2)
    query = rp.query(max_age="1")
    page = await rp.send(query)
    assert page.status_code == 200
    second = await rp.finish(query, await rp.consent(page, query, await log_in_again()))
    assert second.id_token["auth_time"] > first.id_token["auth_time"]
    assert site.clock() / 1000 - second.id_token["auth_time"] < 60


@pytest.mark.conformance("oidcc-max-age-10000")
async def test_a_login_that_is_younger_than_max_age_will_do(rp: RelyingParty) -> None:
    first = await rp.log_in(rp.query(max_age="15000"))
    query = rp.query(max_age="10000")
    assert (await rp.send(query)).status_code == 303
    assert same_person_and_time(first, await rp.log_in(query))


# Codes and refresh tokens


@pytest.mark.conformance("oidcc-codereuse")
async def test_a_code_whose_tokens_were_used_is_refused(rp: RelyingParty) -> None:
    again = await rp.redeem((await rp.log_in()).form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.conformance("oidcc-codereuse-30seconds")
async def test_a_code_that_comes_again_after_30_seconds_is_refused_and_ends_what_it_gave(
    rp: RelyingParty, site: Embedded
) -> None:
    login = await rp.log_in()
    site.clock.advance(30)
    again = await rp.redeem(login.form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await rp.user_info(login.tokens["access_token"])).status_code == 401


@pytest.mark.conformance("oidcc-refresh-token")
async def test_a_refresh_token_is_good_for_its_own_client_alone(
    rp: RelyingParty, new_application: NewApplication
) -> None:
    wanted = rp.query(scope="openid offline_access", prompt="consent")
    await rp.refresh(await rp.log_in(wanted))
    other = rp.of(await new_application())
    theirs = await other.refresh(await other.log_in(other.query(scope="openid offline_access", prompt="consent")))
    assert "refresh_token" in rp.metadata["grant_types_supported"]
    stolen = {"grant_type": "refresh_token", "refresh_token": theirs.tokens["refresh_token"]}
    refused = await rp.redeem(stolen)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


# Where an answer may go


async def stays_here(rp: RelyingParty, query: str) -> None:
    page = await rp.send(query)
    assert page.status_code == 400
    assert "location" not in page.headers


@pytest.mark.conformance("oidcc-ensure-registered-redirect-uri")
async def test_an_address_below_a_registered_one_gets_no_answer(rp: RelyingParty) -> None:
    await rp.log_in()
    await stays_here(rp, rp.query(redirect_uri=f"{rp.app.app.redirect_uri}/{secrets.token_hex(8)}"))


@pytest.mark.conformance("oidcc-ensure-request-object-with-redirect-uri")
async def test_an_address_in_a_request_object_does_not_make_up_for_a_foreign_one(rp: RelyingParty) -> None:
    await rp.log_in()
    query = rp.query()
    inside = unsigned(answer_in(f"?{query}"))
    await stays_here(rp, rp.query(request=inside, redirect_uri=f"{rp.app.app.redirect_uri}/INVALID"))


@pytest.mark.conformance("oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported")
async def test_the_address_of_a_request_object_is_refused_by_its_own_word(rp: RelyingParty) -> None:
    told = await rp.answer(rp.query(request_uri="https://app.example.com/request#x"))
    assert told["error"] == "request_uri_not_supported"
    assert rp.metadata["request_uri_parameter_supported"] is False


@pytest.mark.conformance("oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported")
async def test_a_request_object_is_refused_by_its_own_word(rp: RelyingParty) -> None:
    query = rp.query()
    told = await rp.answer(f"{query}&{urlencode({'request': unsigned(answer_in(f'?{query}'))})}")
    assert told["error"] == "request_not_supported"
    assert rp.metadata["request_parameter_supported"] is False
