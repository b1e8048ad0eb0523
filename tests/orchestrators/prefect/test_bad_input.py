"""What wrong input gets: the client's message and class, at once, and no retry that cannot help."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from daskjob.core.errors import DaskJobError, Invalid
from daskjob.integrations.prefect import DaskJob, arun_daskjob, run_daskjob
from daskjob.integrations.prefect.following import NotPickedUp
from daskjob.submit.client.errors import NotInstalled
from tests.cluster.plugin import Kubernetes, fresh_namespace
from tests.orchestrators.prefect.conftest import small_job

pytestmark = pytest.mark.usefixtures("server")

JOB = small_job("none")
WRONG = {**JOB, "spec": {**JOB["spec"], "backoffLimit": -1, "retries": 3}}


def failure(fields: dict[str, Any], **overrides: Any) -> tuple[BaseException, int]:
    """Return what a flow raises whose task has retries, and the number of its tries."""
    tries = 0

    @flow
    def wrong() -> None:
        def count(*_arguments: Any) -> None:
            nonlocal tries
            tries += 1

        task = run_daskjob.with_options(retries=2, on_running=[count])
        task(DaskJob(**fields), **overrides)

    with pytest.raises(DaskJobError) as caught:
        wrong()
    return caught.value, tries


@pytest.mark.parametrize(
    ("fields", "overrides", "expected"),
    [
        ({}, {}, "give a manifest, or a command"),
        ({"command": "python x.py"}, {}, "needs an image"),
        ({"manifest": JOB, "command": "python x.py"}, {}, "not both"),
        ({"manifest": WRONG}, {}, "backoffLimit"),
        ({"manifest": JOB}, {"n_worker": 3}, "n_workers"),
    ],
)
def test_mistakes_fail_the_task_without_a_retry(
    fields: dict[str, Any], overrides: dict[str, Any], expected: str
) -> None:
    error, tries = failure(fields, **overrides)
    assert isinstance(error, Invalid)
    assert expected in str(error)
    assert tries == 1


def test_mistakes_fail_an_asynchronous_task_without_a_retry() -> None:
    tries: list[int] = []

    @flow
    async def wrong() -> None:
        task = arun_daskjob.with_options(retries=2, on_running=[lambda *_: tries.append(1)])
        await task(DaskJob(manifest=WRONG))

    with pytest.raises(Invalid, match="backoffLimit"):
        asyncio.run(wrong())
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("text", "expected"), [("- 1\n", "one DaskJob"), ("a: [\n", "line"), ("", "one DaskJob")]
)
def test_file_without_a_daskjob_is_rejected(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(Invalid, match=expected):
        DaskJob.from_yaml_file(path)


def test_kubeconfig_that_does_not_exist_is_named(tmp_path: Path) -> None:
    error, _ = failure({"manifest": JOB, "kubeconfig": str(tmp_path / "none"), "namespace": "a"})
    assert str(tmp_path / "none") in str(error)


def test_cluster_without_daskjobs_fails_at_once(kubernetes: Kubernetes) -> None:
    fields = {"manifest": JOB, "kubeconfig": str(kubernetes.kubeconfig), "namespace": "default"}
    try:
        kubernetes.kubectl("get", "crd", "daskjobs.kubernetes.dask.org")
    except Exception:
        error, tries = failure(fields)
        assert isinstance(error, NotInstalled)
        assert tries == 1
    else:
        pytest.skip("an earlier test has installed the CRDs")


def test_without_an_operator_the_task_fails_and_its_job_is_deleted(
    with_crds: Kubernetes, request: pytest.FixtureRequest
) -> None:
    with fresh_namespace(with_crds, request.node) as namespace:
        fields = {
            "manifest": JOB,
            "kubeconfig": str(with_crds.kubeconfig),
            "namespace": namespace,
            "pickup_timeout_seconds": 3,
        }
        error, tries = failure(fields)
        assert isinstance(error, NotPickedUp)
        assert "no operator has picked up" in str(error)
        assert tries == 1
        assert with_crds.access.items("daskjobs", namespace) == []
