"""Redis in all its forms: one server, Sentinel, Cluster. Holds pairings, pub/sub and shared counters."""
