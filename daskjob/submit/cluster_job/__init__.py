"""A DaskJob for a cluster, from a script or a manifest and settings: pure, one concern a module."""
