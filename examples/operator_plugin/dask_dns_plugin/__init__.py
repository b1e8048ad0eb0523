"""A plugin of the operator: every Dask scheduler gets a name in DNS."""
