"""What an operator can choose: one field for each setting, with what the manual says of it. What one value may be is in
`values`, what goes together in `settings`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pairing_ws.config.values import (
    AdminKeys,
    Contact,
    Count,
    DatabaseUrl,
    IssuerAddress,
    Items,
    Networks,
    Origins,
    Port,
    Rate,
    ReadableFile,
    Receiver,
    RedisUrl,
    RotationSeconds,
    TrustedIssuers,
    WebAddress,
    WebhookSecrets,
)


def _plain(name: str, default: Any, description: str) -> Any:
    """A setting without our prefix: platforms set it under this very name."""
    return Field(default, validation_alias=name, description=description)


def _secret(default: Any, description: str, name: str | None = None) -> Any:
    """A setting that holds a password or a key: in no picture of the settings, no complaint quotes it, and it may be
    given as a file (`environment.is_secret`)."""
    return Field(default, validation_alias=name, description=description, repr=False)


class Fields(BaseModel):
    """Durations are in seconds. `demo` and `host` come from the command line alone."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid", frozen=True)

    redis_url: RedisUrl | None = _secret(
        None,
        "Redis for pairings, pushes and limits (`redis://…`, or see below); without it: process memory, one worker",
        "REDIS_URL",
    )
    database_url: DatabaseUrl = _secret(
        "sqlite:///pairing.db",
        "accounts, in SQLite (`sqlite:///file`) or PostgreSQL (`postgresql://…`, see below)",
        "DATABASE_URL",
    )
    port: Port = _plain("PORT", 8000, "the port `serve` listens on")
    workers: int = _plain("WEB_CONCURRENCY", 1, "worker processes; more than one needs `REDIS_URL`")

    redis_ca_file: ReadableFile | None = Field(
        None, description="the certificate (PEM) of the authority that signed Redis's, or Redis's own if self-signed"
    )
    redis_tls_verify: bool = Field(
        True,
        description="`false`: accept any certificate of Redis, for platforms that sign their own; proves nothing",
    )
    public_url: WebAddress = Field(
        "", description="the address people see, never taken from a request; default `http://localhost:PORT`"
    )
    ttl_seconds: int = Field(120, ge=10, le=3600, description="how long a new code can be scanned, 10 to 3600")
    device_grant_seconds: int = Field(
        600,
        ge=60,
        le=3600,
        description="how long the user code of a device authorization (RFC 8628) can be used, 60 to 3600",
    )
    redeem_seconds: int = Field(
        60,
        ge=10,
        le=3600,
        description="how long after an approval the new device can log in, 10 to 3600; twice that with a number",
    )
    verify: Literal["never", "remote", "always"] = Field(
        "remote",
        description="when a number is asked for: `never`, `remote` (other network, or typed code), `always`",
    )
    qr_rotate_seconds: RotationSeconds = Field(
        0, ge=0, le=60, description="how long a picture shows the same code, 3 to 60; 0: the picture does not rotate"
    )
    network_policy: Literal["off", "warn", "deny"] = Field(
        "warn",
        description="what a scan from another network means: `off` nothing, `warn` a warning to the approver,"
        " `deny` a refusal (also where addresses can't be compared: private ones, unless the public URL is private)",
    )
    geoip_file: ReadableFile | None = Field(
        None,
        description="country or city database in MaxMind's format (needs the `geoip` extra); without it: no places",
    )
    auth_key_seconds: int = Field(600, ge=1, le=86_400, description="lifetime of an authKey")
    refresh_key_seconds: int = Field(2_592_000, ge=60, description="how long an unused session lives (30 days)")
    refresh_repeat_seconds: int = Field(
        86_400,
        ge=0,
        le=2_592_000,
        description="how long a refresh whose answer was lost can be repeated with the same key, unless its"
        " successor has been used",
    )
    session_seconds: int = Field(31_536_000, ge=60, description="how long a session lives in all (1 year)")
    quarantine_seconds: int = Field(
        3600, ge=0, description="how long a new device can neither approve nor revoke others; `--demo` makes it 0"
    )
    step_up_seconds: int = Field(
        0,
        ge=0,
        le=86_400,
        description="how recent a passkey or host assertion must prove that a person approves; 0: no proof needed",
    )
    host_key_file: ReadableFile | None = Field(
        None, description="your application's public key (PEM or JWKS, P-256), for its step-up assertions"
    )
    upstream_issuer: IssuerAddress = Field(
        "",
        description="an existing OpenID Connect provider, as it stands in `iss`: people may log in with it too, as the"
        " first device of their account; its redirect URI is `PAIRING_PUBLIC_URL` + `/login/upstream/callback`",
    )
    upstream_client_id: str = Field("", description="what this server is called at that provider")
    upstream_client_secret: str | None = _secret(None, "its secret there; without it: a public client")
    upstream_name: str = Field("", description="what the button calls that provider; default: its host")
    upstream_opens_accounts: bool = Field(
        False, description="`true`: who is unknown here and logs in with that provider gets an account"
    )
    trusted_issuers: TrustedIssuers | None = _secret(
        None,
        "issuers whose tokens may be exchanged for a session (RFC 8693), a JSON array:"
        ' `[{"issuer": "https://id.example.com", "audience": "pairing"}]`; without it: no exchange',
    )
    signing_key_file: Path = Field(
        Path("pairing-keys.json"), description="signing keys, made on first start, shared by all processes"
    )
    signing_keys: str | None = _secret(
        None, "the same keys as a value (`pairing-ws keys make` prints one), in place of the file"
    )
    admin_key: AdminKeys | None = _secret(
        None,
        "opens `/api/v1/admin` to your backend (`pairing-ws admin-key` makes one); while it is exchanged two, in lines",
    )
    allowed_origins: Origins = Field(
        (),
        description="origins of other pages and apps that may open sockets and use CORS, beside `PAIRING_PUBLIC_URL`'s:"
        " `https://app.example.com`, `capacitor://localhost`, `chrome-extension://…`",
    )
    trusted_proxies: Networks = Field(
        (), description="addresses or networks, of proxies alone, whose `X-Forwarded-For` counts"
    )
    forward_auth_hosts: Items = Field(
        (),
        description="hosts whose proxy asks who may pass: `HOST`, or `HOST=GROUP` for a group's members; none: off",
    )
    metrics: Literal["private", "public", "off"] = Field(
        "private",
        description="peers that may read `/metrics`: loopback and `private` ones, all (`public`), none (`off`)",
    )
    fcm_credentials_file: ReadableFile | None = Field(
        None, description="service account for push messages (needs the `push` extra); without it: no messages"
    )
    fcm_url: WebAddress = Field("https://fcm.googleapis.com", description="base address of the push service")
    vapid_private_key: str | None = _secret(
        None, "key for Web Push (needs the `push` extra; `pairing-ws vapid-key` prints one); without it: no Web Push"
    )
    vapid_subject: Contact = Field(
        "",
        description="whom push services can turn to, `mailto:…` or `https://…`; default: an https `PAIRING_PUBLIC_URL`",
    )
    login_hook_url: WebAddress = Field(
        "",
        description="where your backend is asked before each login: it may add to it, or refuse; without it: nobody is",
    )
    login_hook_secret: WebhookSecrets = _secret(
        (), "what requests to it are signed with (`whsec_…`, Standard Webhooks); two with a comma between while changed"
    )
    webhook_url: Receiver = Field(
        "", description="where your application receives events about accounts, see below; without it: none are sent"
    )
    webhook_secret: WebhookSecrets = _secret(
        (),
        "what webhooks are signed with (`pairing-ws webhook secret` prints one); while it changes, both with a comma"
        " between",
    )
    allow_private_targets: bool = Field(
        False,
        description="`true`: logouts, webhooks, Web Push, questions about logins and to other issuers may go to"
        " addresses of private networks and of this machine, and by plain http there; never to link-local addresses",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="lines of the log: `json`, `text`, or `auto`: text on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the lowest level that is logged; commands other than `serve` have `warning` by default"
    )
    limit_create: Rate = Field("120/minute", description="new pairings per address (IPv4, or IPv6 /64)")
    limit_claim: Rate = Field("60/minute", description="claims per account, or per address")
    limit_user_code: Rate = Field("10/hour", description="wrong typed codes per account, or per address")
    limit_number: Rate = Field("10/hour", description="wrong verification numbers per account, over all its pairings")
    limit_refresh: Rate = Field("60/minute", description="refreshes per device")
    limit_authorize: Rate = Field(
        "300/minute", description="authorization requests of applications per address, and per device that answers them"
    )
    limit_oauth: Rate = Field(
        "1200/minute", description="requests to `/oauth/token`, `userinfo`, `revoke` and `introspect` per address"
    )
    limit_client: Rate = Field("6000/minute", description="such requests per application that authenticates")
    limit_client_failure: Rate = Field("30/minute", description="failed authentications of an application per address")
    limit_admin: Rate = Field("6000/minute", description="calls of `/api/v1/admin` per admin key")
    limit_admin_failure: Rate = Field("30/minute", description="such calls without an admin key per address")
    limit_sockets: Count = Field(1000, description="open sockets per address and process")
    limit_all_sockets: Count = Field(50_000, description="open sockets per process, of all addresses together")
    limit_connections: Count = Field(
        1000, description="open connections without a socket per address and process; trusted proxies have no limit"
    )
    limit_all_connections: Count = Field(
        0, description="open connections per process, sockets included; 0: its descriptor limit, less 768 or a third"
    )
    limit_pairings: Count = Field(
        100_000, description="live pairings in total, a tenth of them reserved for logged-in devices"
    )
    limit_devices: Count = Field(20, description="devices per account")
    limit_apps: Count = Field(
        100, description="logins of applications per account that last at once; those used longest ago end. 0: no limit"
    )

    host: str = Field("127.0.0.1", exclude=True)
    demo: bool = Field(False, exclude=True)
