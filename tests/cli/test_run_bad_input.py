"""Invalid input: every mistake is reported at once, and nothing is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Daskjob, Done, job


def nothing_started(daskjob: Daskjob, done: Done) -> bool:
    """Whether the command left no trace of a run and raised no exception."""
    return not daskjob.state.exists() and not daskjob.alive() and "Traceback" not in done.err


def test_ten_mistakes_are_ten_messages_and_nothing_starts(daskjob: Daskjob) -> None:
    wrong: dict[str, Any] = job(
        ["python"],
        name="Simple_Job",
        backoffLimit=-1,
        activeDeadlineSeconds=0,
        attemptDeadlineSeconds="soon",
        ttlSecondsAfterFinished=0,
        stallAction="Explode",
        runnerStart="Later",
        backoff={"factor": 0},
        deletionPolicy={"onSuccess": "Burn"},
    )
    wrong["spec"]["cluster"]["spec"]["worker"]["replicas"] = -2
    done = daskjob("run", daskjob.manifest(wrong))
    assert done.code == 125
    assert nothing_started(daskjob, done)
    assert "has 10 mistakes" in done.err
    for path in (
        "metadata.name",
        "spec.backoffLimit",
        "spec.activeDeadlineSeconds",
        "spec.attemptDeadlineSeconds",
        "spec.ttlSecondsAfterFinished",
        "spec.stallAction",
        "spec.runnerStart",
        "spec.backoff.factor",
        "spec.deletionPolicy.onSuccess",
        "spec.cluster.spec.worker.replicas",
    ):
        assert f"\n  {path}: " in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.py"], "there is no file 'missing.py'"),
        (["."], "is a folder"),
        ([], "Missing argument 'SCRIPT'"),
        (["--memory", "plenty", "a.py"], "'plenty' is not a size: write one such as 512Mi"),
        (["--memory", "1MiB", "a.py"], "'1MiB' is 1 MiB, and a worker needs at least 128"),
        (["--memory", "4", "a.py"], "did you mean 4GiB?"),
        (["--memory", "0", "a.py"], "leave the option out"),
        (["--memory", "auto", "a.py"], "leave the option out"),
        (["--timeout", "0", "a.py"], "'0' is not possible; write 1 s or more"),
        (["--timeout", "-5", "a.py"], "'-5' is not a duration; write one such as 90, 90s"),
        (["--timeout", "soon", "a.py"], "write one such as 90, 90s"),
        (["--workers", "-1", "a.py"], "'--workers': '-1' is not possible; write a whole number"),
        (["-w", "2.5", "a.py"], "'--workers': '2.5' is not possible; write a whole number"),
        (["-w", "", "a.py"], "'--workers': '' is not possible; write a whole number from 0 to"),
        (["--threads", "0", "a.py"], "'--threads': '0' is not possible; write a whole number"),
        (["--retries", "-1", "a.py"], "'--retries': '-1' is not possible; write a whole number"),
        (["-n", "4", "a.py"], "the number of workers is -w N"),
        (["-u", "a.py"], "daskjob run python -u my_script.py"),
        (["--detach", "a.py"], "nohup daskjob run"),
        (["--nmae", "x", "a.py"], "Did you mean '--name'"),
        (["--name", "Simple_Job", "a.py"], "--name"),
        (["--name", "My Job", "a.py"], "did you mean 'my-job'?"),
        (["--name", "2024", "a.py"], "did you mean 'job-2024'?"),
        (["--name", "a" * 64, "a.py"], "63 characters"),
        (["--env", "1=2", "a.py"], "'1' is not the name of a variable; write KEY=VALUE"),
        (["--env", "=2", "a.py"], "'' is not the name of a variable"),
        (["--env", "A B", "a.py"], "'A B' is not the name of a variable"),
        (["--env", "NOWHERE_TO_BE_FOUND", "a.py"], "is not set in this environment"),
        (["--result-file", "missing/result.json", "a.py"], "is not a writable folder"),
        (["-o", "xml", "a.py"], "'xml' is not one of"),
        (["job.json", "--limit"], "takes no arguments"),
        (["--memory", "1GiB", "job.json"], "a manifest has --memory-limit in the args of its"),
        (["-t", "2", "job.json"], "a manifest has --nthreads in the args of its workers"),
    ],
)
def test_wrong_usage_is_2_with_a_message(daskjob: Daskjob, words: list[str], message: str) -> None:
    daskjob.script("print('never')", "a.py")
    daskjob.manifest(job("print('never')"))
    done = daskjob("run", *words)
    assert done.code == 2
    assert message in done.err
    assert "daskjob run --help" in done.err
    assert done.out == b""
    assert nothing_started(daskjob, done)


def test_wrong_variable_is_named_without_its_value(daskjob: Daskjob) -> None:
    done = daskjob("run", "--env", "MY-TOKEN=hunter2", daskjob.script("print(1)"))
    assert (done.code, done.out) == (2, b"")
    assert "'MY-TOKEN' is not the name of a variable" in done.err
    assert "hunter2" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_unreadable_script_is_2(daskjob: Daskjob) -> None:
    script = daskjob.script("print('never')")
    script.chmod(0)
    done = daskjob("run", script)
    assert done.code == 2
    assert "permission denied" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rum", "a.py"], "Did you mean 'run'"),
        (["a.py"], "daskjob run a.py"),
        (["job.yaml"], "daskjob run job.yaml"),
        (["zzz"], "there is no command 'zzz'"),
        (["get", "x"], "Write: daskjob list"),
        (["rm", "x"], "Write: daskjob delete"),
        (["help"], "Write: daskjob --help"),
        (["validate", "-f", "a.yaml", "-f", "b.yaml"], "'-f'; name the files without an option"),
        (["logs", "--lines", "5"], "--tail N"),
        (["render", "--timeout", "1h", "a.py"], "--deadline"),
    ],
)
def test_unknown_command_gets_a_suggestion(
    daskjob: Daskjob, words: list[str], message: str
) -> None:
    done = daskjob(*words)
    assert done.code == 2
    assert message in done.err


BROKEN = {
    "duplicate": (b"kind: DaskJob\nspec: 1\nkind: DaskJob\n", ["'kind' appears twice", "line 3"]),
    "syntax": (b"kind: DaskJob\nspec: [1,\nmetadata: x\n", ["is not valid YAML", "line 2"]),
    "tabs": (b"kind: DaskJob\nspec:\n\tjob: 1\n", ["is not valid YAML", "line 3"]),
    "latin-1": ("kind: DaskJob # häßlich\n".encode("latin-1"), ["UTF-8"]),
    "binary": (bytes(range(32)), ["is not valid YAML"]),
    "python": (b"a: !!python/object/apply:os.system [echo]\n", ["is not valid YAML", "line 1"]),
    "deep": (b"[" * 100_000, ["nested too deeply"]),
    "empty": (b"", ["is empty"]),
    "comment": (b"# nothing\n---\n", ["is empty"]),
    "list": (b"- kind: DaskJob\n", ["write a mapping of fields"]),
    "text": (b"print('hello')\n", ["write a mapping of fields"]),
    "other kind": (b"kind: ConfigMap\n", ["no DaskJob", "ConfigMap"]),
    "two jobs": (
        b"{kind: DaskJob, metadata: {name: a}}\n---\n{kind: DaskJob, metadata: {name: b}}\n",
        ["2 DaskJobs", "a, b"],
    ),
    "nothing but a kind": (b"kind: DaskJob\n", ["apiVersion: is missing", "spec: is missing"]),
    "wrong types": (b"{kind: DaskJob, metadata: 1, spec: [2]}\n", ["metadata", "spec"]),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_file_that_is_not_a_manifest_is_125_with_its_name_and_line(
    daskjob: Daskjob, command: str, case: str
) -> None:
    content, messages = BROKEN[case]
    (daskjob.work / "job.yaml").write_bytes(content)
    done = daskjob(command, "job.yaml")
    if command == "validate" and case in ("other kind", "two jobs"):
        return
    assert done.code == 125
    assert "job.yaml" in done.err or case in ("nothing but a kind", "wrong types")
    for message in messages:
        assert message in done.err
    assert "unicode string" not in done.err
    assert nothing_started(daskjob, done)


def test_options_on_a_malformed_manifest_raise_no_exception(daskjob: Daskjob) -> None:
    wrong = job("pass")
    wrong["metadata"] = ["name"]
    wrong["spec"]["job"]["spec"]["containers"] = [1, {"env": [2, {"name": "A"}]}, {"env": 3}]
    wrong["spec"]["cluster"] = {"spec": {"worker": []}}
    done = daskjob(
        *("run", "--env", "A=1", "--workers", 1, "--name", "b", "--retries", 1),
        daskjob.manifest(wrong),
    )
    assert done.code == 125
    assert nothing_started(daskjob, done)


def test_yaml_merge_keys_and_anchors_work(daskjob: Daskjob) -> None:
    text = """\
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata: {name: merged}
spec:
  job:
    spec:
      restartPolicy: Never
      containers:
        - &base {name: job-runner, image: here, args: [python, -c, "print('merged')"]}
  cluster:
    spec:
      worker: {replicas: 0, spec: {containers: [{<<: *base, name: worker}]}}
      scheduler:
        spec: {containers: [{<<: *base, name: scheduler, args: [dask, scheduler]}]}
