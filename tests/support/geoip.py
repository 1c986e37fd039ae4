"""Databases in MaxMind's format for tests: a few real public networks, placed anywhere."""

import os
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

# An address, and where the database says it is. Documentation addresses are not global; these are.
ZURICH, SAO_PAULO, BRAZIL, NOWHERE = "9.9.9.9", "8.8.4.4", "2001:4860:4860::8844", "1.1.1.1"


def write(path: Path, **countries: str) -> Path:
    """`CH="Switzerland"` names the country otherwise. Put in place at once, as updaters do."""
    names = {"CH": "Switzerland", "BR": "Brazil"} | countries
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City", languages=["en"])
    for network, code, city in (
        ("9.9.9.0/24", "CH", "Zürich"),
        ("8.8.4.0/24", "BR", "São Paulo"),
        ("2001:4860::/32", "BR", ""),
    ):
        record: dict[str, object] = {"country": {"iso_code": code, "names": {"en": names[code]}}}
        if city:
            record["city"] = {"names": {"en": city}}
        writer.insert_network(IPSet([network]), record)
    fresh = path.with_suffix(".new")
    writer.to_db_file(str(fresh))
    os.replace(fresh, path)
    return path
