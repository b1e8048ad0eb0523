"""Arguments that cannot work are rejected when Airflow reads the DAG, each by its name.

Templates, and arguments of mapped tasks, are judged when the task runs.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskjob.core.errors import DaskJobError, UnknownArgument
from daskjob.core.errors import NotFound as Gone
from daskjob.core.status import JobStatus, JobStatusWord
from daskjob.integrations.airflow.arguments import WrongArguments

JOB: dict[str, Any] = {"image": "example.org/dask:7", "args": ["python", "sums.py"]}


@pytest.fixture
def operators(airflow_home: Path) -> Any:
    """The operators, within a DAG."""
    del airflow_home
    from airflow.sdk import DAG

    from daskjob.integrations import airflow

    with DAG("arguments", schedule=None, start_date=datetime(2026, 1, 1)):
        yield airflow


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"args": "python sums.py"}, "args: 'python sums.py' is not allowed; write a list"),
        ({"env": ["A=1"]}, "env: ['A=1'] is not allowed; write a dictionary"),
        ({"settings": ["threads=2"]}, "settings: ['threads=2'] is not allowed; write a dict"),
        ({"labels": ["a"]}, "labels: ['a'] is not allowed"),
        ({"n_workers": -1}, "n_workers: -1 is not allowed; write a whole number, 0 or more"),
        ({"n_workers": "{{ params.n }}"}, "n_workers: '{{ params.n }}' is not allowed"),
        ({"adapt": "2:10"}, "adapt: '2:10' is not allowed; write the least and the largest"),
        ({"adapt": {"minimum": 1}}, "adapt: {'minimum': 1} is not allowed"),
        ({"worker_resources": {"ram": "2Gi"}}, "write a dictionary of cpu, memory and gpu"),
        ({"job": ["a"]}, "job: ['a'] is not allowed; write a DaskJob, or its YAML"),
        ({"startup_timeout_seconds": timedelta(minutes=1)}, "write a whole number of seconds"),
        ({"operator_timeout_seconds": "1m"}, "operator_timeout_seconds: '1m' is not allowed"),
        ({"ttl_seconds_after_finished": -1}, "ttl_seconds_after_finished: -1 is not allowed"),
        ({"log_tail_on_failure": "a"}, "log_tail_on_failure: 'a' is not allowed"),
        ({"dashboard_url": "https://x/{ns}"}, "only {name}, {namespace} and {cluster}"),
        ({"local": "yes"}, "local: 'yes' is not allowed; write True or False"),
    ],
)
def test_a_wrong_argument_is_named_when_the_dag_is_read(
    operators: Any, given: dict[str, Any], text: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(WrongArguments) as caught:
        operators.DaskJobOperator(task_id="sums", **{**JOB, **given})
    assert "task sums: " in str(caught.value)
    assert text in str(caught.value)
    # For a mapped task, whose arguments are known when it runs: no retry mends it.
    assert isinstance(caught.value, AirflowFailException)


def test_all_mistakes_are_reported_and_templates_wait_for_their_values(operators: Any) -> None:
    with pytest.raises(WrongArguments) as caught:
        operators.DaskJobOperator(task_id="sums", **JOB, env=["A"], adapt=3)
    assert len(str(caught.value).splitlines()) == 2
    late = operators.DaskJobOperator(task_id="late", image="{{ params.image }}", args="{{ ds }}")
    with pytest.raises(WrongArguments, match=r"args: .* is not allowed"):
        late.judge_arguments(rendered=True)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"cmds": ["python"]}, "cmds: write args (with image: the whole command)"),
        ({"env_vars": {"A": "1"}}, "env_vars: write env"),
        ({"memory": "3Gi"}, 'memory: write worker_resources={"memory": "4Gi", "cpu": 2}'),
        ({"node_selector": {"a": "b"}}, 'node_selector: write settings={"node-selector": …}'),
        ({"get_log": True}, "get_log: there is no such argument (did you mean get_logs?)"),
    ],
)
def test_an_unknown_argument_gets_the_name_that_it_has_here(
    operators: Any, given: dict[str, Any], text: str
) -> None:
    with pytest.raises(UnknownArgument) as caught:
        operators.DaskJobOperator(task_id="sums", retries=2, **JOB, **given)
    first, *hints = str(caught.value).splitlines()
    assert first.startswith("Invalid arguments were passed to DaskJobOperator (task_id: sums)")
    assert hints[1:] == [text]


def test_other_operators_judge_their_arguments_too(operators: Any) -> None:
    with pytest.raises(WrongArguments, match="idle_timeout_seconds: '1h' is not allowed"):
        operators.CreateDaskClusterOperator(task_id="create", idle_timeout_seconds="1h")
    with pytest.raises(TypeError, match="missing keyword argument 'cluster'"):
        operators.DeleteDaskClusterOperator(task_id="delete")
    with pytest.raises(WrongArguments, match="job_name: 3 is not allowed"):
        operators.DaskJobSensor(task_id="wait", job_name=3)
    with pytest.raises(UnknownArgument, match="did you mean job_name"):
        operators.DaskJobSensor(task_id="other", job_name="a", jobname="b")


def test_a_decorated_function_has_no_other_source(operators: Any) -> None:
    from airflow.sdk import task

    del operators
    with pytest.raises(WrongArguments, match="script: the decorated function is what runs"):
        task.daskjob(local=True, script="sums.py")(lambda: 1)()


def test_a_setting_is_called_by_its_argument() -> None:
    from daskjob.integrations.airflow.sources import Source, manifest_on_cluster

    def message(**settings: object) -> str:
        with pytest.raises(DaskJobError) as caught:
            manifest_on_cluster(Source(args=["true"], settings={"image": "a", **settings}))
        return str(caught.value)

    assert message(workers=-1).startswith("n_workers: -1: ")
    assert message(labels={"a b": "c"}).startswith("labels: 'a b': ")
    assert message(memory="2 GBB").startswith("worker_resources: memory: '2 GBB': ")
    assert message(threads="two").startswith("settings: threads: 'two': ")
    assert message(thread=2).startswith("settings: there is no setting 'thread'")


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ("job.yaml", "the path of a file is job_file"),
        ("kind: Job", "its kind is 'Job'; write kind: DaskJob"),
        ({"spec": {}}, "its kind is None; write kind: DaskJob"),
    ],
)
def test_what_is_no_daskjob_is_rejected_by_its_kind(job: Any, text: str) -> None:
    from daskjob.integrations.airflow.sources import Source, manifest_on_this_machine

    with pytest.raises(DaskJobError) as caught:
        manifest_on_this_machine(Source(job=job, settings={"namespace": "team"}))
    assert text in str(caught.value)


def huge() -> str:
    return "x" * 9000


def no_json() -> object:
    return object()


def small() -> tuple[int, ...]:
    return (1, 2)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (huge, "the result of huge has 9002 bytes as JSON, and a job keeps 4096"),
        (no_json, "the result of no_json, of type object, is not JSON"),
        (small, ""),
    ],
)
def test_a_function_fails_whose_result_its_job_cannot_keep(
    function: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspect

    from daskjob.integrations.airflow.sources import task_program

    path = tmp_path / "result"
    monkeypatch.setenv("DASKJOB_RESULT_FILE", str(path))
    program = task_program(function, inspect.getsource(function), (), {})
    if not text:
        exec(program, {"__name__": "__main__"})
        assert json.loads(path.read_text()) == [1, 2]
        return
    with pytest.raises(Exception, match=text):
        exec(program, {"__name__": "__main__"})


class _Log:
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, *_: object) -> None:
        return None

    def warning(self, text: str, *values: object) -> None:
        self.lines.append(text % values)


class _NoClient:
    """Stands for a cluster from which the job is gone."""

    def __getattr__(self, name: str) -> Any:
        def gone(*_: object, **__: object) -> None:
            raise Gone(name)

        return gone


def test_a_result_that_was_left_out_is_a_warning(airflow_home: Path) -> None:
    del airflow_home
    from daskjob.integrations.airflow.conclusion import Conclusion
    from daskjob.submit.jobs import JobRef

    log: Any = _Log()
    client: Any = _NoClient()
    end = Conclusion(client, log, "keep_job", tail=0, shows_reason=False)
    for message in ("The end.", "Its result is longer than 4096 bytes and was left out."):
        status = JobStatus(job_status=JobStatusWord.SUCCESSFUL, message=message)
        assert end.of(JobRef("sums", "team", "u"), status, None) is None
    assert len(log.lines) == 1
    assert "sums: Its result is longer than 4096 bytes and was left out." in log.lines[0]
    assert "write what is larger to storage" in log.lines[0]


@pytest.mark.parametrize("retry", [True, False])
def test_a_cluster_that_does_not_start_is_deleted_unless_the_next_try_waits_for_it(
    operators: Any, retry: bool
) -> None:
    from daskjob.core.errors import Forbidden, Timeout

    operator = operators.CreateDaskClusterOperator(task_id="create")
    deleted: list[object] = []
    client, cluster = SimpleNamespace(delete=deleted.append), SimpleNamespace(name="create-1")
    task = SimpleNamespace(leaves_job=lambda: retry)
    operator._give_up(task, client, cluster, Timeout("not ready"))
    assert deleted == ([] if retry else [cluster])
    operator._give_up(task, client, cluster, Forbidden("no permission"))
    assert deleted[-1:] == [cluster]


class _NoCredentials:
    """Credentials that cannot be used."""

    async def access(self) -> Any:
        from daskjob.kube.access import NoCredentials

        raise NoCredentials("kubeconfig /a cannot be used")

    def at_once(self) -> Any:
        return "access", "team"


@pytest.mark.parametrize("exists", [True, False])
async def test_an_access_that_cannot_be_used_names_its_connection(exists: bool) -> None:
    from daskjob.integrations.airflow.connections import Named

    credentials: Any = _NoCredentials()
    with pytest.raises(DaskJobError) as caught:
        await Named(credentials, "prod", exists=exists).access()
    at_once: Any = Named(credentials, "prod", exists=exists).at_once()
    assert at_once == ("access", "team")
    assert str(caught.value) == (
        "connection prod: kubeconfig /a cannot be used"
        if exists
        else "kubeconfig /a cannot be used; or create the connection prod, of type kubernetes: "
        "there is none"
    )


def test_a_connection_of_another_type_is_rejected(
    airflow_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del airflow_home
    from daskjob.integrations.airflow.connections import WrongConnection
    from daskjob.integrations.airflow.lookup import found_connection

    monkeypatch.setenv("AIRFLOW_CONN_PG", "postgres://host/database")
    with pytest.raises(WrongConnection, match="connection pg is of type postgres"):
        found_connection("pg", {})
