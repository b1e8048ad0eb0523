"""What every test may use: the fixtures of a real Kubernetes, started where a test asks for it."""

pytest_plugins = ["tests.cluster.plugin"]
