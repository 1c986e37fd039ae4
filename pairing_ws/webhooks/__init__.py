"""The story of webhooks: what the operator's own applications hear of, and until when that is tried. No I/O."""
