"""Folders of runs: atomic writes, one lock holder, the final status of killed runs."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daskjob.backends.local import state_root as state_roots
from daskjob.backends.local.known_runs import find_folder, folders, folders_of
from daskjob.backends.local.own_files import own_file
from daskjob.backends.local.retention import Limits, prune
from daskjob.backends.local.run_folder import RunFolder, new_folder, run_marker
from daskjob.backends.local.state_root import state_root
from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest
from daskjob.core.status import job_status_from
from daskjob.submit.jobs import JobRef
from daskjob.submit.local import LocalJobs


def manifest(name: str = "sums", created: str = "2026-01-01T00:00:00Z") -> Manifest:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {},
        "status": {"jobStatus": "Running", "phase": "Running", "attempt": 0},
    }


def made(root: Path, name: str = "sums", uid: str = "12345678-0000", **more: str) -> RunFolder:
    folder = new_folder(root, name, uid)
    folder.write_job(manifest(name, **more))
    return folder


def test_run_without_a_holder_was_killed_and_stays_failed(tmp_path: Path) -> None:
    folder = made(tmp_path)
    first = folder.job()["status"]
    assert (first["jobStatus"], first["reason"]) == ("Failed", "RunnerLost")
    assert first["endTime"]
    assert json.loads((folder.path / "job.json").read_text())["status"] == first
    assert folder.job()["status"] == first


def test_a_killed_run_ended_at_its_last_write_and_its_attempt_counts(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "sums", "12345678-0000")
    job = manifest()
    job["status"] |= {
        "startTime": "2026-01-01T00:00:00Z",
        "attemptStartTime": "2026-01-01T00:00:01Z",
        "jobRunnerPodName": "sums-runner",
    }
    folder.write_job(job)
    log = folder.log("sums-runner")
    log.touch()
    death = datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC).timestamp()
    os.utime(folder.path / "job.json", (death - 1, death - 1))
    os.utime(log, (death, death))
    status = job_status_from(folder.job()["status"])
    assert status.took == timedelta(seconds=4)
    assert status.attempts_begun == 1
    assert status.attempts[0].runner_pod_name == "sums-runner"
    assert status.attempts[0].reason == "RunnerLost"


def test_processes_of_a_killed_run_are_killed_by_the_first_reader_of_its_job(
    tmp_path: Path,
) -> None:
    uid = str(uuid.uuid4())
    folder = new_folder(tmp_path, "sums", uid)
    job = manifest()
    job["metadata"]["uid"] = uid
    folder.write_job(job)
    command = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
    environment = {"DASKJOB_PROCESS": f"{run_marker(uid)}/pod+runner"}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout is not None
        assert left.stdout.readline() == b"up\n"
        assert folder.job()["status"]["jobStatus"] == "Failed"
        assert left.wait(10) == -signal.SIGKILL


def test_run_with_a_holder_is_running(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with folder.held():
        assert folder.is_live()
        assert folder.job()["status"]["jobStatus"] == "Running"
    assert not folder.is_live()


def test_folder_has_one_holder(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with folder.held(), pytest.raises(BlockingIOError), folder.held():
        pass


def test_newest_run_of_a_name_is_found_and_an_older_one_by_its_folder(tmp_path: Path) -> None:
    old = made(tmp_path, uid="aaaaaaaa-1", created="2026-01-01T00:00:00Z")
    new = made(tmp_path, uid="bbbbbbbb-1", created="2026-01-02T00:00:00Z")
    assert find_folder(tmp_path, "sums") == new
    assert find_folder(tmp_path, "sums.aaaa") == old
    assert folders(tmp_path) == [new, old]


@pytest.mark.parametrize("name", ["my_script", "my_script.py", "My_Script", "my-script"])
def test_name_of_a_script_finds_the_run_whose_name_was_generated_from_it(
    tmp_path: Path, name: str
) -> None:
    folder = new_folder(tmp_path, "my-script-x2k9f", "12345678-0000")
    job = manifest("my-script-x2k9f")
    job["metadata"]["generateName"] = "my-script-"
    folder.write_job(job)
    assert find_folder(tmp_path, name) == folder
    with pytest.raises(NotFound):
        find_folder(tmp_path, name, exact=True)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["python", "my_script.py", "--x"], ["my_script", "my_script.py"]),
        (["python", "/data/etl.py"], ["etl", "etl.py", "/data/etl.py"]),
        (["./tools/go.sh", "etl.py"], ["go", "go.sh", "./tools/go.sh"]),
        (["python", "pay$$day.py"], ["pay$day"]),
    ],
)
def test_name_of_a_script_finds_its_run_with_a_name_of_its_own(
    tmp_path: Path, command: list[str], names: list[str]
) -> None:
    job = manifest("nightly")
    job["spec"] = {"job": {"spec": {"containers": [{"command": command}]}}}
    folder = new_folder(tmp_path, "nightly", "12345678-0000")
    folder.write_job(job)
    for name in names:
        assert find_folder(tmp_path, name) == folder
    for name in ("other", "python", "--x", "etl.py.txt"):
        with pytest.raises(NotFound):
            find_folder(tmp_path, name)


def test_shortened_name_of_the_list_finds_its_job_unless_it_fits_several(tmp_path: Path) -> None:
    long = made(tmp_path, "a-very-long-name-x2k9f")
    made(tmp_path, "other", uid="bbbbbbbb-1")
    for name in ("a-very…x2k9f", "a-v...9f"):
        assert find_folder(tmp_path, name) == long
        with pytest.raises(NotFound):
            find_folder(tmp_path, name, exact=True)
    made(tmp_path, "a-very-long-and-other-x2k9f", uid="cccccccc-1")
    with pytest.raises(NotFound, match="jobs here: a-very-long-"):
        find_folder(tmp_path, "a-very…x2k9f")
    with pytest.raises(NotFound):
        find_folder(tmp_path, "b…x")


def test_prefix_of_a_name_does_not_find_the_run(tmp_path: Path) -> None:
    made(tmp_path, "sums-2")
    with pytest.raises(NotFound, match="jobs here: sums-2"):
        find_folder(tmp_path, "sums")


def test_foreign_files_in_the_state_directory_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.1").mkdir()
    (tmp_path / "broken.1" / "job.json").write_text("[1")
    (tmp_path / "list.1").mkdir()
    (tmp_path / "list.1" / "job.json").write_text("[1]")
    assert folders(tmp_path) == []
    assert folders(tmp_path / "missing") == []


def test_folder_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    assert made(tmp_path).path.stat().st_mode & 0o777 == 0o700


def test_partially_written_event_is_skipped(tmp_path: Path) -> None:
    folder = made(tmp_path)
    folder.append_event({"reason": "Started"})
    with (folder.path / "events.jsonl").open("a") as file:
        file.write('{"reason": "Cut')
    assert folder.events() == [{"reason": "Started"}]


def test_half_a_line_does_not_spoil_the_events_after_it(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(b'{"reason": "Started"}\n{"reason": "Cu\xc3')
    folder.append_event({"reason": "Completed"})
    assert folder.events() == [{"reason": "Started"}, {"reason": "Completed"}]
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(b'{"reason": "Cut{"reason": "Two"}\n{"reason": "Last"}\n')
    assert [event["reason"] for event in folder.events()] == ["Started", "Completed", "Last"]


def test_scratch_of_a_killed_run_is_removed_and_no_foreign_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "state")
    temporary, home = tmp_path / "tmp", tmp_path / "home"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    ours = temporary / "daskjob-sums-x"
    others = [temporary / "other", home / "daskjob-project", ours / "daskjob-below"]
    link = temporary / "daskjob-link"
    for path in (*others, ours):
        path.mkdir(parents=True, exist_ok=True)
    link.symlink_to(home)
    for path in (*others, link, temporary / ".." / "home" / "daskjob-project"):
        folder.remember_scratch(path)
        folder.job()
        assert all(other.exists() for other in others)
    folder.remember_scratch(ours)
    folder.remove()
    assert not ours.exists()
    assert not folder.path.exists()


@pytest.mark.parametrize("word", ["Running", "Failed"])
def test_processes_of_a_killed_run_are_killed_before_its_folder_is_removed(
    tmp_path: Path, word: str
) -> None:
    uid = str(uuid.uuid4())
    folder = new_folder(tmp_path, "sums", uid)
    job = manifest()
    job["metadata"]["uid"] = uid
    # Also of one whose status was final already, while its cluster was being removed.
    job["status"]["jobStatus"] = word
    folder.write_job(job)
    folder.remember_scratch(Path(tempfile.gettempdir(), f"daskjob-{uid}"))
    command = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
    environment = {"DASKJOB_PROCESS": f"{run_marker(uid)}/pod+runner"}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout is not None
        assert left.stdout.readline() == b"up\n"
        folder.remove()
        assert left.wait(10) == -signal.SIGKILL
    assert not folder.path.exists()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where the state of a user without a home directory is expected."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DASKJOB_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state_roots._temporary_home.cache_clear()
    yield tmp_path / f"daskjob-{os.getuid()}"
    state_roots._temporary_home.cache_clear()


def test_state_without_a_home_directory_is_writable_by_its_owner_only(homeless: Path) -> None:
    root = state_root()
    assert root == homeless / "daskjob" / "jobs"
    assert homeless.stat().st_mode & 0o777 == 0o700
    state_roots._temporary_home.cache_clear()
    homeless.chmod(0o755)
    assert state_root() == root
    assert homeless.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["symlink", "file", "writable by others", "another user's"])
def test_state_is_elsewhere_where_its_temporary_folder_is_taken(
    homeless: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "symlink":
        (tmp_path / "theirs").mkdir()
        homeless.symlink_to(tmp_path / "theirs")
    elif how == "file":
        homeless.touch()
    elif how == "writable by others":
        homeless.mkdir()
        homeless.chmod(0o777)
    else:
        homeless.mkdir()
        uid = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        homeless.rename(tmp_path / f"daskjob-{uid + 1}")
    root = state_root()
    assert root.parents[1].name.startswith("daskjob-state-")
    assert root.parents[1].stat().st_mode & 0o777 == 0o700
    assert state_root() == root


PLANTED = ["symlink", "writable by others", "writable by its group", "another user's"]


def plant(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder what another user could have put there."""
    if how == "symlink":
        elsewhere = path.parent.parent / f"elsewhere-{path.name}"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
    elif how == "another user's" and os.geteuid() == 0:
        os.chown(path, 12345, -1)
    elif how == "another user's":
        uid = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    else:
        path.chmod(0o777 if how == "writable by others" else 0o770)


