"""DaskJobs as tasks of Airflow."""
