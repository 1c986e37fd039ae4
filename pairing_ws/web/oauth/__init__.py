"""The edge of OAuth 2.0 and OpenID Connect, below `/oauth`: browsers and applications, not pages of ours."""
