"""The executor on Dask workers: those of a DaskJob of this machine, and of a LocalCluster."""

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import DagsterInstance, execute_job, reconstructable
from distributed import LocalCluster

from daskjob.integrations.dagster.executor import cluster_arguments
from daskjob.submit.local import LocalJobs
from tests.orchestrators.dagster import dask_job
from tests.orchestrators.dagster.test_pipes import job, log_of

#: Dagster warns of what itself uses.
pytestmark = pytest.mark.filterwarnings("default")

RUN = """
import json, os
from dagster import DagsterInstance, execute_job, reconstructable
from tests.orchestrators.dagster.dask_job import sums

with DagsterInstance.get() as instance:
    with execute_job(reconstructable(sums), instance=instance) as result:
        found = {"success": result.success, "total": result.output_for_node("both")}
json.dump(found, open(os.environ["DASKJOB_RESULT_FILE"], "w"))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a scheduler with two workers in processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def execute(function: Any, instance: DagsterInstance, address: str) -> Any:
    config = {"execution": {"config": {"address": address}}}
    return execute_job(
        reconstructable(function), instance=instance, run_config=config, raise_on_error=False
    )


def test_the_steps_of_a_run_in_a_job_run_on_the_jobs_workers(
    instance: DagsterInstance, jobs: LocalJobs
) -> None:
    manifest = job(RUN)
    manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] = 1
    ended = jobs.wait(jobs.submit(manifest), timeout_seconds=240)
    assert ended.status.result == {"success": True, "total": 10}
    (run,) = instance.get_runs()
    log = log_of(instance, run.run_id)
    assert f"total 10 on {ended.name}-default-worker-" in log
    # A worker retries a step as its policy says.
    assert "not yet" in log


def test_a_step_whose_worker_dies_fails_the_run_and_those_after_it_do_not_run(
    instance: DagsterInstance, address: str
) -> None:
    with execute(dask_job.killed, instance, address) as result:
        assert not result.success
        log = log_of(instance, result.run_id)
    assert f"dies-{result.run_id[:8]} did not end: the worker that was running it is lost" in log
    assert not instance.get_run_step_stats(result.run_id, ["after"])


@pytest.mark.parametrize("name", ["", "mine"])
def test_a_run_with_a_spec_of_its_own_has_a_cluster_with_its_name(name: str) -> None:
    spec = {"metadata": {"name": "all", "labels": {"team": "a"}}, "spec": {}}
    given = {"custom_cluster_spec": spec, **({"name": name} if name else {})}
    found = cluster_arguments({"cluster": given}, "sums", "0123456789ab")["custom_cluster_spec"]
    assert found["metadata"] == {"name": name or "sums-01234567", "labels": {"team": "a"}}
    assert spec["metadata"] == {"name": "all", "labels": {"team": "a"}}


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({}, {}),
        ({"image": "i", "n_workers": 3, "namespace": "team"}, {"image": "i", "n_workers": 3}),
        ({"cluster": {"env": {"A": "b"}, "name": "mine"}}, {"env": {"A": "b"}, "name": "mine"}),
    ],
)
def test_a_run_has_a_cluster_with_its_name(
    config: dict[str, Any], arguments: dict[str, Any]
) -> None:
    found = cluster_arguments(config, "Daily_Sums" * 9, "0123456789ab")
    assert arguments.items() <= found.items()
    if "name" not in arguments:
        assert found["name"].startswith("daily-sums")
        assert found["name"].endswith("-01234567")
        assert len(found["name"]) <= 40
