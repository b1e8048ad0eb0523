"""All that touches the world: this machine, and a fake for tests; one contract suite for all."""
