"""What `scripts/bench` compares, and how it judges."""

from pathlib import Path

import pytest

from pairing_ws.config import environment
from pairing_ws.server.worker import server_for


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))


def test_the_bare_server_has_our_servers_settings_but_for_what_we_made_of_uvicorns_protocols() -> None:
    from benchmark.bare import application, configuration

    ours, theirs = vars(server_for(environment.load(port=8000), application).config), vars(configuration(8000))
    # The backlog follows how many descriptors there are on this machine.
    assert {name for name in ours if ours[name] != theirs[name]} - {"backlog"} == {"http", "ws"}


def test_a_row_says_whether_a_number_is_as_it_must_be_and_as_it_should_be() -> None:
    from benchmark.table import Goal

    most, least = Goal(1.05, 0.8), Goal(0.6, 0.8, least=True)
    assert [most.verdict(number) for number in (0.8, 1.05, 1.06)] == ["reach", "yes", "**NO**"]
    assert [least.verdict(number) for number in (0.8, 0.6, 0.59)] == ["reach", "yes", "**NO**"]


def test_a_device_that_heard_of_a_newer_version_has_not_lost_the_older_one() -> None:
    from benchmark.pushes import delays

    sent = [(0, 3, 1.0), (0, 4, 2.0), (1, 3, 1.0), (2, 3, 1.0)]
    heard = [(0, 4, 2.5), (1, 3, 1.25), (2, 2, 0.5)]
    assert delays(sent, heard) == ([1.5, 0.5, 0.25], 1)


def test_versions_are_compared_within_each_turn_since_a_load_lasts_longer_than_one() -> None:
    from benchmark.table import Goal
    from benchmark.versions import compared

    found = compared("P15", "an approval", [100, 400, 90], [200, 500, 100], Goal(0.85))
    assert (found.ours, found.beside, round(found.value, 2)) == ("100", "the other version 200", 0.8)
