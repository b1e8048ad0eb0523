"""Records of submissions: private, complete, without secrets, limited; never a reason to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import Job, JobRef
from daskjob.submit.local import LocalJobs
from daskjob.submit.records import store
from daskjob.submit.records.clusters import Answer
from daskjob.submit.records.my_jobs import MyJobs
from daskjob.submit.records.record import GONE, ClusterAddress, Record, record_of
from daskjob.submit.records.recording import recorded
from daskjob.submit.records.secret_values import missing_values, without_secret_values
from daskjob.submit.records.store import FOLDER, Records

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def sent(name: str = "sums", **spec: object) -> Manifest:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {"submissionID": f"token-{name}", **spec},
    }


def record(
    name: str = "sums", uid: str = "u1", *, context: str = "prod", now: datetime | None = None
) -> Record:
    ref = JobRef(name, "team", uid)
    return record_of(sent(name), ref, ClusterAddress(context), now=now or datetime.now(UTC))


def test_record_has_the_place_the_token_and_the_manifest_and_is_private(tmp_path: Path) -> None:
    records = Records(tmp_path / "state")
    before = os.umask(0)
    try:
        records.add(record())
    finally:
        os.umask(before)
    (found,) = records.all()
    assert (found.where, found.name, found.uid) == ("prod/team", "sums", "u1")
    assert found.token == "token-sums"
    assert found.options == "-n team --context prod"
    assert found.manifest["spec"] == sent()["spec"]
    assert found.manifest["metadata"]["uid"] == "u1"
    folder = tmp_path / "state" / FOLDER
    modes = [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())]
    assert modes == [0o700, 0o600]


def test_folder_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER).chmod(0o755)
    Records(tmp_path).add(record())
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700


def test_same_job_has_one_record_with_its_first_time_and_its_end(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first = record(now=datetime.now(UTC) - timedelta(hours=1))
    records.add(first)
    records.note_status(first, {"phase": "Succeeded", "jobStatus": "Successful"})
    records.add(record())
    (found,) = records.all()
    assert found.time == first.time
    assert found.last_status.phase == "Succeeded"
    records.add(record(uid="u2"))
    records.add(record(context="other"))
    assert len(records.of("sums")) == 3
    records.remove(first)
    assert {(r.uid, r.cluster.context) for r in records.all()} == {("u2", "prod"), ("u1", "other")}


def test_same_token_keeps_the_spec_that_runs(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(record())
    again = record()
    records.add(replace(again, manifest={**again.manifest, "spec": {"backoffLimit": 9}}))
    (found,) = records.all()
    assert found.manifest["spec"] == sent()["spec"]


def test_job_that_was_gone_for_another_server_is_there_again(tmp_path: Path) -> None:
    records = Records(tmp_path / "state")
    records.add(record())
    running = Job(record().ref, {**record().manifest, "status": {"phase": "Running"}})
    answers = [Answer(), Answer({"u1": running}), Answer()]

    def listed() -> list[tuple[bool, str]]:
        jobs = MyJobs(
            LocalJobs(tmp_path),
            records,
            ask=lambda groups: dict.fromkeys(groups, answers.pop(0)),
        )
        return [(entry.gone, entry.job.status.phase) for entry in jobs.entries().entries]

    assert listed() == [(True, "Deleted")]
    assert listed() == [(False, "Running")]
    assert [found.status for found in records.all()] == [None]
    assert listed() == [(True, "Deleted")]


class OneRun(LocalJobs):
    """A run of this machine that was started at 12 o'clock; its time has whole seconds."""

    job = Job(
        JobRef("here", "", "run"),
        {"metadata": {"name": "here", "creationTimestamp": "2026-01-31T12:00:00Z"}},
    )

    def list(self, *, labels: str = "", namespace: str = "") -> tuple[Job, ...]:
        del labels, namespace
        return (self.job,)

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        del name, exact
        return self.job


@pytest.mark.parametrize(
    ("later", "names"),
    [
        (timedelta(milliseconds=700), ["here", "sums"]),
        (timedelta(seconds=-1), ["here", "sums"]),
        (timedelta(seconds=1), ["sums", "here"]),
    ],
)
def test_run_of_the_same_second_is_newer_than_a_submitted_job(
    tmp_path: Path, later: timedelta, names: list[str]
) -> None:
    records = Records(tmp_path / "state")
    old = record(now=NOW + later)
    records.add(old)
    records.note_status(old, GONE)
    jobs = MyJobs(OneRun(tmp_path), records, ask=lambda groups: dict.fromkeys(groups, Answer()))
    assert [entry.job.name for entry in jobs.entries().entries] == names
    if names[0] == "here":
        assert jobs.find().name == "here"


