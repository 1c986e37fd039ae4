"""Applications that log people in here, by OAuth 2.0 and OpenID Connect: clients, what they were granted, what they are
owed; and what an account tells them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("users", sa.Column("email", sa.String(254)))
    op.add_column("users", sa.Column("email_verified", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("users", sa.Column("name", sa.String(128)))
    op.add_column("users", sa.Column("groups", sa.LargeBinary))
    op.create_table(
        "oauth_clients",
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
    )
    op.create_table(
        "oauth_grants",
        sa.Column("id", sa.String(22), primary_key=True),
        sa.Column(
            "user_id", sa.String(22), sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), nullable=False
        ),
        sa.Column(
            "client_id",
            sa.String(64),
            sa.ForeignKey("oauth_clients.id", name="fk_client", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("session_id", sa.String(22), nullable=False),
        sa.Column("device_id", sa.String(32), nullable=False),
        sa.Column("origin", sa.String(80), nullable=False),
        sa.Column("scopes", sa.String(1024), nullable=False),
        sa.Column("offline", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger, nullable=False),
        sa.Column("last_ip", sa.String(64), nullable=False),
        sa.Column("idle_until", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("auth_time", sa.BigInteger, nullable=False),
        sa.Column("amr", sa.String(128), nullable=False),
        sa.Column("acr", sa.String(128)),
        sa.Column("family_hash", sa.String(44), nullable=False),
        sa.Column("refresh_hash", sa.String(44), nullable=False),
        sa.Column("retired", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("sealed_until", sa.BigInteger, nullable=False),
        sa.Column("key_thumbprint", sa.String(43)),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("ended_why", sa.String(16)),
        sa.UniqueConstraint("origin", name="uq_oauth_grants_origin"),
        sa.UniqueConstraint("family_hash", name="uq_oauth_grants_family_hash"),
    )
    op.create_index("ix_oauth_grants_user_id", "oauth_grants", ["user_id"])
    op.create_index("ix_oauth_grants_client_id", "oauth_grants", ["client_id"])
    op.create_index("ix_oauth_grants_session_id", "oauth_grants", ["session_id"])
    op.create_index("ix_oauth_grants_device_id", "oauth_grants", ["device_id"])
    op.create_table(
        "oauth_consents",
        sa.Column(
            "user_id", sa.String(22), sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "client_id",
            sa.String(64),
            sa.ForeignKey("oauth_clients.id", name="fk_client", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("scope", sa.String(64), primary_key=True),
        sa.Column("device_id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_oauth_consents_client_id", "oauth_consents", ["client_id"])
    op.create_index("ix_oauth_consents_device_id", "oauth_consents", ["device_id"])
    op.create_table(
        "oauth_logouts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("uri", sa.String(2048), nullable=False),
        sa.Column("alg", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(22), nullable=False),
        sa.Column("grant_id", sa.String(22), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("ix_oauth_logouts_next_at", "oauth_logouts", ["next_at"])
