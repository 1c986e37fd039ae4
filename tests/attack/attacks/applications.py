"""The attacks on applications that log people in: lying redirects, other clients' values, tokens of another kind."""

import base64
import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from tests.attack.attack import against
from tests.attack.target import NotExamined, Target, demand, patiently
from tests.support.app_server import AppServer
from tests.support.client import Phone

EVIL = "https://evil.invalid/"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def answer(given: httpx2.Response) -> tuple[int, str]:
    """Status and OAuth's word."""
    try:
        return given.status_code, str(given.json().get("error", ""))
    except ValueError:
        return given.status_code, ""


async def tokens(app: AppServer, phone: Phone) -> dict[str, str]:
    code = await app.code(phone, "openid")
    given = await app.redeem(code)
    demand(given.status_code == 200, f"a code is refused: {answer(given)}")
    return dict(given.json())


@against(39)
async def lie_about_the_redirect(target: Target) -> None:
    """Have the answer to an application sent to an address that only resembles its own"""
    app, phone = target.applications(1)[0], target.phones[0]
    own = app.app.redirect_uri
    parts = urlsplit(own)
    for uri in (
        EVIL, f"{own}/", f"{own}x", f"{own}#x", f"{own}?", f"{own}\n", own.upper(), f" {own}", "javascript:alert(1)",
        own.replace("://", "://x@"), own.replace(parts.netloc, f"{parts.netloc}.evil.invalid"),
        own.replace(parts.netloc, f"{parts.netloc}@evil.invalid"), own.replace(parts.path, f"/%2e{parts.path}"),
        f"//{parts.netloc}{parts.path}", own.replace("://", ":/"),
    ):  # fmt: skip
        query = app.app.query(redirect_uri=uri)
        for given in (
            await target.browse(app, f"/oauth/authorize?{query}"),
            await target.browse(app, f"/oauth/authorize?{app.app.query(redirect_uri=uri, prompt='none')}"),
            await target.browse(
                app, f"/oauth/logout?{urlencode({'client_id': app.id, 'post_logout_redirect_uri': uri})}"
            ),
        ):
            demand(given.status_code == 400, f"{uri!r} is told {given.status_code}, {given.headers.get('location')}")
        decided = await phone.post("/authorizations", {"query": query, "decision": "approve"})
        demand("redirectTo" not in decided.text, f"a code for {uri!r}")


@against(39)
async def weaken_the_request(target: Target) -> None:
    """Ask without PKCE, with another flow, doubled or huge parameters; have `prompt=none` show a page"""
    app, phone = target.applications(1)[0], target.phones[0]
    for more in (
        {"code_challenge": None}, {"code_challenge_method": None}, {"code_challenge_method": "plain"},
        {"response_type": "token"}, {"response_type": "code id_token"}, {"request": "eyJhbGciOiJub25lIn0.e30."},
        {"state": ["a", "b"]}, {"nonce": "x" * 4096}, {"claims": "[" * 2000}, {"scope": "openid " + "x" * 2000},
    ):  # fmt: skip
        decided = await phone.post("/authorizations", {"query": app.app.query(**more), "decision": "approve"})
        to = decided.json().get("redirectTo") or ""
        demand("code" not in parse_qs(urlsplit(to).query), f"a code in spite of {str(more)[:60]}")
    for name in ("client_id", "redirect_uri", "state"):
        given = await target.browse(app, f"/oauth/authorize?{name}=%00&{app.app.query(**{name: None})}")
        demand(given.status_code < 500, f"{name} of NUL: {given.status_code}")
    silent = await target.browse(app, f"/oauth/authorize?{app.app.query(prompt='none')}")
    told = parse_qs(urlsplit(silent.headers.get("location", "")).query)
    demand(silent.status_code == 303 and told.get("error") == ["login_required"], f"prompt=none: {silent.status_code}")
    demand("iss" in told, "an answer without iss")


