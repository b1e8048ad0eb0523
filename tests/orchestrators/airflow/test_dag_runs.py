"""DAGs with our operator, run by ``dag.test()``: on a cluster, and on this machine."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.cluster.plugin import Kubectl, Kubernetes
from tests.orchestrators.airflow.runs import Runs


@pytest.mark.parametrize("dag_id", ["succeeds", "succeeds_deferred"])
def test_a_job_returns_its_result_and_what_is_known_of_it(
    place: str, runs: Runs, dag_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = runs.test(dag_id)
    assert ran.state == "success"
    found = ran.xcoms["task"]
    assert found["return_value"]["dag"] == dag_id
    assert found["return_value"]["args"][0].startswith("2026-01-")
    known = found["daskjob"]
    assert (known["phase"], known["exit_code"], known["attempts"]) == ("Succeeded", 0, 1)
    assert known["name"] == found["job_name"]
    assert found["job_name"].startswith("echo-")
    assert found["job_name"].endswith("-g1")
    assert found["job_namespace"] == known["namespace"] == place
    assert found["_link_DaskDashboardLink"].startswith("http://")
    assert "arguments 2026-01-" in capfd.readouterr().out


@pytest.mark.parametrize("dag_id", ["fails", "fails_deferred"])
def test_a_job_that_fails_fails_its_task_with_the_reason(
    place: str, runs: Runs, dag_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    del place
    ran = runs.test(dag_id)
    assert ran.tasks == {"task": "failed"}
    assert ran.xcoms["task"]["daskjob"]["exit_code"] == 3
    assert "return_value" not in ran.xcoms["task"]
    output = capfd.readouterr().out
    assert "UserFailure" in output
    assert ran.xcoms["task"]["daskjob"]["message"] in output


@pytest.mark.parametrize("dag_id", ["overdue", "overdue_deferred"])
def test_a_job_that_reaches_its_deadline_names_it(
    place: str, runs: Runs, dag_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    del place
    ran = runs.test(dag_id)
    assert ran.tasks == {"task": "failed"}
    assert ran.xcoms["task"]["daskjob"]["reason"] == "DeadlineExceeded"
    assert "PolicyFailure" in capfd.readouterr().out


def test_each_mapped_task_has_a_job_of_its_own(place: str, runs: Runs) -> None:
    del place
    ran = runs.test("mapped")
    assert ran.tasks == {"task[0]": "success", "task[1]": "success"}
    results = [ran.xcoms[f"task[{index}]"]["return_value"]["args"] for index in (0, 1)]
    assert results == [["first"], ["second"]]
    names = {ran.xcoms[f"task[{index}]"]["job_name"] for index in (0, 1)}
    assert len(names) == 2


def test_a_job_of_a_file_is_rendered_as_a_template(place: str, runs: Runs) -> None:
    del place
    ran = runs.test("file")
    assert ran.xcoms["task"]["job_name"].startswith("from-file-")
    day, task = ran.xcoms["task"]["return_value"]
    assert day.startswith("2026-01-")
    assert task == "task"


def test_a_job_that_ended_is_kept_or_deleted_as_its_task_says(
    with_crds: Kubernetes, place: str, runs: Runs
) -> None:
    ran = runs.test("deleted")
    kept = {
        item["metadata"]["name"]
        for item in Kubectl(with_crds, place).items("daskjobs")
        if not item["metadata"].get("deletionTimestamp")
    }
    found = {task: ran.xcoms[task]["job_name"] in kept for task in ran.tasks}
    assert found == {
        "keep_job_done": True,
        "keep_job_3": True,
        "delete_job_done": False,
        "delete_job_3": False,
        "delete_succeeded_job_done": False,
        "delete_succeeded_job_3": True,
    }
    states = {task: task.rpartition("_")[2] == "done" for task in ran.tasks}
    assert {task: state == "success" for task, state in ran.tasks.items()} == states


def test_a_script_runs_on_the_workers_of_its_cluster(place: str, runs: Runs) -> None:
    del place
    ran = runs.test("script")
    assert ran.xcoms["sums"]["return_value"] == {"total": 4950}


def test_an_operator_of_another_cloud_brings_its_hooks(place: str, runs: Runs) -> None:
    del place
    ran = runs.test("cloud")
    assert ran.xcoms["task"]["return_value"]["args"] == ["cloud"]


def test_hooks_return_clients_of_the_namespace_of_the_connection(
    place: str, airflow_home: object
) -> None:
    del airflow_home
    from daskjob.integrations.airflow import AsyncDaskJobHook, DaskJobHook

    async def namespace() -> str:
        async with await AsyncDaskJobHook().get_client() as client:
            return await client.namespace()

    with DaskJobHook().get_client() as client:
        assert client.place.name == f"namespace {place}"
    assert asyncio.run(namespace()) == place


def test_tasks_share_a_cluster_that_is_deleted_afterwards(
    with_crds: Kubernetes, place: str, runs: Runs
) -> None:
    ran = runs.test("cluster")
    assert set(ran.tasks.values()) == {"success"}
    assert ran.xcoms["wait"]["return_value"] == {"total": 4950}
    assert ran.xcoms["create"]["scheduler_address"].startswith("tcp://")
    name = ran.xcoms["create"]["cluster_name"]
    clusters = Kubectl(with_crds, place).items("daskclusters")
    assert name not in [
        item["metadata"]["name"]
        for item in clusters
        if not item["metadata"].get("deletionTimestamp")
    ]


def test_a_decorated_function_runs_as_a_job(runs: Runs) -> None:
    ran = runs.test("decorated")
    assert ran.xcoms["total"]["return_value"] == 42


def test_a_script_runs_on_this_machine(runs: Runs) -> None:
    ran = runs.test("here")
    assert ran.tasks == {"sums": "success", "echo[0]": "success", "echo[1]": "failed"}
    assert ran.xcoms["sums"]["return_value"] == {"total": 4950}
    arguments = ran.xcoms["echo[0]"]["return_value"]["args"]
    assert arguments[0].startswith("2026-01-")
    assert arguments[1] == "a b"
    assert ran.xcoms["echo[1]"]["daskjob"]["exit_code"] == 7


def test_the_nightly_example_runs_on_a_cluster(
    place: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    del place
    monkeypatch.setenv("DASKJOB_IMAGE", os.environ["DASKJOB_TEST_IMAGE"])
    ran = runs.test("nightly_census", "examples/nightly")
    assert ran.tasks == {"census": "success", "check": "success"}
    assert ran.xcoms["check"]["return_value"] == ran.xcoms["census"]["return_value"]["files"]
    tasks = ran.xcoms["census"]["daskjob"]["tasks"]
    assert tasks is None or tasks["erred"] == 0


def test_the_nightly_example_runs_on_this_machine(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKJOB_HERE", "1")
    ran = runs.test("nightly_census", "examples/nightly")
    assert ran.tasks == {"census": "success", "check": "success"}
