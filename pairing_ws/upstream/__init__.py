"""What another issuer says of a person, and what it is worth here: a login, and tokens exchanged for a session."""
