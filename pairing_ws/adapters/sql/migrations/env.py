"""Alembic's entry: runs the migrations on the connection that `database.migrate` passes, inside its transaction."""

from alembic import context

from pairing_ws.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back DDL, but Alembic assumes that its driver gets in the way; ours is told to begin by hand.
    transactional_ddl=True,
)
context.run_migrations()
