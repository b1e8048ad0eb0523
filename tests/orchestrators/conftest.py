"""Which of these tests can run in the environment that runs pytest."""

from __future__ import annotations

from importlib.util import find_spec

#: The folders, and a package that only their environment has.
_NEEDS = {"airflow": "airflow", "dagster": "dagster", "pipelines": "kfp", "prefect": "prefect"}

# Without this, a run of all folders, such as that of the last failures, ends before its first test.
collect_ignore = [folder for folder, package in _NEEDS.items() if find_spec(package) is None]
