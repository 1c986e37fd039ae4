"""The attacks on hosts that forward auth protects: questions in the proxy's name, and codes that are meant for them."""

from urllib.parse import urlencode

from tests.attack.attack import against
from tests.attack.attacks.applications import answer
from tests.attack.target import Target, demand

CHECK = "/oauth/forward-auth"
AT_HOSTS = ("/.pairing/login?to=/", "/.pairing/callback?code=x", "/.pairing/logout")
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


@against(49)
async def speak_for_the_proxy(target: Target) -> None:
    """Ask, as anybody, for a protected host in its proxy's name; take the code that leads there"""
    app, phone = target.applications(1)[0], target.phones[0]
    for host in (*target.hosts, "wiki.invalid", "evil.invalid"):
        callback = f"https://{host}/.pairing/callback"
        for said in (
            {"X-Forwarded-Host": host},
            {"X-Original-URL": f"https://{host}/"},
            {"X-Forwarded-Host": host, "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"},
            {"Forwarded": f"host={host}", "X-Real-IP": "127.0.0.1", "Remote-User": "root"},
        ):
            for path in (CHECK, *AT_HOSTS):
                given = await target.browse(app, path, **NAVIGATION | said)
                told = f"{path} for {host} is told {given.status_code}"
                demand(given.status_code in (403, 404, 421), told)
                demand("remote-user" not in given.headers and "location" not in given.headers, told)
        query = {
            "client_id": f"forward-auth:{host}",
            "response_type": "code",
            "scope": "profile",
            "code_challenge": app.app.challenge,
            "code_challenge_method": "S256",
        }
        lookalikes = ("https://evil.invalid/", f"https://{host}.evil.invalid/", f"{callback}/x")
        for uri in (*lookalikes, callback):
            asked = urlencode(query | {"redirect_uri": uri})
            decided = await phone.post("/authorizations", {"query": asked, "decision": "approve"})
            to = decided.json().get("redirectTo", "")
            demand(not to or to.startswith(f"{callback}?"), f"a code for {host} goes to {to}")
            if "code=" in to:
                code = to.partition("code=")[2].partition("&")[0]
                form = app.code_form(code) | {"redirect_uri": uri}
                as_host = await app.http.post("/oauth/token", data=form | {"client_id": f"forward-auth:{host}"})
                for redeemed in (as_host, await app.post("/oauth/token", form)):
                    demand(answer(redeemed)[0] in (400, 401), f"an application redeems it: {answer(redeemed)}")
