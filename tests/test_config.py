"""The settings: their defaults, and how wrong or insecure ones stop the start."""

import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from pairing_ws.config.environment import environment_name, file_variable, is_secret, load, unknown_variables
from pairing_ws.config.forward_auth import groups_by_host
from pairing_ws.config.redis_url import RedisAddress, TlsOptions
from pairing_ws.config.settings import Settings
from pairing_ws.config.values import SettingsError
from pairing_ws.config.warnings import warnings
from tests.support.admin import ADMIN_KEY, OTHER_KEY

Set = Callable[..., None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Sets variables; none of the machine's own is left."""
    for name in list(os.environ):
        if name.startswith(("PAIRING_", "REDIS_URL", "DATABASE_URL")) or name in ("PORT", "WEB_CONCURRENCY"):
            monkeypatch.delenv(name)

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def complaint(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    return str(caught.value)


def test_the_defaults_are_the_contracts() -> None:
    settings = load()
    assert (settings.redis_url, settings.database_url) == (None, "sqlite:///pairing.db")
    assert (settings.port, settings.workers, settings.public_url) == (8000, 1, "http://localhost:8000")
    assert (settings.ttl_seconds, settings.redeem_seconds, settings.verify) == (120, 60, "remote")
    assert (settings.auth_key_seconds, settings.quarantine_seconds) == (600, 3600)
    assert (settings.refresh_key_seconds, settings.session_seconds) == (30 * 86_400, 365 * 86_400)
    assert settings.signing_key_file == Path("pairing-keys.json")
    assert settings.allowed_origins == ("http://localhost:8000",)
    assert settings.trusted_proxies == ()
    assert (settings.fcm_credentials_file, settings.geoip_file) == (None, None)
    assert settings.network_policy == "warn"
    assert (settings.limit_create, settings.limit_claim, settings.limit_user_code, settings.limit_refresh) == (
        "120/minute", "60/minute", "10/hour", "60/minute",
    )  # fmt: skip
    assert (settings.limit_sockets, settings.limit_all_sockets) == (1000, 50_000)
    assert (settings.limit_pairings, settings.limit_devices) == (100_000, 20)


SECRET = "whsec_" + 32 * "A"


def test_webhooks_are_off_and_need_an_address_and_a_secret(environment: Set) -> None:
    assert (load().webhook_url, load().webhook_secret) == ("", ())
    # To the letter.
    url = "https://App.example.com/hooks/?key=1"
    settings = load(webhook_url=url, webhook_secret=f"{SECRET},{SECRET}")
    assert (settings.webhook_url, settings.webhook_secret) == (url, (SECRET, SECRET))
    assert "PAIRING_WEBHOOK_SECRET" in complaint(webhook_url=url)
    environment(PAIRING_WEBHOOK_SECRET="whsec_" + "secret" * 3)
    said = complaint(webhook_url=url)
    assert said.startswith("PAIRING_WEBHOOK_SECRET should be whsec_ and 24 to 64 random bytes")
    assert "secretsecret" not in said
    environment(PAIRING_WEBHOOK_SECRET=SECRET)
    assert SECRET not in repr(load())
    assert any("PAIRING_WEBHOOK_URL names no receiver" in each for each in warnings(load()))


@pytest.mark.security(31, 52)
@pytest.mark.parametrize(
    "url",
    [
        "app.example.com/hooks", "ftp://app.example.com/", "https://user:password@app.example.com/", "https:///hooks",
        "https://app.example.com/#here", "https://app.example.com/a b", "https://app.example.com:0/",
        "https://app.example.com:port/", "https://app.example.com/\n", "https://äpp.example.com/",
        "http://app.example.com/hooks", "http://127.0.0.1/hooks",
    ],
)  # fmt: skip
def test_a_receiver_of_webhooks_has_an_https_address_without_user_and_fragment(url: str) -> None:
    said = complaint(webhook_url=url, webhook_secret=SECRET)
    assert said.startswith("PAIRING_WEBHOOK_URL should be")
    assert "password" not in said


def test_a_receiver_nearby_may_do_without_tls() -> None:
    url = "http://127.0.0.1:9000/hooks"
    assert load(webhook_url=url, webhook_secret=SECRET, allow_private_targets=True).webhook_url == url


def test_settings_come_from_the_environment_and_the_command_line_wins(environment: Set) -> None:
    environment(PORT="9000", pairing_ttl_seconds="30", PAIRING_VERIFY="always", WEB_CONCURRENCY="")
    settings = load(port=9001, workers=None)
    assert (settings.port, settings.ttl_seconds, settings.verify, settings.workers) == (9001, 30, "always", 1)
    assert settings.public_url == "http://localhost:9001"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://localhost"),
        ("REDIS_URL", "redis://:password@host:6380/15"),
        ("REDIS_URL", "rediss://user:p%40ss@[::1]:6380"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("REDIS_URL", "rediss://host:6380/0?ssl_ca_certs=/etc/ca.crt&ssl_check_hostname=no"),
        ("REDIS_URL", "valkeys://user:password@host"),
        ("REDIS_URL", "redis+sentinel://:password@one:26379,two,[::1]:26380/main/3?sentinel_password=other"),
        ("REDIS_URL", "rediss+cluster://user:password@one:7000,two:7001"),
        ("DATABASE_URL", "sqlite:////var/lib/pairing.db"),
        ("DATABASE_URL", "postgres://user:password@host:5432/pairing"),
        ("DATABASE_URL", "postgresql+asyncpg:///pairing?host=/run/postgresql"),
        ("PAIRING_PUBLIC_URL", "http://[::1]:8000"),
        ("PAIRING_FCM_URL", "http://127.0.0.1:9099"),
    ],
)
def test_an_address_in_any_of_its_usual_forms_is_taken_as_it_is(environment: Set, name: str, value: str) -> None:
    environment(**{name: value})
    settings = load()
    assert value in (settings.redis_url, settings.database_url, settings.public_url, settings.fcm_url)


def test_lists_are_separated_by_commas(environment: Set) -> None:
    environment(
        PAIRING_ALLOWED_ORIGINS="https://a.example, https://b.example:8443,",
        PAIRING_TRUSTED_PROXIES="10.0.0.0/8,::1",
    )
    settings = load()
    # The pages of the product itself are never shut out.
    assert settings.allowed_origins == (settings.public_origin, "https://a.example", "https://b.example:8443")
    assert [str(each) for each in settings.proxies] == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    "name", ["CREATE", "CLAIM", "USER_CODE", "NUMBER", "REFRESH", "SOCKETS", "PAIRINGS", "DEVICES"]
)
def test_every_limit_is_turned_off_by_zero(environment: Set, name: str) -> None:
    environment(**{f"PAIRING_LIMIT_{name}": "0"})
    assert getattr(load(), f"limit_{name.lower()}") in ("0", 0)


