"""Logs: a limit, a full disk, and pipes that processes write to."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskjob.backends.local import log_file
from daskjob.backends.local.log_file import LogFile, PipedLog, RunLogs

LIMIT = 1 << 20


class Disk:
    """A disk with some space, for the file descriptors of logs."""

    def __init__(self, space: int) -> None:
        self.space = space
        self._write = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[: self.space])
        self.space -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(0)
    monkeypatch.setattr(os, "write", disk.write)
    return disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sums.1" / "logs" / "sums-runner.log"


@pytest.fixture
def log(path: Path) -> Iterator[LogFile]:
    path.parent.mkdir(parents=True)
    log = LogFile(path, LIMIT)
    yield log
    log.close()


def test_log_of_a_full_disk_reports_it_once_and_keeps_its_end_for_later(
    log: LogFile, path: Path, disk: Disk, tmp_path: Path
) -> None:
    disk.space = 4
    for number in range(20_000):
        log.write(b"%7d\n" % number)
    (message,) = log.errors
    assert message.startswith(f"no space is left in the state folder {tmp_path}: the job continues")
    assert (path.read_bytes(), log.is_complete) == (b"    ", False)
    assert log.pending.endswith(b"  19999\n")
    assert len(log.pending) == log_file.KEPT_BYTES
    disk.space = 10**6
    log.retry()
    assert log.is_complete
    log.write(b"more\n")
    text = path.read_text()
    assert text.startswith("    \n[daskjob: 143612 bytes of this log could not be written]\n")
    assert text.endswith("  19998\n  19999\nmore\n")


def test_log_without_space_for_a_moment_loses_nothing(log: LogFile, path: Path, disk: Disk) -> None:
    disk.space = 5
    log.write(b"one\ntwo\n")
    log.write(b"three\n")
    disk.space = 7
    log.write(b"four\n")
    disk.space = 100
    log.write(b"five\n")
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\nfive\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_log_on_a_device_that_is_full_raises_nothing() -> None:
    log = LogFile(Path("/dev/full"), LIMIT)
    log.write(b"one\n")
    log.close()
    assert log.pending == b"one\n"
    assert "no space is left in the state folder" in log.errors[0]


@pytest.mark.parametrize("wrong", ["folder", "missing", "file"])
def test_log_that_cannot_be_opened_is_reported_by_its_name(path: Path, wrong: str) -> None:
    path.parent.parent.mkdir()
    if wrong == "file":
        path.parent.write_text("not a folder")
    elif wrong == "folder":
        path.mkdir(parents=True)
    log = LogFile(path, LIMIT)
    log.write(b"one\n")
    log.write(b"two\n")
    (message,) = log.errors
    assert message.startswith(f"the log {path} cannot be written: ")


def test_log_above_its_limit_loses_its_middle_while_it_is_written(path: Path) -> None:
    path.parent.mkdir(parents=True)
    log = LogFile(path, 1000)
    for number in range(1000):
        log.write(b"%7d\n" % number)
    log.close()
    text = path.read_text()
    assert len(text) <= 1000
    assert text.startswith("      0\n      1\n")
    assert text.endswith("    998\n    999\n")
    assert "bytes of this log were left out here" in text


def test_logs_of_a_run_are_one_each_and_their_ends_come_when_there_is_space(
    path: Path, disk: Disk
) -> None:
    path.parent.mkdir(parents=True)
    logs, other = RunLogs(LIMIT), path.with_name("sums-scheduler.log")
    logs.log(path).write(b"first attempt\n")
    logs.log(path).write(b"second attempt\n")
    logs.log(other).write(b"Scheduler at: tcp://\n")
    assert (path.read_bytes(), logs.pending(path)) == (b"", b"first attempt\nsecond attempt\n")
    assert logs.pending(path.with_name("unknown.log")) == b""
    assert len(logs.errors) == 1
    disk.space = 10**6
    logs.close()
    assert path.read_bytes() == b"first attempt\nsecond attempt\n"
    assert other.read_bytes() == b"Scheduler at: tcp://\n"


async def test_processes_write_to_a_pipe_and_nothing_of_it_is_lost(
    log: LogFile, path: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "worker.log"
    piped = PipedLog(pipe, log)
    code = "import sys\nfor n in range(20000): print(n, file=(sys.stdout, sys.stderr)[n % 2])"
    with pipe.open("ab", buffering=0) as out:
        for _ in range(2):
            command = [sys.executable, "-u", "-c", code]
            process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
            assert await process.wait() == 0
    piped.finish()
    assert path.read_bytes() == b"".join(b"%d\n" % n for n in range(20000)) * 2
    assert not pipe.exists()


async def test_process_does_not_notice_that_the_disk_is_full(
    log: LogFile, disk: Disk, tmp_path: Path
) -> None:
    pipe = tmp_path / "worker.log"
    piped = PipedLog(pipe, log)
    code = "import os\nfor n in range(1000): os.write(1, b'x' * 1000)"
    with pipe.open("ab", buffering=0) as out:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=out)
        assert await process.wait() == 0
    piped.finish()
    assert len(log.errors) == 1
    assert disk.space == 0


async def test_process_gets_an_error_instead_of_waiting_when_its_reader_is_gone(
    log: LogFile, tmp_path: Path
) -> None:
    pipe = tmp_path / "worker.log"
    piped = PipedLog(pipe, log)
    with pipe.open("ab", buffering=0) as out:
        piped.finish()
        code = "import os\nfor n in range(1000): os.write(1, b'x' * 1000)"
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code], stdout=out, stderr=-3, timeout=30
        )
    assert done.returncode == 1
