"""A real Kubernetes for tests and developers: ``python -m tests.cluster``."""