def test_options_of_the_url_go_before_the_settings_for_the_tls_of_redis() -> None:
    said = RedisAddress.parse("rediss://host?ssl_ca_certs=/a.crt&ssl_cert_reqs=optional&ssl_check_hostname=yes")
    assert said.trusting(Path("/b.crt"), verified=False).tls == said.tls == TlsOptions("/a.crt", "optional", True)
    platforms = RedisAddress.parse("rediss://host")
    assert platforms.trusting(None, verified=True).tls == TlsOptions()
    assert platforms.trusting(Path("/b.crt"), verified=False).tls == TlsOptions("/b.crt", "none", False)
    assert RedisAddress.parse("redis://host").trusting(Path("/b.crt"), verified=False).tls is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:p%40ss@host/3", ("user", "p@ss", 3)),
        ("redis://:p%2Fss@host", ("", "p/ss", 0)),
        ("redis://host/1?db=2&username=u&password=p%2520", ("u", "p%20", 2)),
        ("redis+sentinel://:one@a,b/main/4?sentinel_password=two", ("", "one", 4)),
        ("unix://:pass@/run/my%20redis.sock?db=1", ("", "pass", 1)),
    ],
)
def test_the_credentials_and_the_database_of_a_redis_are_read_from_its_url(
    url: str, expected: tuple[str, str, int]
) -> None:
    address = RedisAddress.parse(url)
    assert (address.username, address.password, address.database) == expected
    assert address.tls is None
    assert address.path == ("/run/my redis.sock" if url.startswith("unix") else "")


def test_an_option_that_only_redis_py_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="redis://"):
        RedisAddress.parse("rediss://host?ssl_exclude_verify_flags=VERIFY_X509_STRICT")


