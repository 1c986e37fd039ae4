"""Requests, frames and stories that nobody thought of: made at random, the same ones in each run of the default suite.

`scripts/fuzz` runs many more, from a new seed that it prints.
"""
