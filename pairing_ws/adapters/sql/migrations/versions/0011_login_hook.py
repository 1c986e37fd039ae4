"""What the host application says to logins: claims of sessions, and how far each question is."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("claims", sa.LargeBinary))
    op.create_table(
        "login_questions",
        sa.Column("origin", sa.String(80), primary_key=True),
        sa.Column(
            "user_id", sa.String(22), sa.ForeignKey("users.id", name="fk_owner", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("asker", sa.String(44), nullable=False),
        sa.Column("session_id", sa.String(22), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("kept_until", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_login_questions_user_id", "login_questions", ["user_id"])
    op.create_index("ix_login_questions_asked_at", "login_questions", ["asked_at"])
