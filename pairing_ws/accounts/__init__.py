"""Room 2, the long-lived story: users, devices, sessions, keys. Imports no framework, no driver and not room 1."""