def test_job_that_is_gone_for_days_is_not_asked_for(tmp_path: Path) -> None:
    records = Records(tmp_path / "state")
    old = record(now=datetime.now(UTC) - timedelta(days=2))
    records.add(old)
    records.note_status(old, GONE)

    def ask(groups: object) -> NoReturn:
        pytest.fail(f"{groups} were asked for")

    jobs = MyJobs(LocalJobs(tmp_path), records, ask=ask)
    assert [entry.gone for entry in jobs.entries().entries] == [True]


def test_ends_of_many_jobs_are_noted_without_reading_the_folder_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(tmp_path)
    for number in range(20):
        records.add(record(f"job-{number}", f"u{number}"))
    reads = []
    entries = Records._entries

    def counted(self: Records) -> list[store._Entry]:
        reads.append(self)
        return entries(self)

    monkeypatch.setattr(Records, "_entries", counted)
    for found in records.all():
        records.note_status(found, {"phase": "Succeeded", "jobStatus": "Successful"})
    assert len(reads) == 1
    assert {found.last_status.phase for found in records.all()} == {"Succeeded"}


def test_end_of_a_job_that_was_forgotten_is_not_recorded(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.note_status(record(), {"phase": "Succeeded"})
    assert records.all() == ()


WRITER = """\
import sys
from pathlib import Path
from tests.submit.test_records import Records, record
records = Records(Path(sys.argv[1]))
for number in range(20):
    records.add(record(f"job-{sys.argv[2]}-{number}", f"u{sys.argv[2]}-{number}"))
    assert all(found.manifest["spec"] for found in records.all())
"""


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(Records(tmp_path).names()) == 60
    assert len(list((tmp_path / FOLDER).iterdir())) == 60


def test_the_oldest_records_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, now = Records(tmp_path), datetime.now(UTC)
    monkeypatch.setattr(store, "KEPT_RECORDS", 3)
    records.add(record("old", now=now - timedelta(days=31)))
    for number in range(5):
        records.add(record(f"n{number}", now=now + timedelta(seconds=number)))
    assert records.names() == ("n4", "n3", "n2")
    monkeypatch.setattr(store, "KEPT_BYTES", 1)
    records.add(record("last", now=now + timedelta(minutes=1)))
    assert records.names() == ("last",)


@pytest.mark.parametrize("name", [".0123456789abcdef", "20260131T000000.000000Z.sums.json", "x"])
def test_leftovers_of_a_killed_writer_are_no_records(tmp_path: Path, name: str) -> None:
    records = Records(tmp_path)
    records.add(record())
    left = tmp_path / FOLDER / name
    left.write_text("{")
    os.utime(left, (0, 0))
    assert records.names() == ("sums",)
    records.add(record("next"))
    assert left.exists() != name.startswith(".")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "name": 3}', "\ufffd" * 9, "[" * 9999]
)
def test_file_that_is_no_record_is_skipped(tmp_path: Path, text: str) -> None:
    records = Records(tmp_path)
    records.add(record())
    (path,) = (tmp_path / FOLDER).iterdir()
    records.add(record("next"))
    path.write_text(text)
    assert [found.name for found in records.all()] == ["next"]
    assert records.of("sums") == ()


def _file(root: Path) -> None:
    root.mkdir()
    (root / FOLDER).write_text("")


def _link(root: Path) -> None:
    root.mkdir()
    (root.parent / "elsewhere").mkdir()
    (root / FOLDER).symlink_to(root.parent / "elsewhere")


def _no_folder(root: Path) -> None:
    root.write_text("")


def _of_all(root: Path) -> None:
    root.mkdir()
    (root / FOLDER).mkdir()
    (root / FOLDER).chmod(0o777)


