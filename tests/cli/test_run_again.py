"""``retry`` and ``run --like``: a new job of this machine, like an earlier one."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daskjob.submit.local_again import EarlierRun, changes_since, complete_variables
from daskjob.submit.local_records import Origin, RunRecord, RunRecords, fingerprint, record_of_run
from daskjob.submit.records.completeness import Incomplete
from tests.cli.command import Daskjob, Done, job
from tests.cli.in_process import call
from tests.waiting import wait_until

SHOWS = """\
import os, sys
from distributed import Client
client = Client()
print(sys.argv[1:], os.path.basename(os.getcwd()), len(client.ncores()))
print(client.submit(lambda: [os.getenv(name) for name in ("PLAIN", "API_TOKEN")]).result())
"""


@pytest.fixture(autouse=True)
def background_ends(daskjob: Daskjob) -> Iterator[None]:
    """Wait for the processes of ended jobs in the background, which end a moment later."""
    yield
    wait_until(lambda: not daskjob.left_over(), shows=daskjob.left_over)


def done(daskjob: Daskjob, *words: object, **variables: str) -> Done:
    """Run a command in this process, and another folder than the job's."""
    return call(words, {**daskjob.environment, **variables})


def ended(daskjob: Daskjob, name: str) -> str:
    """Wait for a job to end; return its output."""
    assert done(daskjob, "wait", "--timeout", "60s", name).code == 0, done(daskjob, "why", name)
    return done(daskjob, "logs", name).text


def new_name(found: Done) -> str:
    assert found.code == 0, found.err
    return found.text.split()[-1]


def test_retry_has_the_folder_the_arguments_and_the_variables_of_the_first(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script(SHOWS, "shows.py")
    variables = ("-e", "PLAIN=a$b 'c'", "-e", "API_TOKEN")
    words = ("run", "-w", 1, "-t", 1, *variables, "shows.py", "one", "two words")
    assert daskjob(*words, env={"API_TOKEN": "first"}).code == 0
    files = [path for path in daskjob.state.rglob("*") if path.is_file()]
    assert not [path for path in files if b"first" in path.read_bytes() and path.suffix != ".log"]

    missing = done(daskjob, "retry", "shows")
    assert missing.code == 125
    assert "no secret values" in missing.err
    assert "--like shows-" in missing.err
    assert missing.err.endswith(" -e API_TOKEN=VALUE\n")

    again = done(daskjob, "retry", "shows", API_TOKEN="second")
    name = new_name(again)
    assert f"daskjob: for its output: daskjob attach {name}" in again.err
    output = "['one', 'two words'] work 1\n[\"a$b 'c'\", '{}']\n"
    assert ended(daskjob, name) == output.format("second")

    script.write_text(f"{SHOWS}print('changed')\n")
    given = ("--like", name, "-w", 2, "-e", "API_TOKEN=third", "--memory", "300MiB")
    like = daskjob("run", *given, "--set", "spec.stallAction=Fail", cwd=daskjob.home)
    two = output.format("third").replace("work 1", "work 2")
    assert (like.code, like.text) == (0, f"{two}changed\n"), like.err
    assert f"{script} has changed since {name} ran; it runs as it is now" in like.err
    assert "spec.cluster.spec.worker.replicas: 1 → 2" in like.err
    assert "spec.stallAction: absent → 'Fail'" in like.err
    assert "third" not in like.err

    script.unlink()
    gone = done(daskjob, "retry", name)
    assert gone.code == 125
    assert f"{name} ran the script {script}, which is gone" in gone.err


def test_retry_is_one_job_until_it_ends_and_for_each_token(daskjob: Daskjob) -> None:
    daskjob.script("import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)")
    (daskjob.work / "go").touch()
    assert daskjob("run", "-w", 0, "--name", "first", "script.py").code == 0
    (daskjob.work / "go").unlink()
    one = new_name(done(daskjob, "retry", "first"))
    running = done(daskjob, "retry", one)
    assert (running.code, running.err) == (125, f"daskjob: {one} has not ended; cancel it first\n")
    again = done(daskjob, "retry", "first")
    assert again.text == f"first runs again already as {one}\n"
    other = new_name(done(daskjob, "retry", "first", "--token", "mine"))
    assert other != one
    (daskjob.work / "go").touch()
    ended(daskjob, one)
    ended(daskjob, other)
    assert new_name(done(daskjob, "retry", "first", "--token", "mine")) == other
    third = new_name(done(daskjob, "retry", "first"))
    assert third not in (one, other)
    ended(daskjob, third)


def test_job_whose_folder_is_gone_runs_again_from_its_record(daskjob: Daskjob) -> None:
    manifest = job("import os; print(os.environ['PLACE'], os.environ['FROM_SECRET'])", name="made")
    container = manifest["spec"]["job"]["spec"]["containers"][0]
    source = {"secretKeyRef": {"name": "mine", "key": "word"}}
    container["env"] = [
        {"name": "PLACE", "value": "here"},
        {"name": "FROM_SECRET", "valueFrom": source},
    ]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}}
    file = daskjob.work / "both.json"
    objects = [manifest, {**secret, "stringData": {"word": "hidden-text"}}]
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    assert daskjob("run", "both.json").text == "here hidden-text\n"
    (folder,) = daskjob.state.glob("made.*")
    shutil.rmtree(folder)
    (record,) = (daskjob.state / ".ran").glob("*.json")
    assert record.stat().st_mode & 0o777 == 0o600
    assert "hidden-text" not in record.read_text()

    hint = (
        "daskjob: made is gone from this machine; daskjob retry made runs it again, from its record"
    )
    assert done(daskjob, "status", "made").err == f"{hint}\n"
    again = done(daskjob, "retry", "made")
    name = new_name(Done(again.code, again.text.partition(",")[0].encode(), again.err))
    assert (
        again.text == f"made runs again as {name}, from its record: it is gone from this machine\n"
    )
    assert ended(daskjob, name) == "here hidden-text\n"
    like = daskjob("run", "-q", "--like", "made", "-e", "PLACE=there", cwd=daskjob.home)
    assert (like.code, like.text) == (0, "there hidden-text\n"), like.err

    file.unlink()
    assert f"in {file}, which is gone" in done(daskjob, "retry", name).err
    assert done(daskjob, "delete", name).code == 0
    deleted = done(daskjob, "retry", name)
    assert deleted.code == 125
    assert name in deleted.err


