"""How often a line of activity was repeated, and since when."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("activity", sa.Column("count", sa.Integer, nullable=False, server_default="1"))
    op.add_column("activity", sa.Column("first_at", sa.BigInteger))
