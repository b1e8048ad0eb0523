"""DaskJobs as tasks of Prefect."""
