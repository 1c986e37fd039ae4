"""Processes: how they start, log, listen, are supervised and end.

uvicorn's own supervisor did not do: there, a worker that hangs holds up the end of all, a blocked event loop goes
unnoticed, and one worker that fails to start (the database may be away) takes down those that serve. If uvicorn's
watched heartbeats, and replaced workers one by one on SIGHUP, `supervisor` and `listening` could be deleted. Everyone
who runs uvicorn themselves takes its options from `uvicorn_options`.
"""