@against(40)
async def say_yes_for_somebody(target: Target) -> None:
    """Frame or read the question of an application; say yes by a cookie, by a forged one, for a key of nobody"""
    app, phone = target.applications(1)[0], target.phones[0]
    page = await target.browse(app, f"/oauth/authorize?{app.app.query()}", Origin=EVIL.rstrip("/"))
    demand(not [name for name in page.headers if name.startswith("access-control")], "another origin reads the page")
    demand("frame-ancestors 'none'" in page.headers.get("content-security-policy", ""), "the page can be framed")
    decided = await phone.post("/authorizations", {"query": app.app.query(), "decision": "approve"})
    cookie = decided.headers.get("set-cookie", "").partition(";")[0]
    name, _, mark = cookie.partition("=")
    body = {"query": app.app.query(), "decision": "approve"}
    yes = await app.http.post("/api/v1/authorizations", json=body, headers={"Cookie": cookie})
    demand(yes.status_code == 401, f"a cookie says yes: {yes.status_code}")
    silent = f"/oauth/authorize?{app.app.query(prompt='none')}"
    for forged in (f"{name}={mark.partition('.')[0]}", f"{name}={mark}x", f"{cookie}; {name}={mark[::-1]}"):
        given = await target.browse(app, silent, Cookie=forged)
        demand("code=" not in given.headers.get("location", ""), "a forged cookie logs in")


@against(42)
async def log_somebody_out(target: Target) -> None:
    """Log a person out of an application by a link, with other tokens than their id_token"""
    app = target.applications(1)[0]
    given = await tokens(app, target.phones[0])
    header, claims, signature = given["id_token"].split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    forged = (f"{none}.{claims}.", f"{header}.{claims}.{signature[::-1]}")
    for hint in (given["access_token"], given["refresh_token"], *forged):
        await target.browse(app, f"/oauth/logout?id_token_hint={hint}")
    await target.browse(app, f"/oauth/logout?client_id={app.id}")
    demand((await app.user_info(given["access_token"])).status_code == 200, "it is logged out")


@against(43)
async def take_a_device_code(target: Target) -> None:
    """Poll another client's device code; log a device in by it"""
    tv, other = target.applications(2)[:2]
    phone = target.phones[0]
    asked = await patiently(lambda: tv.ask_as_device(scope="openid"))
    if answer(asked) == (400, "unauthorized_client"):
        raise NotExamined("the application is not registered with --device-grant on")
    made = asked.json()
    claimed = await phone.post("/pairings/claim", {"userCode": made["user_code"]})
    demand(claimed.status_code == 200, f"the code can't be claimed: {claimed.status_code}")
    await phone.approve(claimed.json()["id"])
    demand(answer(await other.poll(made["device_code"])) == (400, "invalid_grant"), "another client may poll it")
    pairing, _, secret = made["device_code"].partition(".")
    login = await phone.api.http.post(f"/pairings/{pairing}/login", json={}, headers={"Pairing-Secret": secret})
    demand(login.status_code == 409, f"it logs a device in: {login.status_code}")
    polls = await target.race_of(tv, lambda app: app.poll(made["device_code"]))
    sets = {each.json()["refresh_token"] for each in polls if each.status_code == 200}
    demand(len(sets) == 1, f"{len(sets)} sets of tokens of one device code")


@against(45)
async def redeem_together(target: Target) -> None:
    """Race: redeem one code at every address; then fifty refreshes; then the code again"""
    app = target.applications(1)[0]
    code = await app.code(target.phones[0], "openid")
    answers = await target.race_of(app, lambda each: each.redeem(code))
    sets = {each.json()["refresh_token"] for each in answers if each.status_code == 200}
    demand(len(sets) == 1, f"{len(sets)} sets of tokens of one code")
    token = sets.pop()
    answers = await target.race_of(app, lambda each: each.refresh(token), 50)
    branches = {each.json()["refresh_token"] for each in answers if each.status_code == 200}
    demand(len(branches) == 1, f"{len(branches)} live branches")
    newest = branches.pop()
    demand((await app.refresh(newest)).status_code == 200, "the live branch is dead")
    demand(answer(await app.redeem(code)) == (400, "invalid_grant"), "a code counts again")
    demand(answer(await app.refresh(newest)) == (400, "invalid_grant"), "what came of a code that came again lives on")


@against(45)
async def inject(target: Target) -> None:
    """As another client, with another verifier or address or without a secret: redeem, refresh, describe, revoke"""
    app, other = target.applications(2)[:2]
    phone = target.phones[0]
    given, code = await tokens(app, phone), await app.code(phone, "openid")
    form = app.code_form(code)
    for wrong in (
        await other.post("/oauth/token", form),
        await app.post("/oauth/token", form | {"code_verifier": other.app.verifier}),
        await app.post("/oauth/token", form | {"code_verifier": app.app.challenge}),
        await app.post("/oauth/token", form | {"redirect_uri": EVIL}),
        await other.refresh(given["refresh_token"]),
        await other.revoke(given["refresh_token"]),
        await app.http.post("/oauth/token", data=form | {"client_id": app.id}),
        await app.http.post("/oauth/token", data=form | {"client_id": app.id, "client_secret": other.secret or "x"}),
    ):
        demand(answer(wrong) in ((400, "invalid_grant"), (401, "invalid_client")), f"it is told {answer(wrong)}")
    for token in (given["access_token"], given["refresh_token"]):
        demand((await other.introspect(token)).json() == {"active": False}, "another client is told of a token")
    demand((await app.redeem(code)).status_code == 200, "the owner's code was used up")
    demand((await app.refresh(given["refresh_token"])).status_code == 200, "the owner's token was used up")