WRONG = [
    ("REDIS_URL", "localhost:6379", "redis://"),
    ("REDIS_URL", "rediss://localhost?ssl_cert_reqs=maybe", "none, optional or required"),
    ("REDIS_URL", "rediss://localhost?ssl_cert_req=none", "not known here: ssl_cert_req; there are db, "),
    ("REDIS_URL", "redis://localhost?sentinel_password=y", "options for Sentinel"),
    ("PAIRING_REDIS_CA_FILE", "/nowhere/authority.pem", "file"),
    ("PAIRING_REDIS_TLS_VERIFY", "sometimes", "valid boolean"),
    ("PAIRING_ALLOW_PRIVATE_TARGETS", "10.0.0.0/8", "valid boolean"),
    ("PAIRING_LOGIN_HOOK_URL", "https://app.example.com/hook", "needs PAIRING_LOGIN_HOOK_SECRET"),
    ("PAIRING_LOGIN_HOOK_URL", "app.example.com", "https://"),
    ("PAIRING_LOGIN_HOOK_SECRET", "password", "whsec_"),
    ("PAIRING_WEBHOOK_URL", "app.example.com/hooks", "https address"),
    ("PAIRING_WEBHOOK_SECRET", "whsec_secret", "24 to 64 random bytes"),
    ("DATABASE_URL", "sqlite:///pairing.db?mod=ro", "not known for SQLite: mod"),
    ("DATABASE_URL", "postgresql://u@h/d?sslmode=always", "none of allow, disable"),
    ("REDIS_URL", "http://localhost", "redis://"),
    ("REDIS_URL", "redis://localhost:port/0", "redis://"),
    ("REDIS_URL", "redis://localhost:70000/0", "redis://"),
    ("REDIS_URL", "redis://localhost/zero", "redis://"),
    ("REDIS_URL", "redis://one,two/0", "redis+cluster://"),
    ("REDIS_URL", "redis+sentinel://one,two", "redis+sentinel://"),
    ("REDIS_URL", "redis+cluster://one/1", "redis+cluster://"),
    ("REDIS_URL", "unix+cluster:///run/redis.sock", "redis+cluster://"),
    ("REDIS_URL", "redis://localhost?retry_on_timeout=yes", "redis://"),
    ("REDIS_URL", "redis://localhost?sentinel_password=x", "redis://"),
    ("DATABASE_URL", "pairing.db", "sqlite:///"),
    ("DATABASE_URL", "sqlite://", "sqlite:///"),
    ("DATABASE_URL", "sqlite:///:memory:", "sqlite:///"),
    ("DATABASE_URL", "mysql://localhost/pairing", "postgresql://"),
    ("DATABASE_URL", "postgresql://localhost:port/pairing", "postgresql://"),
    ("PORT", "http", "integer"),
    ("PORT", "0", "1 to 65535"),
    ("PORT", "65536", "1 to 65535"),
    ("WEB_CONCURRENCY", "0", "at least 1"),
    ("WEB_CONCURRENCY", "many", "integer"),
    ("WEB_CONCURRENCY", "2", "REDIS_URL"),
    ("PAIRING_PUBLIC_URL", "login.example.com", "https://"),
    ("PAIRING_PUBLIC_URL", "ftp://login.example.com", "https://"),
    ("PAIRING_PUBLIC_URL", "https://", "https://"),
    ("PAIRING_PUBLIC_URL", "https://login.example.com/?a=b", "https://"),
    ("PAIRING_PUBLIC_URL", "https://login.example.com/#a", "https://"),
    ("PAIRING_PUBLIC_URL", "https://login.example.com:port", "https://"),
    ("PAIRING_PUBLIC_URL", "https://[::1", "https://"),
    ("PAIRING_PUBLIC_URL", "https://user:password@login.example.com", "https://"),
    ("PAIRING_PUBLIC_URL", "https://*.example.com", "https://"),
    ("PAIRING_TTL_SECONDS", "9", "10"),
    ("PAIRING_TTL_SECONDS", "3601", "3600"),
    ("PAIRING_TTL_SECONDS", "2m", "integer"),
    ("PAIRING_REDEEM_SECONDS", "-1", "10"),
    ("PAIRING_DEVICE_GRANT_SECONDS", "59", "60"),
    ("PAIRING_VERIFY", "sometimes", "'always'"),
    ("PAIRING_QR_ROTATE_SECONDS", "-1", "0"),
    ("PAIRING_QR_ROTATE_SECONDS", "2", "3 to 60"),
    ("PAIRING_QR_ROTATE_SECONDS", "61", "60"),
    ("PAIRING_AUTH_KEY_SECONDS", "0", "1"),
    ("PAIRING_AUTH_KEY_SECONDS", "86401", "86400"),
    ("PAIRING_REFRESH_KEY_SECONDS", "59", "60"),
    ("PAIRING_SESSION_SECONDS", "0", "60"),
    ("PAIRING_REFRESH_REPEAT_SECONDS", "-1", ""),
    ("PAIRING_LOG_FORMAT", "xml", "json"),
    ("PAIRING_LOG_LEVEL", "loud", "warning"),
    ("PAIRING_QUARANTINE_SECONDS", "-1", "0"),
    ("PAIRING_STEP_UP_SECONDS", "-1", "0"),
    ("PAIRING_STEP_UP_SECONDS", "86401", "86400"),
    ("PAIRING_HOST_KEY_FILE", "/nowhere/host.pem", "file"),
    ("PAIRING_ALLOWED_ORIGINS", "*", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://*.example.com", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://a.example,*", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "null", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "a.example", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://a.example/", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://A.example", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://a.example:443", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://user@a.example", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "https://a.example,null", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "capacitor://localhost/", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "capacitor://*", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "chrome-extension://", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "*://localhost", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "app://user@host", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "app://host?x", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "App://host", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "file://", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "file://localhost", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "wss://a.example", "exact origins"),
    ("PAIRING_ALLOWED_ORIGINS", "data:text", "exact origins"),
    ("PAIRING_TRUSTED_PROXIES", "proxy", "networks"),
    ("PAIRING_TRUSTED_PROXIES", "10.0.0.0/33", "networks"),
    ("PAIRING_METRICS", "yes", "'private'"),
    ("PAIRING_FCM_CREDENTIALS_FILE", "/nowhere/account.json", "file"),
    ("PAIRING_FCM_URL", "fcm.googleapis.com", "https://"),
    ("PAIRING_VAPID_SUBJECT", "ops@example.com", "mailto:"),
    ("PAIRING_VAPID_SUBJECT", "http://example.com", "https://"),
    ("PAIRING_NETWORK_POLICY", "refuse", "'deny'"),
    ("PAIRING_ALLOW_PRIVATE_TARGETS", "sometimes", "valid boolean"),
    ("PAIRING_UPSTREAM_ISSUER", "id.example.com", "https://id.example.com"),
    ("PAIRING_UPSTREAM_OPENS_ACCOUNTS", "sometimes", "valid boolean"),
    ("PAIRING_TRUSTED_ISSUERS", "https://id.example.com", "JSON array"),
    ("PAIRING_GEOIP_FILE", "/nowhere/places.mmdb", "file"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "https://wiki.example.com", "such as wiki.example.com"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "Wiki.example.com", "in small letters"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "a b", "such as wiki.example.com"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "wiki.example.com=", "wiki.example.com=GROUP"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "=staff", "such as wiki.example.com"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "wiki.example.com=staff, wiki.example.com", "with a group and without"),
    ("PAIRING_FORWARD_AUTH_HOSTS", "wiki.example.com", "needs PAIRING_TRUSTED_PROXIES"),
    ("PAIRING_LIMIT_CREATE", "lots", "120/minute"),
    ("PAIRING_LIMIT_CREATE", "-1/minute", "120/minute"),
    ("PAIRING_LIMIT_CREATE", "0/minute", "120/minute"),
    ("PAIRING_LIMIT_CLAIM", "60", "120/minute"),
    ("PAIRING_LIMIT_USER_CODE", "10/fortnight", "120/minute"),
    ("PAIRING_LIMIT_NUMBER", "x", "120/minute"),
    ("PAIRING_LIMIT_REFRESH", "x", "120/minute"),
    ("PAIRING_LIMIT_AUTHORIZE", "x", "120/minute"),
    ("PAIRING_LIMIT_OAUTH", "x", "120/minute"),
    ("PAIRING_LIMIT_CLIENT", "x", "120/minute"),
    ("PAIRING_LIMIT_CLIENT_FAILURE", "x", "120/minute"),
    ("PAIRING_LIMIT_ADMIN", "x", "120/minute"),
    ("PAIRING_LIMIT_ADMIN_FAILURE", "x", "120/minute"),
    ("PAIRING_ADMIN_KEY", "hunter2", "at least 128 bits"),
    ("PAIRING_ADMIN_KEY", "x" * 43, "at least 128 bits"),
    ("PAIRING_ADMIN_KEY", "0123456789abcdef0123456789abcde", "at least 128 bits"),
    ("PAIRING_ADMIN_KEY", f"{ADMIN_KEY[:21]}", "at least 128 bits"),
    ("PAIRING_ADMIN_KEY", f"{ADMIN_KEY} {OTHER_KEY}", "at least 128 bits"),
    ("PAIRING_ADMIN_KEY", f"{ADMIN_KEY}\nshort", "at least 128 bits"),
    ("PAIRING_ADMIN_KEY", f"{ADMIN_KEY}\n{ADMIN_KEY}", "two different ones"),
    ("PAIRING_ADMIN_KEY", f"{ADMIN_KEY}\n{OTHER_KEY}\n{OTHER_KEY[::-1]}", "two different ones"),
    ("PAIRING_LIMIT_APPS", "-1", "greater than or equal to 0"),
    ("PAIRING_LIMIT_SOCKETS", "-1", "0"),
    ("PAIRING_LIMIT_CONNECTIONS", "-1", "0"),
    ("PAIRING_LIMIT_ALL_CONNECTIONS", "all", "integer"),
    ("PAIRING_LIMIT_ALL_SOCKETS", "-1", "0"),
    ("PAIRING_LIMIT_PAIRINGS", "many", "integer"),
    ("PAIRING_LIMIT_DEVICES", "1.5", "integer"),
]


@pytest.mark.security(31)
@pytest.mark.parametrize(("name", "value", "should"), WRONG)
def test_a_wrong_setting_stops_with_its_name_and_what_it_should_be(
    environment: Set, name: str, value: str, should: str
) -> None:
    environment(**{name: value})
    text = complaint()
    assert text.startswith(name)
    assert should in text
    assert "\n" not in text


@pytest.mark.security(31)
def test_a_login_hook_is_at_an_https_address_or_nearby(environment: Set) -> None:
    secret = "whsec_" + "A" * 43 + "="
    environment(PAIRING_LOGIN_HOOK_URL="http://app.example.com/hook", PAIRING_LOGIN_HOOK_SECRET=secret)
    assert complaint().startswith("PAIRING_LOGIN_HOOK_URL should be https")
    assert secret not in complaint()
    environment(PAIRING_ALLOW_PRIVATE_TARGETS="true")
    assert load().login_hook_secret == (secret,)


@pytest.mark.security(31)
def test_a_picture_rotates_only_where_pages_can_reckon_and_the_typed_code_needs_a_number(environment: Set) -> None:
    assert load().qr_rotate_seconds == 0
    for seconds in ("0", "3", "5", "60"):
        environment(PAIRING_QR_ROTATE_SECONDS=seconds)
        assert load().qr_rotate_seconds == int(seconds)
    environment(PAIRING_PUBLIC_URL="http://192.168.1.2:8000")
    assert "https" in complaint(demo=True)
    environment(PAIRING_PUBLIC_URL="https://login.example.com", PAIRING_VERIFY="never")
    assert "PAIRING_VERIFY=remote or always" in complaint()
    environment(PAIRING_VERIFY="always")
    assert load().qr_rotate_seconds == 60


@pytest.mark.security(34)
@pytest.mark.parametrize(
    ("descriptors", "settings", "connections", "sockets"),
    [
        (1024, {}, (682, 341), (511, 341)),
        (256, {}, (170, 85), (127, 85)),
        (4096, {}, (3328, 1000), (3128, 1000)),
        (20_000, {}, (19_232, 1000), (19_032, 1000)),
        (1024, {"limit_all_connections": 100}, (100, 50), (75, 50)),
        (1024, {"limit_connections": 0, "limit_sockets": 0}, (682, 0), (511, 0)),
        (1024, {"limit_connections": 7, "limit_sockets": 8, "limit_all_sockets": 9}, (682, 7), (9, 8)),
    ],
)
def test_connections_are_bounded_below_the_limit_of_descriptors(
    descriptors: int, settings: dict[str, int], connections: tuple[int, int], sockets: tuple[int, int]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    given = Settings(**settings)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        assert (given.most_connections, given.most_sockets) == (connections, sockets)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_every_setting_that_can_be_wrong_is_in_the_list_above() -> None:
    # A path for keys, and their value, can be anything; whether it can be used shows when it is.
    free = {"PAIRING_SIGNING_KEY_FILE", "PAIRING_SIGNING_KEYS", "PAIRING_VAPID_PRIVATE_KEY"}
    # What another server calls this one, and people that one.
    free |= {f"PAIRING_UPSTREAM_{each}" for each in ("CLIENT_ID", "CLIENT_SECRET", "NAME")}
    settings = {environment_name(name) for name, field in Settings.model_fields.items() if not field.exclude}
    assert {name for name, _, _ in WRONG} == settings - free


def test_several_wrong_settings_are_told_at_once_one_a_line(environment: Set) -> None:
    environment(PORT="http", PAIRING_TTL_SECONDS="9", PAIRING_LIMIT_CLAIM="x")
    lines = complaint().splitlines()
    assert [line.split()[0] for line in lines] == ["PORT", "PAIRING_TTL_SECONDS", "PAIRING_LIMIT_CLAIM"]


PASSWORD = "hunter2-not-to-be-seen"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", f"http://:{PASSWORD}@localhost:6379/0"),
        ("REDIS_URL", f"redis://:{PASSWORD}@localhost:port/0"),
        ("REDIS_URL", f"redis://user:{PASSWORD}@[::1/0"),
        ("REDIS_URL", PASSWORD),
        ("REDIS_URL", f"redis+sentinel://:{PASSWORD}@one,two:port/main"),
        ("DATABASE_URL", f"mysql://user:{PASSWORD}@localhost/pairing"),
        ("DATABASE_URL", f"postgresql://user:{PASSWORD}@localhost:port/pairing"),
        ("DATABASE_URL", f"://user:{PASSWORD}@"),
        ("PAIRING_PUBLIC_URL", f"https://user:{PASSWORD}@login.example.com"),
    ],
)
def test_a_password_in_an_address_is_never_printed(environment: Set, name: str, value: str) -> None:
    environment(**{name: value})
    assert PASSWORD not in complaint()
    assert PASSWORD not in repr(complaint())


