"""Small applications that people have, each with our login added, and the tests that log in to them."""
