"""What other tools of Dask find by entry points: `dask kubernetes …`, discovery for dask-ctl."""
