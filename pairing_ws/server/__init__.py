"""Processes: how they start, log, are watched over and end."""
