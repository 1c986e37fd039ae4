"""DATABASE_URL in the forms that people have, and what is no such form."""

import pytest

from pairing_ws.config.database_url import DatabaseAddress

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgres://db/pairing", [("db", 5432)]),
        ("postgresql+asyncpg://user:pa%40ss@db.example.com:6432/pairing", [("db.example.com", 6432)]),
        ("postgresql://user@[::1]:6432/pairing", [("::1", 6432)]),
        ("postgresql://user@one,two:6432/pairing", [("one", 5432), ("two", 6432)]),
        ("postgresql://user@/pairing?host=one,two&port=1,2", [("one", 1), ("two", 2)]),
        ("postgresql://user@/pairing?host=one,two&port=6432", [("one", 6432), ("two", 6432)]),
        ("postgresql:///pairing?host=/run/postgresql", [("/run/postgresql", 5432)]),
        ("postgresql://%2FVar%2Frun:6432/pairing", [("/Var/run", 6432)]),
        ("postgresql:///pairing", []),
        ("postgresql:///?service=pairing", []),
        ("postgresql://user@db?dbname=pairing", [("db", 5432)]),
    ],
)
def test_postgresql_is_found_where_libpq_would_find_it(url: str, hosts: list[tuple[str, int]]) -> None:
    address = DatabaseAddress.parse(url)
    assert (list(address.hosts), address.file) == (hosts, None)
    assert address.url.startswith("postgresql://")


@pytest.mark.parametrize(
    ("url", "means"),
    [
        # Heroku Postgres: it takes TLS alone, which `prefer`, the default, finds.
        (
            f"postgres://u1:p{SECRET}@ec2-3-1-2-3.compute-1.amazonaws.com:5432/d1",
            f"postgresql://u1:p{SECRET}@ec2-3-1-2-3.compute-1.amazonaws.com:5432/d1",
        ),
        # Render: inside without a port, outside with TLS.
        (f"postgresql://u:{SECRET}@dpg-abc0def-a/d", f"postgresql://u:{SECRET}@dpg-abc0def-a/d"),
        (
            f"postgresql://u:{SECRET}@dpg-abc0def-a.oregon-postgres.render.com/d?sslmode=require",
            f"postgresql://u:{SECRET}@dpg-abc0def-a.oregon-postgres.render.com/d?sslmode=require",
        ),
        # Fly: its own machines, and the managed service.
        (
            f"postgres://app:{SECRET}@app-db.flycast:5432/app?sslmode=disable",
            f"postgresql://app:{SECRET}@app-db.flycast:5432/app?sslmode=disable",
        ),
        (
            f"postgresql://fly-user:{SECRET}@pgbouncer.abc0def.flympg.net/fly-db",
            f"postgresql://fly-user:{SECRET}@pgbouncer.abc0def.flympg.net/fly-db",
        ),
        # Railway, inside and by its proxy.
        (
            f"postgresql://postgres:{SECRET}@postgres.railway.internal:5432/railway",
            f"postgresql://postgres:{SECRET}@postgres.railway.internal:5432/railway",
        ),
        (
            f"postgresql://postgres:{SECRET}@viaduct.proxy.rlwy.net:48931/railway",
            f"postgresql://postgres:{SECRET}@viaduct.proxy.rlwy.net:48931/railway",
        ),
        # As another program's URL has it.
        (f"postgresql+psycopg2://u:{SECRET}@db/d", f"postgresql://u:{SECRET}@db/d"),
        (f"postgres+asyncpg://u:{SECRET}@db/d?ssl=require", f"postgresql://u:{SECRET}@db/d?sslmode=require"),
        (f"postgres://u:{SECRET}@db/d?ssl=true", f"postgresql://u:{SECRET}@db/d?sslmode=require"),
        (f"postgres://u:{SECRET}@db/d?ssl=true&sslmode=disable", f"postgresql://u:{SECRET}@db/d?sslmode=disable"),
    ],
)
def test_the_url_of_a_platform_or_of_another_program_is_taken_as_it_comes(url: str, means: str) -> None:
    assert DatabaseAddress.parse(url).url == means


def test_of_several_hosts_the_one_that_takes_writes_is_wanted_unless_the_url_says_otherwise() -> None:
    assert "target_session_attrs=read-write" in DatabaseAddress.parse("postgresql://one,two/pairing").url
    assert DatabaseAddress.parse("postgresql://one,two/p?target_session_attrs=any").url.endswith("=any")
    assert "target" not in DatabaseAddress.parse("postgresql://one/pairing").url


def test_what_only_libpq_understands_is_left_out_and_the_rest_is_kept() -> None:
    url = (
        "postgres://db/p?channel_binding=prefer&connect_timeout=10&keepalives=1&sslmode=verify-full&sslrootcert=/a.crt"
    )
    assert DatabaseAddress.parse(url).url == "postgresql://db/p?sslmode=verify-full&sslrootcert=%2Fa.crt"


def test_a_demand_that_the_driver_can_not_meet_is_refused_not_dropped() -> None:
    with pytest.raises(ValueError, match="channel_binding=require"):
        DatabaseAddress.parse("postgres://db/pairing?sslmode=require&channel_binding=require")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pairing.db",
        "mysql://localhost/pairing",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://db",
        "postgresql://db/",
        "postgresql://db:port/pairing",
        "postgresql://db:0/pairing",
        "postgresql://db:65536/pairing",
        "postgresql://one,two/pairing?port=1,2,3",
        "postgresql://db/pairing?sslmode=verify",
        "postgresql://one,,two/pairing",
        "postgresql://[::1/pairing",
        "postgresql://db/pairing?sslmode",
        "postgresql://db/pairing?ssl=yes",
        "postgresql+://db/pairing",
        "postgresql+asyncpg+other://db/pairing",
        "postgresqlx://db/pairing",
    ],
)
def test_anything_else_is_refused_with_the_forms_that_are_understood(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///file or postgresql://"):
        DatabaseAddress.parse(url)


@pytest.mark.parametrize(
    "password", [f"{SECRET}@", f"1{SECRET}/", f"{SECRET}#", f"{SECRET}?", f"{SECRET}[", f"@{SECRET}:1"]
)
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ValueError, match="%XX") as caught:
        DatabaseAddress.parse(f"postgresql://user:{password}@db/pairing")
    assert SECRET not in repr(caught.value)


def test_the_address_does_not_show_its_password() -> None:
    assert SECRET not in repr(DatabaseAddress.parse(f"postgresql://user:{SECRET}@db/pairing"))
