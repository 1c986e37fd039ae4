"""The client's login flow: the steps that a page draws, against a running server."""

from pathlib import Path

from tests.client.conftest import WITH_SOCKETS, let_in, new_device
from tests.support.client import Phone
from tests.support.servers import Server


async def test_a_scanned_code_leads_to_a_login_step_by_step(tmp_path: Path, server: Server, phone: Phone) -> None:
    async with new_device(tmp_path, server, "flow", *WITH_SOCKETS) as program:
        shown = await program.until(step="shown", text=...)
        assert shown["text"] == shown["pairing"]["qr"]["text"]
        assert shown["userCode"] == shown["pairing"]["userCode"]
        assert (await phone.claim(shown["pairing"])).json()["newDevice"]["reported"]["name"] == "Node"
        await program.until(step="scanned")
        await phone.approve(shown["pairing"]["id"])
        await program.until(step="logging-in")
        login = (await program.until(step="logged-in"))["login"]
    assert login["user"] == phone.keys["user"]


async def test_a_wrong_number_may_be_typed_again_and_the_right_one_logs_in(
    tmp_path: Path, server: Server, phone: Phone
) -> None:
    async with new_device(tmp_path, server, "flow", *WITH_SOCKETS) as program:
        shown = await program.until(step="shown", text=...)
        await phone.post("/pairings/claim", {"userCode": shown["userCode"]})
        number = (await phone.approve(shown["pairing"]["id"])).json()["number"]
        await program.until(step="number")
        program.tell(f"{(int(number) + 1) % 1000:03}")
        assert (await program.until(step="number", error="number_mismatch"))["attemptsLeft"] == 2
        program.tell(number)
        await program.until(step="logged-in")


async def test_three_wrong_numbers_end_it_and_it_can_be_started_again(
    tmp_path: Path, server: Server, phone: Phone
) -> None:
    async with new_device(tmp_path, server, "flow", *WITH_SOCKETS) as program:
        shown = await program.until(step="shown", text=...)
        await phone.post("/pairings/claim", {"userCode": shown["userCode"]})
        number = (await phone.approve(shown["pairing"]["id"])).json()["number"]
        await program.until(step="number")
        # The same one again would be a repeated call, and count once.
        wrong = [f"{(int(number) + more) % 1000:03}" for more in (1, 2, 3)]
        for each, left in zip(wrong[:2], (2, 1), strict=True):
            program.tell(each)
            await program.until(step="number", attemptsLeft=left)
        program.tell(wrong[2])
        assert (await program.until(step="ended"))["outcome"] == "denied"
        program.tell("start")
        again = await program.until(step="shown", text=...)
        await let_in(phone, again["pairing"])
        await program.until(step="logged-in")


async def test_a_denial_ends_it_and_a_stop_takes_the_code_back(tmp_path: Path, server: Server, phone: Phone) -> None:
    async with new_device(tmp_path, server, "flow", *WITH_SOCKETS) as program:
        shown = await program.until(step="shown", text=...)
        await phone.claim(shown["pairing"])
        await phone.deny(shown["pairing"]["id"])
        assert (await program.until(step="ended"))["outcome"] == "denied"
        program.tell("start")
        again = await program.until(step="shown", text=...)
        program.tell("stop")
        await program.until(done="stop")
        assert (await phone.claim(again["pairing"])).json()["code"] == "pairing_cancelled"
