"""The job that Flyte's plugin for Dask creates, in both of its forms, and what that reads of it.

Newer versions start ``dask scheduler`` and ``dask worker``, older ones the scripts that have these
names with a hyphen.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daskjob.core.desired.job_objects import desired_objects
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob, parse
from tests.core.specimens import flyte, newer_flyte

forms = pytest.mark.parametrize("form", [flyte, newer_flyte], ids=["dask-worker", "dask worker"])


def pods(job: Manifest) -> dict[str, Manifest]:
    """Return the main container of each pod that a job makes, by the pod's name."""
    made = desired_objects(parse(DaskJob, job))
    found = [each for each in made if each["kind"] == "Pod"]
    return {each["metadata"]["name"]: each["spec"]["containers"][0] for each in found}


@forms
def test_the_plugin_finds_the_runner_and_one_scheduler_by_their_names(
    form: Callable[[], Manifest],
) -> None:
    job = form()
    name, found = job["metadata"]["name"], pods(job)
    assert f"{name}-runner" in found
    assert [pod for pod in found if pod.startswith(name) and "scheduler" in pod] == [
        f"{name}-scheduler"
    ]


@forms
def test_scheduler_and_workers_start_with_any_version_of_dask(
    form: Callable[[], Manifest],
) -> None:
    job = form()
    started = {
        name: container["args"][:2]
        for name, container in pods(job).items()
        if "scheduler" in name or "worker" in name
    }
    assert len(started) > 2
    for name, args in started.items():
        assert args == ["dask", "scheduler" if "scheduler" in name else "worker"]


@forms
def test_the_runner_has_the_schedulers_address_and_the_users_command(
    form: Callable[[], Manifest],
) -> None:
    job = form()
    runner = pods(job)[f"{job['metadata']['name']}-runner"]
    assert runner["name"] == "job-runner"
    assert runner["args"][0] == "pyflyte-execute"
    assert "DASK_SCHEDULER_ADDRESS" in [each["name"] for each in runner["env"]]
