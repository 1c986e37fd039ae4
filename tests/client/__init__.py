"""The JavaScript client as a package."""