def test_job_of_a_script_here_is_submitted_by_its_script(daskjob: Daskjob) -> None:
    assert daskjob("run", "-w", 0, daskjob.script("print(1)").name, "a b", "$x").code == 0
    like = done(daskjob, "submit", "--like", "script")
    assert like.code == 2
    assert "submit the script: daskjob submit script.py 'a b' '$x'" in like.err


@pytest.mark.parametrize("words", [("x.py",), ("-m", "module"), ("-c", "print(1)")])
def test_like_takes_no_other_script(daskjob: Daskjob, words: tuple[str, ...]) -> None:
    found = done(daskjob, "run", "--like", "script", *words)
    assert (found.code, "runs the script of the other job" in found.err) == (2, True), found.err


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("spec.stallActio=Fail", "stallAction"),
        ("spec.backoffLimit=many", "backoffLimit"),
        ("spec.stallAction", "write PATH=VALUE"),
    ],
)
def test_field_that_is_wrong_is_a_usage_error(daskjob: Daskjob, field: str, message: str) -> None:
    found = done(daskjob, "run", "--set", field, str(daskjob.script("print(1)")))
    assert (found.code, message in found.err) == (2, True), found.err


def test_field_of_a_new_job_is_set(daskjob: Daskjob) -> None:
    words = ("--set", "spec.stallAction=Fail", "--set", "metadata.labels.team=blue")
    assert daskjob("run", "-w", 0, *words, daskjob.script("print(1)")).code == 0
    assert daskjob.job()["spec"]["stallAction"] == "Fail"
    assert daskjob.job()["metadata"]["labels"] == {"team": "blue"}


# Records


def recorded(folder: Path, **values: object) -> RunRecord:
    manifest = job(["python", "x.py"])
    manifest["metadata"]["uid"] = "1234567890"
    record = RunRecord(manifest, str(folder), python=sys.executable, dask_python=sys.executable)
    return replace(record, **values)  # type: ignore[arg-type]


