"""The first tables. `tables.py` explains the columns."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _owner() -> sa.Column[str]:
    return sa.Column(
        "user_id", sa.String(22), sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), nullable=False
    )


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(22), primary_key=True),
        sa.Column("username", sa.String(64), nullable=False, unique=True),
        sa.Column("display_name", sa.String(128), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("locked_at", sa.BigInteger),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.String(32), primary_key=True),
        _owner(),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("os", sa.String(128), nullable=False),
        sa.Column("app_version", sa.String(128), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sa.Column("last_ip", sa.String(64), nullable=False),
        sa.Column("paired_by", sa.String(32)),
        sa.Column("quarantine_until", sa.BigInteger),
        sa.Column("push_kind", sa.String(16)),
        sa.Column("push_address", sa.String(4096)),
    )
    op.create_index("ix_devices_user_id", "devices", ["user_id"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(22), primary_key=True),
        _owner(),
        sa.Column(
            "device_id",
            sa.String(32),
            sa.ForeignKey("devices.id", name="fk_device", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("origin", sa.String(80), nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("idle_until", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("family_hash", sa.String(44), nullable=False, unique=True),
        sa.Column("refresh_hash", sa.String(44), nullable=False),
        sa.Column("retired", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("sealed_until", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_device_id", "sessions", ["device_id"])
    op.create_table(
        "invites",
        sa.Column("code_hash", sa.String(44), primary_key=True),
        _owner(),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
    )
    op.create_index("ix_invites_user_id", "invites", ["user_id"])
    op.create_table(
        "activity",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        _owner(),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("device_id", sa.String(32)),
        sa.Column("device_name", sa.String(128)),
        sa.Column("ip", sa.String(64)),
    )
    op.create_index("ix_activity_user_id_at", "activity", ["user_id", "at"])
