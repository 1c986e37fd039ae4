"""Who an account's person is at other issuers, and which applications may exchange tokens of those."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("issuer", sa.String(512), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column(
            "user_id",
            # As wide as the ids of accounts are.
            sa.String(64).with_variant(sa.String(22), "sqlite"),
            sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_links_user_id", "links", ["user_id"])
    op.add_column("oauth_clients", sa.Column("token_exchange", sa.Boolean, nullable=False, server_default=sa.false()))
