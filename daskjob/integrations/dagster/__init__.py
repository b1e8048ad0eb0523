"""DaskJobs as tasks of Dagster."""