def test_what_is_gone_is_named(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text("print(1)")
    right = recorded(tmp_path, script=str(script), script_hash=fingerprint(str(script)))
    assert changes_since(right) == ()
    stdin = job(["python", "-"])
    for record, message in (
        (replace(right, folder=str(tmp_path / "absent")), "ran in the folder .*absent, which is"),
        (replace(right, script=str(tmp_path / "y.py")), "ran the script .*y.py, which is gone"),
        (replace(right, python="/absent/python"), "ran with /absent/python, which is gone"),
        (replace(right, dask_python="/absent/p"), "run --like job --python PYTHON"),
        (replace(right, file=str(tmp_path / "job.yaml")), "job.yaml, which is gone"),
        (replace(right, manifest=stdin), "read its script from standard input"),
    ):
        with pytest.raises(Incomplete, match=message):
            changes_since(record)
    assert changes_since(replace(right, python="/absent/python"), "python3") == ()
    assert len(changes_since(replace(right, script_hash="other"))) == 1


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("PLAIN", "text", True),
        ("API_TOKEN", "text", False),
        ("DB_PASSWORD", "text", False),
        ("URL", "https://user:hunter2@example.org/", False),
        ("OPTIONS", "--password=hunter2", False),
        ("PATH_OF_KEY", "/home/me/.key", True),
        ("EMPTY", "", True),
    ],
)
def test_secret_values_of_variables_are_not_kept(
    tmp_path: Path, name: str, value: str, *, kept: bool
) -> None:
    record = record_of_run(
        recorded(tmp_path).manifest,
        folder=tmp_path,
        variables={name: value},
        environment={},
        pythons=("a", "b"),
        origin=Origin(),
    )
    assert record.variables == {name: value if kept else None}
    earlier = EarlierRun(record, record.manifest)
    if kept:
        assert complete_variables(earlier, record.manifest, {}) == {name: value}
        return
    with pytest.raises(Incomplete, match=f"needs {name}; .* -e {name}=VALUE"):
        # Not passed on, so the value of today is another one.
        complete_variables(earlier, record.manifest, {name: "other"})
    assert complete_variables(earlier, record.manifest, {}, {name: "new"}) == {name: "new"}
    passed_on = EarlierRun(replace(record, passed_on=(name,)), record.manifest)
    assert complete_variables(passed_on, record.manifest, {name: "other"}) == {name: "other"}


def test_values_that_a_record_lacks_are_named_unless_they_are_given(tmp_path: Path) -> None:
    manifest = job("pass")
    runner = manifest["spec"]["job"]["spec"]["containers"][0]
    runner["env"] = [{"name": "API_TOKEN", "value": "<not recorded: API_TOKEN>"}]
    earlier = EarlierRun(recorded(tmp_path), manifest, from_record=True)
    with pytest.raises(Incomplete, match="needs API_TOKEN"):
        complete_variables(earlier, manifest, {})
    assert complete_variables(earlier, manifest, {}, {"API_TOKEN": "x"}) == {"API_TOKEN": "x"}
    assert complete_variables(earlier, job("pass"), {}) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "manifest": 1}']
)
def test_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    records = RunRecords(tmp_path)
    records.add(recorded(tmp_path))
    found = records.of("job")
    assert found == recorded(tmp_path)
    assert records.of("job", "1234567890") == found
    assert records.of("job", "other") is None
    (path,) = (tmp_path / ".ran").glob("*")
    path.write_text(text)
    assert records.of("job") is None
    path.unlink()
    os.mkfifo(path)
    assert records.of("job") is None
    records.remove("job", "1234567890")
    assert not path.exists()


def test_oldest_records_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskjob.submit.local_records.KEPT_RECORDS", 2)
    records = RunRecords(tmp_path)
    for number in range(4):
        manifest = job("pass", name=f"job-{number}")
        manifest["metadata"]["uid"] = f"1234567{number}"
        records.add(replace(recorded(tmp_path), manifest=manifest))
        (path,) = (tmp_path / ".ran").glob(f"job-{number}.*")
        os.utime(path, (time.time() - 100 + number,) * 2)
    assert [records.of(f"job-{number}") is not None for number in range(4)] == [False] * 2 + [
        True
    ] * 2
