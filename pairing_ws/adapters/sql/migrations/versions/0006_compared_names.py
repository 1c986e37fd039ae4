"""Names of accounts are compared without case. Accounts whose names were different only so far stay what they are: the
oldest is number 0, and the log names them."""

import sqlalchemy as sa
import structlog
from alembic import op

from pairing_ws.accounts.names import compared

revision = "0006"
down_revision = "0005"

log = structlog.get_logger()


def upgrade() -> None:
    op.add_column("users", sa.Column("compared_name", sa.String(192)))
    op.add_column("users", sa.Column("namesake", sa.Integer, nullable=False, server_default="0"))
    users = sa.table(
        "users", *(sa.column(name) for name in ("id", "username", "created_at", "compared_name", "namesake"))
    )
    alike: dict[str, list[str]] = {}
    connection = op.get_bind()
    for user_id, username in connection.execute(
        sa.select(users.c.id, users.c.username).order_by(users.c.created_at, users.c.id)
    ).all():
        names = alike.setdefault(compared(username), [])
        connection.execute(
            users.update().where(users.c.id == user_id).values(compared_name=compared(username), namesake=len(names))
        )
        names.append(username)
    for names in alike.values():
        if len(names) > 1:
            log.warning("accounts.names_alike", names=names)
    op.create_index("ix_users_compared_name", "users", ["compared_name", "namesake"], unique=True)
