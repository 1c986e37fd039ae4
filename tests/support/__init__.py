"""What the tests of several rooms use: servers, clients, clocks, limits, waiting. It holds no test."""