def test_a_password_is_not_in_a_settings_own_picture_of_itself(environment: Set) -> None:
    environment(REDIS_URL=f"redis://:{PASSWORD}@localhost/0", DATABASE_URL=f"postgresql://u:{PASSWORD}@localhost/p")
    settings = load()
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings)


# Secrets from files

SECRETS = {
    "REDIS_URL": f"rediss://:{PASSWORD}@redis.example.com:6380",
    "DATABASE_URL": f"postgres://pairing:{PASSWORD}@db.example.com/pairing",
    "PAIRING_UPSTREAM_CLIENT_SECRET": PASSWORD,
    "PAIRING_TRUSTED_ISSUERS": f'[{{"issuer": "https://id.example.com", "audience": "{PASSWORD}"}}]',
    "PAIRING_SIGNING_KEYS": f'{{"keys": [], "pepper": "{PASSWORD}"}}',
    "PAIRING_ADMIN_KEY": f"{ADMIN_KEY}\n{OTHER_KEY}",
    "PAIRING_VAPID_PRIVATE_KEY": PASSWORD,
    "PAIRING_LOGIN_HOOK_SECRET": "whsec_" + "A" * 43 + "=",
    "PAIRING_WEBHOOK_SECRET": f"whsec_{PASSWORD.replace('-', '/'):A<32}",
}


