"""When servers share their signing keys, and when one of them would refuse what another one signs."""

from dataclasses import dataclass

import msgspec
import pytest

from pairing_ws.adapters.jwt.key_set import KeySet
from pairing_ws.adapters.sql.shared_keys import OVERLAP_MS, Fingerprint
from tests.support.clock import FakeClock


@dataclass
class Keys:
    clock: FakeClock
    first: KeySet

    def rotated(self) -> KeySet:
        self.clock.forward(seconds=86_400)
        return self.first.rotated(self.clock)


@pytest.fixture
def keys() -> Keys:
    clock = FakeClock()
    return Keys(clock, KeySet.new(clock))


def test_servers_with_one_file_share_their_keys_and_those_with_a_file_each_do_not(keys: Keys) -> None:
    mine = Fingerprint.of(keys.first)
    assert mine.accepts(Fingerprint.of(keys.first), keys.clock())
    assert not mine.accepts(Fingerprint.of(KeySet.new(keys.clock)), keys.clock())


def test_a_rotation_or_a_removal_may_take_its_time_to_reach_all_but_not_for_ever(keys: Keys) -> None:
    old, new = Fingerprint.of(keys.first), Fingerprint.of(keys.rotated())
    keys.clock.forward(seconds=86_400)
    removed = Fingerprint.of(keys.first.without(old.ids[0], keys.clock))
    for before, after in ((old, new), (old, removed)):
        soon, later = after.made + OVERLAP_MS - 1, after.made + OVERLAP_MS
        assert before.accepts(after, soon)
        assert after.accepts(before, soon)
        # A copy of the file that nobody has changed since.
        assert not before.accepts(after, later)
        assert not after.accepts(before, later)


def test_servers_that_do_not_share_their_rsa_keys_do_not_share_their_keys(keys: Keys) -> None:
    mine = Fingerprint.of(keys.first)
    later = keys.clock() + OVERLAP_MS
    rsa = keys.first.rsa_keys[0]["kid"]
    other = Fingerprint.of(keys.first.without(rsa, keys.clock))
    without = Fingerprint.of(msgspec.structs.replace(keys.first, rsa_keys=[]))
    for differing in (other, without):
        assert not mine.accepts(differing, later)
        assert not differing.accepts(mine, later)


def test_a_server_of_a_version_without_rsa_shares_its_keys_for_as_long_as_an_upgrade_takes(keys: Keys) -> None:
    mine = Fingerprint.of(keys.first)
    said = msgspec.json.decode(msgspec.json.encode(mine))
    del said["rsa_ids"]
    old = msgspec.convert(said, Fingerprint)
    assert mine.accepts(old, keys.clock() + OVERLAP_MS)


def test_a_fingerprint_tells_nothing_of_the_keys(keys: Keys) -> None:
    said = repr(Fingerprint.of(keys.first))
    assert keys.first.pepper not in said
    assert keys.first.keys[0]["d"] not in said
    assert keys.first.rsa_keys[0]["d"] not in said
