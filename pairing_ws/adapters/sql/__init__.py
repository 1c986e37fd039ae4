"""SQLite and PostgreSQL: accounts, passkeys and what servers leave for one another."""