def from_file(environment: Set, tmp_path: Path, name: str, content: bytes | str) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    environment(**{f"{name}_FILE": str(file)})


def given(name: str) -> object:
    value = getattr(load(), name.removeprefix("PAIRING_").lower())
    # Of some there may be several.
    return ",".join(value) if isinstance(value, tuple) else value


def test_every_secret_setting_is_in_the_table_above_and_no_other_setting_takes_a_file(environment: Set) -> None:
    fields = {name for name in Settings.model_fields if is_secret(name)}
    assert {environment_name(name) for name in fields} == SECRETS.keys()
    assert {file_variable(name) for name in fields} == {f"{name}_FILE" for name in SECRETS}
    # Whatever is called so is one: it would be in pictures of the settings else.
    named = re.compile(r"password|secret|token|(?<!_signing)_keys?$|^(redis|database)_url$")
    assert {name for name in Settings.model_fields if named.search(name)} <= fields
    environment(PAIRING_PUBLIC_URL_FILE="/etc/hostname")
    assert unknown_variables() == ["PAIRING_PUBLIC_URL_FILE"]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_secret_is_read_from_its_file_without_a_newline_at_the_end(
    environment: Set, tmp_path: Path, name: str, end: str
) -> None:
    from_file(environment, tmp_path, name, SECRETS[name] + end)
    assert given(name) == SECRETS[name]
    assert unknown_variables() == []
    assert PASSWORD not in repr(load())


