"""daskjob runs a Dask script, or a DaskJob manifest, to a truthful end."""

__version__ = "0.1.0"
