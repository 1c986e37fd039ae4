"""`pairing-ws webhook`, and what `doctor` says of webhooks."""

import asyncio
import subprocess
from pathlib import Path

from standardwebhooks import Webhook

from tests.support.receiver import SECRET, receiving
from tests.support.servers import clean_environment, run_cli


async def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = clean_environment() | settings
    return await asyncio.to_thread(run_cli, *arguments, folder=folder, env=env)


async def test_a_secret_is_one_that_the_settings_take_and_another_one_each_time(tmp_path: Path) -> None:
    first, second = await asyncio.gather(*(run(tmp_path, "webhook", "secret") for _ in range(2)))
    assert first.stdout.startswith("whsec_")
    assert first.stdout != second.stdout
    assert Webhook(first.stdout.strip())
    settings = {"PAIRING_WEBHOOK_SECRET": f"{first.stdout.strip()},{second.stdout.strip()}"}
    nowhere = await run(tmp_path, "webhook", "test", **settings)
    assert (nowhere.returncode, nowhere.stderr) == (1, "pairing-ws: PAIRING_WEBHOOK_URL names no receiver\n")


async def test_a_test_says_whether_the_receiver_has_taken_it(tmp_path: Path) -> None:
    async with receiving() as receiver:
        receiver.statuses = [204, 500]
        taken = await run(tmp_path, "webhook", "test", **receiver.env)
        assert (taken.returncode, taken.stdout) == (0, "The receiver has taken it: it answered 204.\n")
        assert (receiver.heard[0].type, receiver.heard[0].data) == ("webhook.test", {})
        failed = await run(tmp_path, "webhook", "test", **receiver.env)
        assert (failed.returncode, failed.stdout) == (1, "The receiver has not taken it: it answered 500.\n")


async def test_doctor_says_where_nothing_can_be_sent_and_what_waits(tmp_path: Path) -> None:
    settings = {"PAIRING_WEBHOOK_URL": "https://127.0.0.1/hooks?key=1", "PAIRING_WEBHOOK_SECRET": SECRET}
    invited = await run(tmp_path, "invite", "alice", "--json", **settings)
    assert invited.returncode == 0, invited.stderr
    assert (await run(tmp_path, "user", "lock", "alice", **settings)).returncode == 0
    checked = await run(tmp_path, "doctor", **settings)
    assert checked.returncode == 0, checked.stderr
    assert "warning  PAIRING_WEBHOOK_URL is no public address: nothing is sent there unless" in checked.stdout
    assert "warning  webhooks: 1 wait, the oldest since 20" in checked.stdout
    assert "key=1" not in checked.stdout + checked.stderr