@pytest.mark.parametrize("end", ["\n", " ", "\r"])
def test_no_more_than_one_newline_is_taken_from_a_file(environment: Set, tmp_path: Path, end: str) -> None:
    from_file(environment, tmp_path, "PAIRING_SIGNING_KEYS", f"{SECRETS['PAIRING_SIGNING_KEYS']}{end}\n")
    assert given("PAIRING_SIGNING_KEYS") == SECRETS["PAIRING_SIGNING_KEYS"] + end


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_twice_is_refused_even_if_both_say_the_same(environment: Set, tmp_path: Path, name: str) -> None:
    from_file(environment, tmp_path, name, SECRETS[name])
    environment(**{name: SECRETS[name]})
    assert complaint() == f"{name} and {name}_FILE are both set; unset one of them"


@pytest.mark.parametrize("name", SECRETS)
def test_an_empty_variable_beside_the_file_of_a_secret_is_as_good_as_none(
    environment: Set, tmp_path: Path, name: str
) -> None:
    from_file(environment, tmp_path, name, SECRETS[name])
    environment(**{name: ""})
    assert given(name) == SECRETS[name]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "this one is empty"),
        (b"\n", "this one is empty"),
        (f"{PASSWORD}\xff".encode("latin-1"), "UTF-8"),
        (PASSWORD.encode() * 10_000, "more than 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_by_its_variable_and_not_quoted(
    environment: Set, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    from_file(environment, tmp_path, name, content)
    text = complaint()
    assert text.startswith(f"{name}_FILE should be a file")
    assert why in text
    assert PASSWORD not in text


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("path", "why"),
    [
        # The secret itself, where the name of its file should be.
        (PASSWORD, "No such file or directory"),
        (PASSWORD * 1000, "File name too long"),
        ("/", "Is a directory"),
        ("/etc/passwd/secret", "Not a directory"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused_by_its_variable_alone(
    environment: Set, name: str, path: str, why: str
) -> None:
    environment(**{f"{name}_FILE": path})
    assert complaint() == f"{name}_FILE should be a file that can be read ({why})"


def test_every_file_that_can_not_be_read_is_told_at_once(environment: Set) -> None:
    environment(**{f"{name}_FILE": "/nowhere" for name in SECRETS})
    assert [line.split()[0] for line in complaint().splitlines()] == [f"{name}_FILE" for name in SECRETS]


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_an_address_from_a_file_that_is_none_is_refused_with_both_names(
    environment: Set, tmp_path: Path, name: str
) -> None:
    from_file(environment, tmp_path, name, f"mysql://u:{PASSWORD}@h/d")
    text = complaint()
    assert text.startswith(f"{name} (from {name}_FILE) should be ")
    assert PASSWORD not in text


def test_the_command_line_goes_before_a_file(environment: Set, tmp_path: Path) -> None:
    from_file(environment, tmp_path, "DATABASE_URL", SECRETS["DATABASE_URL"])
    assert load(database_url="sqlite:///other.db").database_url == "sqlite:///other.db"


# Addresses as platforms set them

FROM_PLATFORMS = [
    # Heroku Key-Value Store, and what its older plans set.
    (f"rediss://:{PASSWORD}@ec2-3-1-2-3.compute-1.amazonaws.com:12540", "", 12540, True),
    (f"redis://:{PASSWORD}@ec2-3-1-2-3.compute-1.amazonaws.com:12539", "", 12539, False),
    # Render: inside without a password, or by its instance's name; outside with TLS.
    ("redis://red-abc0def:6379", "", 6379, False),
    (f"redis://red-abc0def:{PASSWORD}@red-abc0def:6379", "red-abc0def", 6379, False),
    (f"rediss://red-abc0def:{PASSWORD}@oregon-keyvalue.render.com:6379", "red-abc0def", 6379, True),
    # Fly (Upstash), and Redis in a machine of one's own there, by IPv6.
    (f"redis://default:{PASSWORD}@fly-app-redis.upstash.io:6379", "default", 6379, False),
    (f"rediss://default:{PASSWORD}@fly-app-redis.upstash.io:6379", "default", 6379, True),
    (f"redis://default:{PASSWORD}@top1.nearest.of.app-redis.internal:6379/0", "default", 6379, False),
    # Railway, inside and by its proxy.
    (f"redis://default:{PASSWORD}@redis.railway.internal:6379", "default", 6379, False),
    (f"redis://default:{PASSWORD}@viaduct.proxy.rlwy.net:48931/", "default", 48931, False),
]


@pytest.mark.parametrize(("url", "username", "port", "by_tls"), FROM_PLATFORMS)
def test_the_redis_url_of_a_platform_is_taken_as_it_comes(
    environment: Set, url: str, username: str, port: int, by_tls: bool
) -> None:
    environment(REDIS_URL=url)
    address = RedisAddress.parse(load().redis_url or "")
    assert (address.kind, address.username, address.database) == ("server", username, 0)
    assert address.password == (PASSWORD if PASSWORD in url else "")
    assert [number for _, number in address.hosts] == [port]
    # Nothing but the operator's word makes an unproven certificate good enough.
    assert address.tls == (TlsOptions() if by_tls else None)
    environment(PAIRING_REDIS_TLS_VERIFY="false" if by_tls else "")
    assert load().redis_url == url


@pytest.mark.parametrize(
    ("spelt", "means"),
    [("none", "none"), ("CERT_NONE", "none"), ("CERT_OPTIONAL", "optional"), ("CERT_REQUIRED", "required")],
)
def test_whether_a_certificate_is_looked_at_may_be_spelt_as_celery_spells_it(spelt: str, means: str) -> None:
    address = RedisAddress.parse(f"rediss://:{PASSWORD}@host:6380?ssl_cert_reqs={spelt}")
    assert address.tls
    assert address.tls.verify == means


# Together: what is insecure is refused (SECURITY.md, line 31)


def test_several_workers_need_redis_and_the_complaint_says_why(environment: Set) -> None:
    text = complaint(workers=2)
    assert text.startswith("WEB_CONCURRENCY")
    assert "REDIS_URL" in text
    environment(REDIS_URL="redis://localhost")
    assert load(workers=2).workers == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "pairing.internal"])
def test_listening_beyond_loopback_needs_a_public_https_address(environment: Set, host: str) -> None:
    assert complaint(host=host).startswith("PAIRING_PUBLIC_URL is needed")
    environment(PAIRING_PUBLIC_URL="http://login.example.com")
    assert complaint(host=host).startswith("PAIRING_PUBLIC_URL should be https")
    environment(PAIRING_PUBLIC_URL="https://login.example.com/")
    assert load(host=host).public_url == "https://login.example.com"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_listening_on_loopback_needs_no_address(host: str) -> None:
    assert load(host=host).public_url == "http://localhost:8000"


@pytest.mark.parametrize("url", ["https://login.example.com", "http://login.example.com", "http://8.8.8.8:8000"])
def test_a_demo_on_a_public_address_is_refused(environment: Set, url: str) -> None:
    environment(PAIRING_PUBLIC_URL=url)
    text = complaint(demo=True)
    assert text.startswith("PAIRING_PUBLIC_URL")
    assert "--demo" in text


@pytest.mark.security(13)
@pytest.mark.parametrize("url", ["http://192.168.1.7:8000", "http://localhost:9000", "http://laptop.local:8000"])
def test_a_demo_on_a_local_network_may_use_http_and_has_no_quarantine(environment: Set, url: str) -> None:
    environment(PAIRING_PUBLIC_URL=url)
    settings = load(demo=True, host="0.0.0.0")
    assert settings.quarantine_seconds == 0


def test_a_demo_keeps_a_quarantine_that_was_asked_for(environment: Set) -> None:
    environment(PAIRING_QUARANTINE_SECONDS="5")
    assert load(demo=True).quarantine_seconds == 5


def test_a_demo_and_the_address_to_listen_on_come_from_the_command_line_alone(environment: Set) -> None:
    environment(PAIRING_DEMO="1", PAIRING_HOST="0.0.0.0")
    settings = load()
    assert (settings.demo, settings.host, settings.quarantine_seconds) == (False, "127.0.0.1", 3600)
    assert unknown_variables() == ["PAIRING_DEMO", "PAIRING_HOST"]


def test_a_misspelt_setting_is_found(environment: Set) -> None:
    environment(PAIRING_TTL="60", PAIRING_VERIFY="always")
    assert unknown_variables() == ["PAIRING_TTL"]


def test_the_origin_of_the_public_address_is_the_one_a_browser_would_send(environment: Set) -> None:
    environment(PAIRING_PUBLIC_URL="https://Login.Example.com:443/pairing/")
    settings = load()
    assert settings.allowed_origins == ("https://login.example.com",)
    assert settings.public_url == "https://login.example.com/pairing"


@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost", "ionic://localhost", "tauri://localhost", "http://tauri.localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "http://localhost:3000",
        "moz-extension://3c8b2d9e-0c7e-4b0e-9f1b-1f6a0e1c2d3e",
        "safari-web-extension://3C8B2D9E-0C7E-4B0E-9F1B-1F6A0E1C2D3E", "app://.", "app://-", "app://bundle",
        "com.example.app://localhost", "electron://altair", "vscode-webview://abc", "https://[::1]:8443",
    ],
)  # fmt: skip
def test_origins_of_apps_and_extensions_are_allowed_beside_the_public_one(environment: Set, origin: str) -> None:
    environment(PAIRING_ALLOWED_ORIGINS=origin)
    assert load().allowed_origins == ("http://localhost:8000", origin)


