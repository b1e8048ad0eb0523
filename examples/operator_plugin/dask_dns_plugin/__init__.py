"""A plugin of the operator: gives every Dask scheduler a name in DNS."""
