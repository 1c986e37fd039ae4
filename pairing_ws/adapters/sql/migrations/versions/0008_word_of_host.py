"""Which word of the host application a session has taken last, apart from when it counts as verified."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("vouched_at", sa.BigInteger))