@against(46)
async def mistake_tokens(target: Target) -> None:
    """Use an application's tokens as keys, a device's keys as tokens, one kind for another, none and HS256"""
    app, phone = target.applications(1)[0], target.phones[0]
    given = await tokens(app, phone)
    calls = ("/me", "/devices", "/apps", "/activity", "/passkeys")
    for token in (given["access_token"], given["id_token"], given["refresh_token"]):
        for headers in ({"Auth-Key": token}, {"Authorization": f"Bearer {token}"}):
            for path in calls:
                seen = await phone.api.http.get(path, headers=headers)
                demand(seen.status_code in (401, 404), f"{path} answers {seen.status_code}")
            seen = await phone.api.http.post("/authorizations", json={"query": app.app.query()}, headers=headers)
            demand(seen.status_code == 401, f"an application's token says yes: {seen.status_code}")
    _, claims, signature = given["access_token"].split(".")
    heads = (
        b'{"alg":"none","typ":"at+jwt"}',
        b'{"alg":"HS256","typ":"at+jwt","kid":"x"}',
        b'{"alg":"RS256","kid":"x"}',
    )
    forged = [f"{base64.urlsafe_b64encode(head).rstrip(b'=').decode()}.{claims}.{signature}" for head in heads]
    for token in (given["id_token"], given["refresh_token"], phone.keys["authKey"], phone.keys["refreshKey"], *forged):
        demand(answer(await app.user_info(token)) == (401, "invalid_token"), "another kind of token opens UserInfo")
        demand((await app.introspect(token)).status_code == 200, "a token that is none is an error")
    wrong: dict[str, Callable[[str], Awaitable[httpx2.Response]]] = {"code": app.redeem, "token": app.refresh}
    for kind, redeem in wrong.items():
        for token in (given["access_token"], given["id_token"], phone.keys["refreshKey"]):
            demand(answer(await redeem(token)) == (400, "invalid_grant"), f"it is taken for a {kind}")


@against(47)
async def confuse_the_form(target: Target) -> None:
    """Send forms as JSON, parameters twice, secrets in the query"""
    app = target.applications(1)[0]
    own = app.basic()
    for endpoint in ("token", "revoke", "introspect", "device_authorization"):
        url = f"/oauth/{endpoint}"
        for given in (
            await app.http.post(url, json={"grant_type": "refresh_token", "token": "x"}, headers=own),
            await app.http.post(url, content=b"token=a&token=b", headers=own | FORM),
            await app.http.post(url, content=b"token=%00", headers=own | FORM),
            await app.http.post(f"{url}?client%5Fsecret=x", data={"token": "x"}, headers=own),
            await app.http.post(f"{url}?access_token=x", data={"token": "x"}, headers=own),
        ):
            demand(answer(given) == (400, "invalid_request"), f"{endpoint} answers {answer(given)}")
    demand(answer(await app.http.get("/oauth/userinfo?access_token=x"))[0] == 400, "UserInfo reads the query")


@against(48)
async def outlive_the_end(target: Target) -> None:
    """Use tokens at another address after they were revoked, or after their person took the access away"""
    app, phone = target.applications(1)[0], target.phones[0]
    everywhere = target.app_at_each(app)
    for by_person in (False, True):
        given = await tokens(app, phone)
        if by_person:
            for each in (await phone.get("/apps")).json()["apps"]:
                if each["clientId"] == app.id:
                    await phone.api.http.delete(f"/apps/{each['id']}", headers=phone.headers)
        else:
            await app.revoke(given["refresh_token"])
        for there in everywhere:
            for token in (given["access_token"], given["refresh_token"]):
                demand((await there.introspect(token)).json() == {"active": False}, "it is active elsewhere")
            demand((await there.user_info(given["access_token"])).status_code == 401, "UserInfo still answers")
            demand(answer(await there.refresh(given["refresh_token"])) == (400, "invalid_grant"), "it is still renewed")
    demand(re.fullmatch(r"[\x21-\x7e]{22,}", given["refresh_token"]), "a refresh token can be guessed")
