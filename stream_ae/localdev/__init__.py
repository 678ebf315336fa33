"""Real servers on this machine for the demo and the tests, and traffic to feed them."""
