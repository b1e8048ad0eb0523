"""The clusters of a Kubernetes, without jobs: for interactive work."""
