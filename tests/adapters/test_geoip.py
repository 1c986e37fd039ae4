"""Places from a database file: what is known of an address, a file that is replaced, and files that are none."""

import os
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from pairing_ws.adapters.geoip import LOOK_MS, GeoIpFile, GeoIpFileError
from pairing_ws.core.network import Place
from tests.support import geoip
from tests.support.clock import FakeClock

ZURICH = Place(country_code="CH", country="Switzerland", city="Zürich")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return geoip.write(tmp_path / "places.mmdb")


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        (geoip.ZURICH, ZURICH),
        (f"::ffff:{geoip.ZURICH}", ZURICH),
        (geoip.BRAZIL, Place(country_code="BR", country="Brazil")),
        *((ip, None) for ip in (geoip.NOWHERE, "127.0.0.1", "::1", "", "unknown", "fe80::1%eth0")),
    ],
)
def test_an_address_has_the_place_that_the_database_says_or_none(file: Path, ip: str, place: Place | None) -> None:
    assert GeoIpFile(file, FakeClock()).of(ip) == place


@pytest.mark.parametrize(
    "record",
    ["text", {"country": "CH"}, {"country": {"names": ["Switzerland"]}}, {"city": {"names": {"en": 7}}}, {"asn": 1}],
)
def test_a_record_of_another_shape_is_no_place(tmp_path: Path, record: Any) -> None:
    writer = MMDBWriter(ip_version=4, database_type="Other", languages=["en"])
    writer.insert_network(IPSet(["9.9.9.0/24"]), record)
    writer.to_db_file(str(tmp_path / "other.mmdb"))
    places = GeoIpFile(tmp_path / "other.mmdb", FakeClock())
    assert places.of(geoip.ZURICH) is None
    # It knows IPv4 alone.
    assert places.of(geoip.BRAZIL) is None


def test_a_replaced_file_is_read_again(file: Path) -> None:
    clock = FakeClock()
    places = GeoIpFile(file, clock)
    geoip.write(file, CH="Suisse")
    clock.forward(ms=LOOK_MS)
    found = places.of(geoip.ZURICH)
    assert found is not None
    assert found.country == "Suisse"


@pytest.mark.parametrize("how", ["cut in place", "replaced by text", "empty", "gone", "unreadable tree"])
def test_a_file_that_breaks_later_leaves_what_was_read_before_and_is_read_once_it_is_good_again(
    file: Path, how: str
) -> None:
    clock = FakeClock()
    places = GeoIpFile(file, clock)
    whole = file.read_bytes()
    if how == "cut in place":
        os.truncate(file, len(whole) // 2)
    elif how == "gone":
        file.unlink()
    else:
        broken = {"replaced by text": b"no database", "empty": b"", "unreadable tree": whole[len(whole) // 2 :]}[how]
        file.write_bytes(broken)
    for _ in range(2):
        clock.forward(ms=LOOK_MS)
        assert places.of(geoip.ZURICH) == ZURICH
    geoip.write(file, CH="Svizzera")
    clock.forward(ms=LOOK_MS)
    found = places.of(geoip.ZURICH)
    assert found is not None
    assert found.country == "Svizzera"


@pytest.mark.parametrize("content", [b"", b"text", b"\xab\xcd\xefMaxMind.com", b"\xab\xcd\xefMaxMind.com\xe0", None])
def test_a_start_with_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GeoIpFileError, match=r"broken\.mmdb"):
        GeoIpFile(path, FakeClock())
