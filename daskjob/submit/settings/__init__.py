"""Settings of jobs: declared once, read from flags, scripts, projects and Dask's configuration."""
