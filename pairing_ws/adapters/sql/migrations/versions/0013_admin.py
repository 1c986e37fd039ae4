"""What a backend with users of its own needs: ids as it has them, and what happened in all accounts in one order."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

# SQLite holds no length against a value.
_OWNED = (
    "devices", "let_in_before", "sessions", "passkeys", "invites", "activity", "oauth_grants", "oauth_consents",
    "oauth_logouts", "login_questions", "webhook_events",
)  # fmt: skip
# See `activity_feed.py`. In the database, for the servers of the version before write lines, too, during a deploy.
_POSTGRESQL = (
    """
    CREATE FUNCTION number_activity() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(7237116);
        NEW.seq := nextval('activity_seq');
        RETURN NEW;
    END
    $$
    """,
    "CREATE TRIGGER number_activity BEFORE INSERT OR UPDATE OF count ON activity"
    " FOR EACH ROW EXECUTE FUNCTION number_activity()",
)
_NUMBERED = """
    BEGIN
        UPDATE activity_clock SET seq = seq + 1;
        UPDATE activity SET seq = (SELECT seq FROM activity_clock) WHERE id = NEW.id;
    END
"""
_SQLITE = (
    "CREATE TRIGGER number_activity_new AFTER INSERT ON activity" + _NUMBERED,
    "CREATE TRIGGER number_activity_repeated AFTER UPDATE OF count ON activity" + _NUMBERED,
)


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:
        op.alter_column("users", "id", type_=sa.String(64))
        for table in _OWNED:
            op.alter_column(table, "user_id", type_=sa.String(64))
    op.add_column("activity", sa.Column("seq", sa.BigInteger))
    op.execute("UPDATE activity SET seq = id")
    op.create_index("ix_activity_seq", "activity", ["seq"])
    op.create_table("activity_clock", sa.Column("seq", sa.BigInteger, nullable=False))
    op.execute("INSERT INTO activity_clock (seq) SELECT coalesce(max(id), 0) FROM activity")
    if on_postgresql:
        op.execute("CREATE SEQUENCE activity_seq AS bigint")
        op.execute("SELECT setval('activity_seq', (SELECT seq + 1 FROM activity_clock), false)")
    for statement in _POSTGRESQL if on_postgresql else _SQLITE:
        op.execute(statement)