@pytest.mark.parametrize("how", PLANTED)
def test_run_that_another_user_may_have_planted_is_neither_believed_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    root, victim = tmp_path / "jobs", tmp_path / "tmp" / "daskjob-victim"
    victim.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(victim.parent))
    folder = made(root)
    folder.remember_scratch(victim)
    plant(folder.path, how, monkeypatch)
    assert folders(root) == []
    assert folders_of(root, "sums") == []
    with pytest.raises(NotFound):
        find_folder(root, "sums")
    jobs = LocalJobs(root)
    assert jobs.list() == ()
    with pytest.raises(NotFound):
        jobs.delete(JobRef("sums", "default", "12345678-0000"))
    prune(root, Limits(runs=0, seconds=0))
    assert victim.is_dir()
    assert (folder.path / "job.json").exists()


@pytest.mark.parametrize("how", ["writable by others", "another user's"])
def test_state_directory_that_others_can_change_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    plant(root, how, monkeypatch)
    if how == "another user's" and root.stat().st_uid == 0:
        pytest.skip("what belongs to root is trusted")
    with pytest.raises(PermissionError, match=r"another user|every user can rename"):
        new_folder(root, "sums", "12345678-0000")
    assert list(root.iterdir()) == []


def test_state_directory_may_be_like_a_temporary_folder_where_only_owners_rename(
    tmp_path: Path,
) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    root.chmod(0o1777)
    folder = made(root)
    assert folders(root) == [folder]
    assert folder.path.stat().st_mode & 0o777 == 0o700


