"""What wrong input gets: the client's message and class, at once, and no retry that cannot help."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from daskjob.core.errors import DaskJobError, Invalid, WrongType
from daskjob.integrations.prefect import (
    DaskJob,
    DaskJobTaskRunner,
    arun_daskjob,
    cancelling_daskjobs,
    daskjob,
    run_daskjob,
)
from daskjob.integrations.prefect.following import NotPickedUp
from daskjob.submit.client.errors import NotInstalled
from tests.cluster.plugin import Kubernetes, fresh_namespace
from tests.orchestrators.prefect.conftest import Place, small_job, with_code

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
        ({"manifest": JOB}, {"n_worker": 3}, "n_worker: 3 is not allowed; there is no such field"),
        ({"manifest": JOB}, {"n_workers": "four"}, "n_workers: 'four' is not allowed"),
        ({"command": "python 'x", "local": True}, {}, 'command: "python \'x" is not allowed'),
    ],
)
def test_mistakes_fail_the_task_without_a_retry(
    fields: dict[str, Any], overrides: dict[str, Any], expected: str
) -> None:
    error, tries = failure(fields, **overrides)
    assert isinstance(error, Invalid)
    assert expected in str(error)
    assert tries == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"n_worker": 3}, r"no such field of DaskJob: 'n_worker' \(did you mean n_workers"),
        ({"adapt": (10, 2)}, r"\(10, 2\) is not allowed; write the least"),
    ],
)
def test_a_wrong_field_is_rejected_before_a_flow_runs(
    fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        DaskJob(manifest=JOB, **fields)


def test_a_saved_block_is_loaded() -> None:
    DaskJob(manifest=JOB, n_workers=3).save("three", overwrite=True)
    assert DaskJob.load("three").n_workers == 3


def any_value(value: object) -> Any:
    """Return a value for which the type checker does not look."""
    return value


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: run_daskjob.fn("three"), r"write DaskJob.load\('three'\)"),
        (lambda: daskjob(any_value(print)), "is no work pool; write its name"),
        (lambda: daskjob("dask")(lambda: 1), "<lambda> is no flow; write @flow below @daskjob"),
        (lambda: daskjob("dask", "a.json"), r"a list of paths: \['a.json'\]"),
        (lambda: cancelling_daskjobs(any_value("three")), "'three' is no block DaskJob"),
        (
            lambda: DaskJobTaskRunner(cluster_kwargs=any_value("a")),
            "cluster_kwargs: 'a' is not allowed",
        ),
    ],
)
def test_a_value_of_a_wrong_type_is_named(make: Any, expected: str) -> None:
    with pytest.raises(WrongType, match=expected):
        make()


def test_a_result_that_was_left_out_is_a_warning(
    machine: Place, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import os; open(os.environ['DASKJOB_RESULT_FILE'], 'w').write('x')"
    fields = with_code(machine, code, n_workers=0)

    @flow
    def lost() -> Any:
        return run_daskjob(DaskJob(**fields))

    with caplog.at_level("WARNING"):
        assert lost() is None
    assert "Its result is not JSON and was left out." in caplog.text


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
    ("text", "expected"),
    [
        ("- 1\n", "one DaskJob"),
        ("a: [\n", "line 2: '' is not allowed; expected"),
        ("", "one DaskJob"),
    ],
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