"""
    (daskjob.work / "job.yaml").write_text(text)
    done = daskjob("run", "job.yaml")
    assert (done.code, done.out) == (0, b"merged\n"), done.err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"managedBy": "kueue.x-k8s.io/multikueue"}, "runs jobs on this machine"),
        (
            {"cluster": None, "clusterRef": {"name": "shared"}},
            "no clusters on this machine to refer to",
        ),
    ],
)
def test_spec_that_no_machine_can_run_is_125(
    daskjob: Daskjob, spec: dict[str, Any], message: str
) -> None:
    manifest = job("print('never')")
    manifest["spec"].update(spec)
    done = daskjob("run", daskjob.manifest(manifest))
    assert done.code == 125
    assert message in done.err
    assert nothing_started(daskjob, done)


def test_ignored_objects_of_a_file_are_named_once(daskjob: Daskjob) -> None:
    import yaml

    documents = [{"kind": "Service"}, job("print(1)"), {"kind": "Deployment"}]
    path = daskjob.work / "job.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    done = daskjob("run", path)
    assert done.code == 0
    assert done.err.count("ignored on this machine: Service, Deployment in") == 1


def test_foreign_files_in_the_state_directory_are_ignored(daskjob: Daskjob, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "foreign").mkdir()
    (tmp_path / "state" / "note.txt").write_text("mine")
    (tmp_path / "state" / "broken.12345678").mkdir()
    (tmp_path / "state" / "broken.12345678" / "job.json").write_text("{")
    assert daskjob.run(daskjob.script("print(1)")).code == 0
    assert daskjob("list").code == 0
