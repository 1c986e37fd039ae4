"""Protects a host application's own routes with the tokens of this server: see README.md."""