def test_settings_do_not_change(environment: Set) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]


def test_settings_for_the_tls_of_redis_need_tls(environment: Set) -> None:
    environment(PAIRING_REDIS_TLS_VERIFY="false", REDIS_URL="redis://localhost")
    assert "PAIRING_REDIS_TLS_VERIFY needs a REDIS_URL with TLS" in complaint()
    environment(PAIRING_REDIS_TLS_VERIFY="false", REDIS_URL="rediss://localhost")
    assert not load().redis_tls_verify


@pytest.mark.security(31)
@pytest.mark.parametrize(
    ("public_url", "hosts", "should"),
    [
        ("https://login.example.com", "login.example.com", "where people log in"),
        ("https://login.example.com", "wiki.example.com:443", "without its port"),
        ("http://localhost:8000", "wiki.example.com", "https"),
        ("http://192.168.1.5:8000", "192.168.1.6:8080", "https"),
        ("http://192.168.1.5:8000", "localhost:8080", "https"),
    ],
)
def test_a_host_is_protected_only_where_its_cookies_are_its_own(
    environment: Set, public_url: str, hosts: str, should: str
) -> None:
    environment(PAIRING_PUBLIC_URL=public_url, PAIRING_FORWARD_AUTH_HOSTS=hosts, PAIRING_TRUSTED_PROXIES="127.0.0.1")
    text = complaint()
    assert text.startswith("PAIRING_FORWARD_AUTH_HOSTS")
    assert should in text


def test_hosts_are_for_every_account_or_for_the_members_of_groups(environment: Set) -> None:
    environment(
        PAIRING_PUBLIC_URL="https://login.example.com",
        PAIRING_TRUSTED_PROXIES="127.0.0.1",
        PAIRING_FORWARD_AUTH_HOSTS="wiki.example.com, a.example.com:8443=staff, a.example.com:8443=audit",
    )
    assert groups_by_host(load().forward_auth_hosts) == {
        "wiki.example.com": frozenset(),
        "a.example.com:8443": {"staff", "audit"},
    }