FINAL: Manifest = {"jobStatus": "Failed", "reason": "ExitCode", "message": "it failed"}


@pytest.mark.parametrize("spec", [0, 1000, 100_000])
def test_final_status_has_its_space_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: int
) -> None:
    job = {**manifest(), "spec": {"files": "x" * spec}}
    folder = new_folder(tmp_path, "sums", "12345678-0000", size=len(json.dumps(job)))
    folder.write_job(job)
    text = (folder.path / "job.json").read_bytes()
    write_text = Path.write_text

    def full(path: Path, *_: object, **__: object) -> int:
        write_text(path, "{")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write_job({**job, "status": {"jobStatus": "Running"}})
    assert (folder.path / "job.json").read_bytes() == text
    for message in ("first", "second"):
        final = {**job, "status": {**FINAL, "message": message}}
        folder.write_job(final)
        assert folder.job() == final
    assert not list(folder.path.glob(".*.new"))
    folder.release_reserve()
    with pytest.raises(OSError, match="No space left"):
        folder.write_job({**job, "status": FINAL})
    assert folder.job() == final


def test_state_directory_may_be_a_link_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir(mode=0o755)
    (tmp_path / "jobs").symlink_to(tmp_path / "big-disk")
    folder = made(tmp_path / "jobs")
    assert folders(tmp_path / "jobs") == [folder]


@pytest.mark.parametrize("how", ["link", "pipe", "folder", "another user's"])
@pytest.mark.parametrize("name", [".lock", ".prune"])
def test_lock_that_another_user_planted_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, name: str
) -> None:
    lock, target = tmp_path / name, tmp_path / "target"
    if how == "link":
        lock.symlink_to(target)
    elif how == "pipe":
        os.mkfifo(lock)
    elif how == "folder":
        lock.mkdir()
    else:
        lock.touch()
        plant(lock, how, monkeypatch)
    with pytest.raises(OSError, match=re.escape(str(lock))), own_file(lock):
        pass
    assert not target.exists()


def test_state_directory_that_does_not_exist_is_created_for_its_owner_only(tmp_path: Path) -> None:
    made(tmp_path / "a" / "jobs")
    assert (tmp_path / "a" / "jobs").stat().st_mode & 0o777 == 0o700


def test_state_directory_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(tmp_path / "own"))
    assert state_root() == tmp_path / "own"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DASKJOB_STATE_DIR", "~/jobs")
    assert state_root() == tmp_path / "jobs"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DASKJOB_STATE_DIR", "here")
    assert state_root() == tmp_path / "here"
    monkeypatch.delenv("DASKJOB_STATE_DIR")
    for home in ("", "relative", "."):
        monkeypatch.setenv("HOME", home)
        assert state_root().is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_root() == tmp_path / ".local" / "state" / "daskjob" / "jobs"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_root() == tmp_path / "daskjob" / "jobs"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_root() == tmp_path / ".local" / "state" / "daskjob" / "jobs"
