"""The attacks on what an admin key opens: by other credentials, as another site."""

from urllib.parse import urlsplit

from pairing_ws.web.admin_calls import ADMIN_CALLS
from tests.attack.attack import against, problem
from tests.attack.target import Target, demand
from tests.support.client import code_of, device_headers

BODY = {"id": "attacker", "name": "attacker"}
ID = "A" * 22
# The calls are off, or the key is none, or too many were tried.
SHUT = {(404, "not_found"), (401, "unauthenticated"), (429, "rate_limited")}


@against(53)
async def act_as_the_backend(target: Target) -> None:
    """Do what a backend does by a device's or an application's keys, by a cookie or query; read it from a page"""
    phone = target.phones[0]
    device = await target.new_device()
    public = urlsplit(device.pairing["qr"]["text"])
    own = f"{public.scheme}://{public.netloc}"
    tokens = [phone.keys["authKey"], phone.keys["refreshKey"], device.pairing["secret"], code_of(device.pairing)]
    if target.apps:
        app = target.apps[0][0]
        tokens += [each for each in (await app.tokens(phone)).values() if isinstance(each, str) and len(each) > 40]
    for call in ADMIN_CALLS:
        path = call.path.removeprefix("/api/v1").replace("{id}", ID)
        body = BODY if call.body else None
        tries: list[tuple[str, dict[str, str]]] = [
            ("", {}), ("", phone.headers), ("", {"Cookie": f"adminKey={tokens[0]}"}),
            (f"?access_token={tokens[0]}", {}), *(("", {"Authorization": f"Bearer {token}"}) for token in tokens),
        ]  # fmt: skip
        for query, headers in tries:
            answer = await target.api.http.request(
                call.method, path + query, json=body, headers=device_headers() | {"Origin": own} | headers
            )
            demand(problem(answer) in SHUT, f"{call.method} {path}: {problem(answer)}")
        asked = {"Origin": own, "Access-Control-Request-Method": call.method}
        preflight = await target.api.http.request("OPTIONS", path, headers=asked)
        is_there = preflight.status_code != 404 and problem(answer)[0] != 404
        readable = "access-control-allow-origin" in preflight.headers and is_there
        demand(not readable, f"pages may ask {call.method} {path}")
