"""Applications and their OpenID Connect clients as others have written them, unmodified, against two processes."""
