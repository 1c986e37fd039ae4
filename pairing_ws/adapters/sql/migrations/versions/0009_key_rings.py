"""Which signing keys the servers on this database use, so that those that do not share theirs notice."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "key_rings",
        sa.Column("id", sa.String(44), primary_key=True),
        sa.Column("ring", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
