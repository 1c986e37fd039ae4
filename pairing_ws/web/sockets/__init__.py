"""The two WebSockets: one pairing's changes, and one account's events."""
