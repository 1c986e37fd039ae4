"""Who let a device in before, which its record forgets when it logs in again; and by which device a line was caused.

Of logins from before there is what the records hold.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "let_in_before",
        sa.Column("device_id", sa.String(32), primary_key=True),
        sa.Column("paired_by", sa.String(32), primary_key=True),
        sa.Column(
            "user_id", sa.String(22), sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), nullable=False
        ),
    )
    op.create_index("ix_let_in_before_user_id", "let_in_before", ["user_id"])
    op.add_column("activity", sa.Column("by_name", sa.String(128)))
