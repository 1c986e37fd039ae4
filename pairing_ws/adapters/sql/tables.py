"""The SQL tables as SQLAlchemy Core knows them, for the statements. Times are in milliseconds.

The migrations alone make and change them. A test compares the two.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


# Of an account: ours are 22 characters, a backend's own are what it has. SQLite holds no length against a value, and to
# change a column it would have to copy the table.
_USER_ID = sa.String(64).with_variant(sa.String(22), "sqlite")


def _owner() -> sa.Column[str]:
    return sa.Column(
        "user_id", sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), nullable=False, index=True
    )


# Alembic's own: which migrations the database has had.
revisions = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", _USER_ID, primary_key=True),
    sa.Column("username", sa.String(64), nullable=False, unique=True),
    sa.Column("display_name", sa.String(128), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("locked_at", sa.BigInteger),
    # See `accounts.names`. No two accounts share it, but those that did before it was compared: these are numbered.
    sa.Column("compared_name", sa.String(192)),
    sa.Column("namesake", sa.Integer, nullable=False, server_default="0"),
    # What applications are told, by scope: see `oauth.ports.Profile`.
    sa.Column("email", sa.String(254)),
    sa.Column("email_verified", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("name", sa.String(128)),
    # As JSON: `["admins", …]`.
    sa.Column("groups", sa.LargeBinary),
    sa.Index("ix_users_compared_name", "compared_name", "namesake", unique=True),
)

devices = sa.Table(
    "devices",
    metadata,
    # A digest of account and device code, hence unique per both.
    sa.Column("id", sa.String(32), primary_key=True),
    _owner(),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("os", sa.String(128), nullable=False),
    sa.Column("app_version", sa.String(128), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_seen_at", sa.BigInteger, nullable=False),
    sa.Column("last_ip", sa.String(64), nullable=False),
    # The device that let it in; no foreign key, for it may be gone while what it let in stays.
    sa.Column("paired_by", sa.String(32)),
    sa.Column("quarantine_until", sa.BigInteger),
    # FCM is moving from tokens to installation ids: the kind says how to address it.
    sa.Column("push_kind", sa.String(16)),
    sa.Column("push_address", sa.String(4096)),
    # What it calls itself: `name` is another one since a person has renamed it.
    sa.Column("reported_name", sa.String(128)),
)

# Which devices let it in before the one that its record names: who comes again under its code ends no kinship.
previous_parents = sa.Table(
    "let_in_before",
    metadata,
    sa.Column("device_id", sa.String(32), primary_key=True),
    sa.Column("paired_by", sa.String(32), primary_key=True),
    _owner(),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(22), primary_key=True),
    _owner(),
    sa.Column(
        "device_id", sa.ForeignKey("devices.id", name="fk_device", ondelete="CASCADE"), nullable=False, index=True
    ),
    # `pairing:{id}`, or `invite`, `host`, `upstream` or `exchange` with a digest. That it is unique is what makes a
    # login happen exactly once.
    sa.Column("origin", sa.String(80), nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("idle_until", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("family_hash", sa.String(44), nullable=False, unique=True),
    sa.Column("refresh_hash", sa.String(44), nullable=False),
    # Keys exchanged lately, as JSON: `[{"hash": "digest", "at": …}, …]`.
    sa.Column("retired", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("sealed_until", sa.BigInteger, nullable=False),
    # When a person, not only a key, was last known to be there.
    sa.Column("verified_at", sa.BigInteger),
    sa.Column("key_thumbprint", sa.String(43)),
    sa.Column("ended_why", sa.String(16)),
    # The `auth_time` of the host application's last assertion, by the host's clock: each counts once.
    sa.Column("vouched_at", sa.BigInteger),
    # What the host application has added to its authKeys, as a JSON object.
    sa.Column("claims", sa.LargeBinary),
)

# What the host application was asked about a login: see `accounts.login_hook.Question`.
login_questions = sa.Table(
    "login_questions",
    metadata,
    # As in `sessions`. That it is unique is what makes one process ask.
    sa.Column("origin", sa.String(80), primary_key=True),
    _owner(),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("asker", sa.String(44), nullable=False),
    sa.Column("session_id", sa.String(22), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("asked_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("kept_until", sa.BigInteger, nullable=False),
)

passkeys = sa.Table(
    "passkeys",
    metadata,
    sa.Column("id", sa.String(22), primary_key=True),
    _owner(),
    # The authenticator's name for it, unique in the world.
    sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
    # As COSE.
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("transports", sa.String(128), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    # The device that added it; no foreign key, for the passkey may stay when that device goes.
    sa.Column("device_id", sa.String(32), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_used_at", sa.BigInteger),
)

# What an authenticator is to sign: one per session and purpose, gone with its first use.
challenges = sa.Table(
    "challenges",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", name="fk_session", ondelete="CASCADE"), primary_key=True),
    sa.Column("purpose", sa.String(16), primary_key=True),
    sa.Column("challenge", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)

invites = sa.Table(
    "invites",
    metadata,
    sa.Column("code_hash", sa.String(44), primary_key=True),
    _owner(),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
)

# Who an account's person is at other issuers. One of theirs has one account.
links = sa.Table(
    "links",
    metadata,
    sa.Column("issuer", sa.String(512), primary_key=True),
    sa.Column("subject", sa.String(255), primary_key=True),
    _owner(),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

activity = sa.Table(
    "activity",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("device_id", sa.String(32)),
    sa.Column("device_name", sa.String(128)),
    sa.Column("ip", sa.String(64)),
    # The device that did it, where the line names something else.
    sa.Column("by_name", sa.String(128)),
    # How often, and since when: a line that is repeated is one line.
    sa.Column("count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("first_at", sa.BigInteger),
    # In the order in which lines were committed, over all accounts; another one with each repetition. Triggers give it.
    sa.Column("seq", sa.BigInteger, index=True),
    sa.Index("ix_activity_user_id_at", "user_id", "at"),
)

# The last `seq` that was given, in SQLite: those of deleted lines must not come again. PostgreSQL has a sequence.
activity_clock = sa.Table("activity_clock", metadata, sa.Column("seq", sa.BigInteger, nullable=False))

# Which signing keys the servers here use: fingerprints, by which those that do not share theirs notice.
key_rings = sa.Table(
    "key_rings",
    metadata,
    sa.Column("id", sa.String(44), primary_key=True),
    # As JSON, see `shared_keys.Fingerprint`.
    sa.Column("ring", sa.LargeBinary, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
)

# Applications that log people in here. What is a list there is JSON here: see `oauth.ports.Client`.
oauth_clients = sa.Table(
    "oauth_clients",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("secret_hash", sa.String(44)),
    sa.Column("jwks", sa.LargeBinary),
    sa.Column("redirect_uris", sa.LargeBinary, nullable=False),
    sa.Column("post_logout_redirect_uris", sa.LargeBinary, nullable=False),
    sa.Column("backchannel_logout_uri", sa.String(2048)),
    sa.Column("device_grant", sa.String(16), nullable=False),
    sa.Column("scopes", sa.LargeBinary, nullable=False),
    sa.Column("id_token_alg", sa.String(16), nullable=False),
    sa.Column("access_token_alg", sa.String(16), nullable=False),
    sa.Column("audience", sa.String(2048), nullable=False),
    sa.Column("origins", sa.LargeBinary, nullable=False),
    sa.Column("logo_uri", sa.String(2048)),
    sa.Column("trusted", sa.Boolean, nullable=False),
    sa.Column("token_exchange", sa.Boolean, nullable=False, server_default=sa.false()),
)


# The sessions of clients: what an account's owner sees as apps with access.
oauth_grants = sa.Table(
    "oauth_grants",
    metadata,
    sa.Column("id", sa.String(22), primary_key=True),
    _owner(),
    sa.Column(
        "client_id",
        sa.ForeignKey("oauth_clients.id", name="fk_client", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    # The login that consented, and its device; no foreign key, for a grant that is `offline` outlives that session.
    sa.Column("session_id", sa.String(22), nullable=False, index=True),
    sa.Column("device_id", sa.String(32), nullable=False, index=True),
    # `code:{digest}` or `device:{pairing id}`. That it is unique is what makes a code count once.
    sa.Column("origin", sa.String(80), nullable=False, unique=True),
    # As OAuth writes them: words with spaces between.
    sa.Column("scopes", sa.String(1024), nullable=False),
    sa.Column("offline", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_used_at", sa.BigInteger, nullable=False),
    sa.Column("last_ip", sa.String(64), nullable=False),
    sa.Column("idle_until", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    # In seconds, as in a JWT.
    sa.Column("auth_time", sa.BigInteger, nullable=False),
    sa.Column("amr", sa.String(128), nullable=False),
    sa.Column("acr", sa.String(128)),
    sa.Column("family_hash", sa.String(44), nullable=False, unique=True),
    sa.Column("refresh_hash", sa.String(44), nullable=False),
    # As in `sessions`.
    sa.Column("retired", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("sealed_until", sa.BigInteger, nullable=False),
    sa.Column("key_thumbprint", sa.String(43)),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_why", sa.String(16)),
)

# What a person has let a client have, and needs no asking again.
oauth_consents = sa.Table(
    "oauth_consents",
    metadata,
    sa.Column("user_id", sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), primary_key=True),
    sa.Column(
        "client_id",
        sa.ForeignKey("oauth_clients.id", name="fk_client", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    sa.Column("scope", sa.String(64), primary_key=True),
    # Where the person said so.
    sa.Column("device_id", sa.String(32), nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)

# Logout tokens that clients are owed; no foreign keys, for they are owed of accounts and clients that are gone, too.
oauth_logouts = sa.Table(
    "oauth_logouts",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("client_id", sa.String(64), nullable=False),
    sa.Column("uri", sa.String(2048), nullable=False),
    sa.Column("alg", sa.String(16), nullable=False),
    sa.Column("user_id", _USER_ID, nullable=False),
    sa.Column("grant_id", sa.String(22), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    # Not before this: it was tried in vain, or a process is trying it.
    sa.Column("next_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
)

# What the operator's receiver has not heard of yet; no foreign key, for it is told of accounts that are gone, too.
webhook_events = sa.Table(
    "webhook_events",
    metadata,
    # In the order in which they happened to an account.
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    # What the receiver knows it by.
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("user_id", _USER_ID, nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    # As in `oauth_logouts`.
    sa.Column("next_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Index("ix_webhook_events_user_id_number", "user_id", "number"),
)
