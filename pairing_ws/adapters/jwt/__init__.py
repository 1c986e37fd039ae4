"""Everything signed: access tokens, the file of their keys, DPoP proofs, the host application's assertions."""
