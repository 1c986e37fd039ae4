"""Room 1: the short-lived story of one pairing. Imports no web framework, no driver and not the other room."""
