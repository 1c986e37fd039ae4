"""Sessions that are bound to a key of their device. Those from before have none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("key_thumbprint", sa.String(43)))
