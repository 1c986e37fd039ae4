"""What an application may get of an account: OAuth 2.0 and OpenID Connect over the pairing. No I/O of its own."""