@pytest.mark.parametrize("fault", [_file, _link, _no_folder, _of_all])
def test_folder_that_cannot_be_used_is_reported_and_fails_nothing(
    tmp_path: Path, fault: object, kubeconfig: Path
) -> None:
    assert callable(fault)
    fault(tmp_path / "state")
    records = Records(tmp_path / "state")
    ref = JobRef("sums", "team", "u1")
    assert recorded(sent(), ref, kubeconfig=str(kubeconfig), records=records)
    assert (records.all(), records.names(), records.newest()) == ((), (), None)
    records.note_status(record(), {})
    records.remove(record())
    assert not list(tmp_path.glob("elsewhere/*"))


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EROFS"])
def test_disk_that_cannot_be_written_is_reported_and_leaves_nothing(
    tmp_path: Path, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    import errno

    def fail(*_: object) -> None:
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    monkeypatch.setattr(Path, "replace", fail)
    records = Records(tmp_path)
    ref = JobRef("sums", "team", "u1")
    message = recorded(sent(), ref, kubeconfig=str(kubeconfig), records=records)
    assert message == os.strerror(getattr(errno, error))
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    names = ("dev", "prod")
    config = {
        "current-context": "prod",
        "contexts": [{"name": n, "context": {"cluster": n, "user": n}} for n in names],
        "clusters": [{"name": n, "cluster": {"server": f"https://{n}"}} for n in names],
        "users": [{"name": n, "user": {"token": "t"}} for n in names],
    }
    path.write_text(json.dumps(config))
    return path


def test_current_context_is_recorded_as_it_is_now(tmp_path: Path, kubeconfig: Path) -> None:
    records = Records(tmp_path / "state")
    for number, context in enumerate(("", "dev", "prod")):
        ref = JobRef(f"n{number}", "team", str(number))
        assert (
            recorded(sent(), ref, context=context, kubeconfig=str(kubeconfig), records=records)
            == ""
        )
    clusters = [found.cluster for found in reversed(records.all())]
    assert [cluster.context for cluster in clusters] == ["prod", "dev", "prod"]
    assert {cluster.kubeconfig for cluster in clusters} == {str(kubeconfig)}


@pytest.mark.parametrize("text", ["", "{}", "not: [yaml"])
def test_kubeconfig_that_became_unusable_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    ref = JobRef("sums", "team", "u1")
    assert recorded(sent(), ref, kubeconfig=str(path), records=Records(tmp_path))


def pod(**container: object) -> Manifest:
    return {"spec": {"job": {"spec": {"containers": [{"name": "job", **container}]}}}}


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        (pod(env=[{"name": "DB_PASSWORD", "value": "hunter2"}]), ["DB_PASSWORD"]),
        (
            pod(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}]),
            ["AWS_SECRET_ACCESS_KEY"],
        ),
        (pod(env=[{"name": "githubToken", "value": "hunter2"}]), ["githubToken"]),
        (pod(env=[{"name": "URL", "value": "postgres://me:hunter2@db/x"}]), ["URL"]),
        (pod(args=["python", "a.py", "--password", "hunter2", "--x"]), ["--password"]),
        (pod(args=["a.py", "--api-key=hunter2"]), ["--api-key"]),
        (pod(command=["env", "PGPASSWORD=hunter2", "a"]), ["PGPASSWORD"]),
        (
            pod(args=["sh", "-c", "curl -H 'Authorization: Bearer hunter2hunter2hunter2'"]),
            ["an argument"],
        ),
        ({"spec": {"job": {"files": {".env": "A=hunter2"}}}}, [".env"]),
        ({"spec": {"job": {"files": {"a.py": "u = 'https://me:hunter2@x'"}}}}, ["a.py"]),
        (
            {
                "metadata": {
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}
                }
            },
            [],
        ),
        (pod(env=[{"name": "K", "value": "-----BEGIN RSA PRIVATE KEY-----\nhunter2"}]), ["K"]),
    ],
)
def test_secret_values_are_not_recorded_and_named(manifest: Manifest, names: list[str]) -> None:
    before = json.dumps(manifest)
    kept = without_secret_values(manifest)
    assert "hunter2" not in json.dumps(kept)
    assert json.dumps(manifest) == before
    assert [name for _, name in missing_values(kept)] == names


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "TOKENIZERS_PARALLELISM", "value": "false"}]},
        {"env": [{"name": "GOOGLE_APPLICATION_CREDENTIALS_FILE", "value": "/var/key.json"}]},
        {"env": [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}]},
        {"envFrom": [{"secretRef": {"name": "password"}}]},
        {"args": ["python", "a.py", "--tokens-per-batch", "7", "--key", "id", "tls://s:8786"]},
        {"env": [{"name": "PWD", "value": "/work"}, {"name": "EMPTY_PASSWORD", "value": ""}]},
    ],
)
def test_everything_else_is_recorded(container: Manifest) -> None:
    manifest = pod(**container)
    assert without_secret_values(manifest) == manifest


def test_status_of_an_ended_job_has_no_secret_values_either(tmp_path: Path) -> None:
    records, known = Records(tmp_path), record()
    records.add(known)
    message = "cannot open postgres://me:hunter2@db"
    records.note_status(known, {"jobStatus": "Failed", "phase": "Failed", "message": message})
    (found,) = records.all()
    assert "hunter2" not in json.dumps(found.status)
    assert found.last_status.finished
    assert replace(found, status=None).last_status.phase == ""
