"""The attacks on what people read and type: faces, numbers, typed codes, the list of what happened."""

import httpx2

from tests.attack.attack import against, problem
from tests.attack.target import NotExamined, Target, demand, patiently
from tests.support.client import Api, NewDevice, Phone, device_headers


@against(10)
async def pose(target: Target) -> None:
    """Pass what a device says of itself off as what the server saw"""
    phone = target.phones[0]
    device = await target.new_device(device_headers(name="192.0.2.1", **{"X-Os-Device": "verified"}))
    seen = (await phone.claim(device.pairing)).json()["newDevice"]
    demand(seen["reported"]["name"] == "192.0.2.1", "the reported name is missing")
    demand({"ip", "network"} <= seen["observed"].keys(), "what was observed is missing")
    demand(seen["observed"]["ip"] != "192.0.2.1", "a name was taken for an address")
    demand((await phone.deny(device.id)).json()["status"] == "denied", "a refusal was not taken")


async def typed(target: Target, phone: Phone) -> tuple[NewDevice, str]:
    """A device whose code was typed, approved, and the number that was asked for."""
    device = await target.new_device()
    code = {"userCode": device.pairing["userCode"]}
    answer = await patiently(lambda: phone.post("/pairings/claim", code))
    demand(answer.status_code == 200, f"a typed code can't be claimed: {problem(answer)}")
    number = (await phone.approve(device.id)).json().get("number")
    if number is None:
        raise NotExamined("no number is asked for here (PAIRING_VERIFY=never)")
    return device, number


@against(11)
async def guess_the_number(target: Target) -> None:
    """Race: guess the verification number, at every address"""
    phone = target.phones[-1]
    device, number = await typed(target, phone)
    # The same one again would be a repeated call, which counts once.
    wrong = [{"number": f"{(int(number) + off) % 1000:03}"} for off in range(1, 1000)]

    async def log_in(api: Api, index: int) -> httpx2.Response:
        body = wrong[1 + index]
        return await api.http.post(f"/pairings/{device.id}/login", json=body, headers=device.headers)

    await patiently(lambda: device.log_in(wrong[0]))
    answers = await target.race(log_in)
    misses = sum(problem(answer)[1] == "number_mismatch" for answer in answers)
    demand(misses == 2, f"{misses + 1} attempts counted")
    answer = await device.log_in({"number": number})
    demand(problem(answer) == (403, "pairing_denied"), f"the right number afterwards: {problem(answer)}")
    demand("number" not in (await device.poll()).json(), "B can read the number")


@against(12)
async def probe_typed_codes(target: Target) -> None:
    """Tell an existing typed code from a wrong one; skip the number after a typed code"""
    phone = target.phones[-1]
    device, number = await typed(target, phone)
    answer = await device.log_in()
    demand(problem(answer) == (403, "number_required"), f"without the number: {problem(answer)}")
    demand((await device.log_in({"number": number})).is_success, "the right number does not log in")
    wrong = await phone.post("/pairings/claim", {"userCode": "0000-0000"})
    used = await phone.post("/pairings/claim", {"userCode": device.pairing["userCode"]})
    for answer in (wrong, used):
        demand(problem(answer) == (404, "not_found"), f"a failure is told {problem(answer)}")
    demand(wrong.text == used.text, "failures differ")


@against(13)
async def lock_out_the_owner(target: Target) -> None:
    """Let in, revoke and rename as the device that has just been let in"""
    phone = target.phones[0]
    child = await target.let_in(phone)
    if "quarantineUntil" not in (await child.get("/me")).json():
        raise NotExamined("new devices are not quarantined here (PAIRING_QUARANTINE_SECONDS=0)")
    owner = f"/devices/{phone.keys['device']['id']}"
    device = await target.claimed(child)
    for answer in (
        await child.approve(device.id),
        await child.post("/pairings"),
        await child.post("/devices/revoke-others"),
        await child.api.http.delete(owner, headers=child.headers),
        await child.api.http.patch(owner, json={"name": "Muted"}, headers=child.headers),
    ):
        demand(problem(answer) == (403, "device_quarantined"), f"a newcomer is told {problem(answer)}")


@against(38)
async def flood_the_history(target: Target) -> None:
    """As the device that has just been let in, write so many lines that its own login is out of the owner's sight"""
    phone = target.phones[0]
    child = await target.let_in(phone)
    own = child.keys["device"]["id"]
    for number in range(25):
        name = {"name": f"Name {number}"}
        await child.api.http.patch(f"/devices/{own}", json=name, headers=child.headers)
        if number % 2:
            await child.deny((await target.claimed(child)).id)
    lines = (await phone.get("/activity")).json()["activity"]
    logins = [line for line in lines if line["event"] == "device.added" and line["deviceId"] == own]
    demand(bool(logins), "the owner no longer sees the login")
    written = [line for line in lines if line.get("deviceId") == own and line["event"] != "device.added"]
    demand(len(written) <= 20, f"a newcomer wrote {len(written)} lines")
