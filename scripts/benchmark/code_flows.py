"""What it costs the server when a person who is logged in goes on to an application (P14), beside a whole pairing.

What may live here: the three requests of such a flow: the page, the consent, and the code's exchange for tokens.
"""

import asyncio
import itertools
import json
from collections.abc import Collection, Sequence
from statistics import median
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmark.answers import CLIENTS, Act, Side, logging_in, logins_in_turns
from benchmark.clients import HOST, Pool, clock, form, request
from benchmark.sizes import Sizes
from benchmark.stand import PUBLIC_URL, standing
from benchmark.table import Found, Row
from pairing_ws.oauth.ports import Client

CLIENT = "bench"
REDIRECT = "https://app.example/callback"
# Of RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
QUERY = urlencode({
    "client_id": CLIENT,
    "redirect_uri": REDIRECT,
    "response_type": "code",
    "scope": "openid profile",
    "state": "af0ifjsldkj",
    "nonce": "n-0S6_WzA2Mj",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
})  # fmt: skip
# By the public name: under another one a browser is sent there first.
PAGE = request("GET", f"/oauth/authorize?{QUERY}").replace(HOST.encode(), urlsplit(PUBLIC_URL).netloc.encode(), 1)


async def go_on(pool: Pool, account: str) -> None:
    """One flow, of somebody who consents once more each time."""
    await pool.ask(PAGE)
    decision = {"query": QUERY, "decision": "approve"}
    answer = await pool.ask(request("POST", "/api/v1/authorizations", decision, auth_key=account))
    code = parse_qs(urlsplit(json.loads(answer)["redirectTo"]).query)["code"][0]
    fields = {"grant_type": "authorization_code", "client_id": CLIENT, "code": code}
    await pool.ask(form("/oauth/token", **fields, redirect_uri=REDIRECT, code_verifier=VERIFIER))


def going_on(pool: Pool, accounts: Sequence[str]) -> Act:
    turn = itertools.cycle(accounts)

    async def act(seconds: float) -> tuple[int, float]:
        await pool.renew()
        started = clock()

        async def one_after_another() -> int:
            done = 0
            while clock() < started + seconds:
                await go_on(pool, next(turn))
                done += 1
            return done

        return sum(await asyncio.gather(*(one_after_another() for _ in range(pool.size)))), clock() - started

    return act


async def code_flows(_: Collection[str], sizes: Sizes) -> Found:
    async with standing() as stand:
        ours = stand.ours()
        await stand.register(Client(id=CLIENT, name="Bench", created_at=0, redirect_uris=(REDIRECT,)))
        accounts = await stand.accounts(ours, sizes.accounts)
        pool = await stand.pool(ours, CLIENTS)
        sides = {"pairing": Side(ours, logging_in(pool, accounts)), "code": Side(ours, going_on(pool, accounts))}
        numbers = await logins_in_turns(sides, sizes)
    code, pairing = (1000 / median(sides[name].by_cpu) for name in ("code", "pairing"))
    what = "CPU time of a whole code flow of OpenID Connect, ms"
    row = Row("P14", what, f"{code:.2f}", f"a whole pairing {pairing:.2f}", code / pairing)
    note = "P14: page, consent and token request of a person who is logged in; without the files that the page loads."
    return Found([row], [note], {"code_flows": numbers})
