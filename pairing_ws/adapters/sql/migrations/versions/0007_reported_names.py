"""What a device calls itself, beside what a person has called it; and why a session ended."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("devices", sa.Column("reported_name", sa.String(128)))
    # Of earlier renamings nothing is known.
    op.execute("UPDATE devices SET reported_name = name")
    op.add_column("sessions", sa.Column("ended_why", sa.String(16)))
