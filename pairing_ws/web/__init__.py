"""The edge: HTTP and WebSocket in, a call to a story, JSON out. Nothing about pairings or accounts is decided here."""
