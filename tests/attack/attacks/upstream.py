"""The attacks on the word of other issuers: logins that no provider has answered, tokens that nobody trusted has
signed."""

import json

from tests.attack.attack import against
from tests.attack.target import Target, demand
from tests.support.client import device_headers
from tests.support.keys import DeviceKey, spelt

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
KINDS = ("jwt", "id_token", "access_token", "refresh_token")


@against(54)
async def come_back_from_nowhere(target: Target) -> None:
    """Come back from a provider that was never asked; fetch keys by a cookie that is none, for another site"""
    app = target.applications(1)[0]
    for query in ("", "code=x", "code=x&state=", "code=x&state=x", "state=x&state=y", "error=x&state=%00", "x" * 6000):
        for cookie in ("", "__Host-pairing_upstream=", f"__Host-pairing_upstream={'A' * 400}", "pairing_upstream=x"):
            given = await target.browse(app, f"/login/upstream/callback?{query}", Cookie=cookie)
            demand(400 <= given.status_code < 500, f"{query[:40]!r} with {cookie[:40]!r} is told {given.status_code}")
            demand("set-cookie" not in given.headers, "a cookie for an answer that nobody asked for")
    for origin in ("https://evil.invalid", str(app.http.base_url).rstrip("/")):
        for cookie in ("__Host-pairing_upstream=x", f"__Host-pairing_upstream={'A' * 400}"):
            headers = device_headers() | {"Cookie": cookie, "Origin": origin}
            given = await app.http.post("/api/v1/upstream/login", json={}, headers=headers)
            demand(400 <= given.status_code < 500, f"keys for a cookie that is none: {given.status_code}")


@against(54)
async def exchange_what_nobody_signed(target: Target) -> None:
    """Exchange tokens of nobody, of ourselves, of a key of one's own, and unsigned ones for a session"""
    app, phone = target.applications(1)[0], target.phones[0]
    issuer = (await app.http.get("/.well-known/openid-configuration")).json()["issuer"]
    own = await app.redeem(await app.code(phone, "openid"))
    demand(own.status_code == 200, f"a code is refused: {own.status_code}")
    key = DeviceKey()
    claims = {"iss": issuer, "sub": phone.keys["user"]["id"], "aud": app.id, "exp": 9_999_999_999, "jti": "x"}
    unsigned = [f"{spelt({'alg': alg, 'typ': 'JWT'})}.{spelt(claims)}." for alg in ("none", "None", "HS256")]
    by_own_key = key.signed({"alg": "ES256", "jwk": key.jwk, "jku": "https://evil.invalid/keys"}, claims)
    tokens = [phone.keys["authKey"], phone.keys["refreshKey"], *own.json().values(), *unsigned, by_own_key]
    for token in tokens:
        for kind in KINDS:
            form = {
                "grant_type": EXCHANGE,
                "subject_token": token if isinstance(token, str) else json.dumps(token),
                "subject_token_type": f"urn:ietf:params:oauth:token-type:{kind}",
            }
            given = await app.post("/oauth/token", form, **device_headers())
            demand(given.status_code in (400, 429), f"{kind} {form['subject_token'][:20]} is told {given.status_code}")
            demand("access_token" not in given.text, "a session for a token that nobody trusted has signed")
