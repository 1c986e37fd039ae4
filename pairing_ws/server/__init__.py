"""Processes: how they start, log, listen, are supervised and end."""
