"""``daskjob logs`` on this machine: which log, from when on, and which lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from daskjob.submit.cli.logs import _report_empty
from daskjob.submit.jobs import Job, JobRef
from tests.cli.command import Daskjob, Done

#: Two workers that print, and a script that prints before and after a moment.
TALKS = """\
import pathlib, time
from datetime import UTC, datetime
from distributed import Client

def say(text):
    print(text, flush=True)

with Client() as client:
    workers = sorted(client.scheduler_info()["workers"])
    client.gather([client.submit(say, f"early {n}", workers=w) for n, w in enumerate(workers)])
    print("early", flush=True)
    time.sleep(1.2)
    pathlib.Path("moment").write_text(datetime.now(UTC).isoformat())
    time.sleep(0.2)
    print("\\x1b[31mlate\\x1b[0m", flush=True)
    client.gather([client.submit(say, f"late {n}", workers=w) for n, w in enumerate(workers)])
"""


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Daskjob:
    """A user whose run ``talks`` has ended."""
    user = Daskjob(tmp_path_factory.mktemp("talker"))
    script = user.script(TALKS, "talks.py")
    assert user("run", "--workers", 2, "--name", "talks", script).code == 0
    return user


@pytest.fixture
def moment(talker: Daskjob) -> str:
    return (talker.work / "moment").read_text()


def logs(user: Daskjob, *words: object) -> list[str]:
    done = user("logs", "talks", *words)
    assert (done.code, done.err) == (0, "")
    return done.text.splitlines()


@pytest.mark.parametrize("follow", [(), ("-f",)])
def test_since_leaves_out_what_was_written_earlier(
    talker: Daskjob, moment: str, follow: tuple[str, ...]
) -> None:
    assert logs(talker, *follow, "--since", moment) == ["\x1b[31mlate\x1b[0m"]
    assert logs(talker, *follow, "--since", moment, "--tail", 0) == []
    found = logs(talker, *follow, "--workers", "--since", moment, "--grep", "late|early")
    assert sorted(line.partition("] ")[2] for line in found) == ["late 0", "late 1"]


def test_since_also_takes_durations_and_local_times(talker: Daskjob) -> None:
    whole = ["early", "\x1b[31mlate\x1b[0m"]
    assert logs(talker, "--since", "2h") == whole
    assert logs(talker, "--since", f"{datetime.now() - timedelta(hours=1):%Y-%m-%dT%H:%M}") == whole
    assert logs(talker, "--since", (datetime.now(UTC) + timedelta(days=1)).isoformat()) == []


def test_log_of_one_worker_has_the_names_of_the_merged_log(talker: Daskjob) -> None:
    merged = logs(talker, "--workers", "--grep", "early")
    assert len(merged) == 2
    for line in merged:
        name, _, text = line.removeprefix("[").partition("] ")
        assert logs(talker, "--worker", name, "--grep", "early") == [text]
        assert logs(talker, "--worker", name.removeprefix("worker-"), "--grep", "early") == [text]


def test_component_is_the_scheduler_or_all_workers(talker: Daskjob) -> None:
    assert logs(talker, "--component", "scheduler") == logs(talker, "--pod", "talks-scheduler")
    assert logs(talker, "--component", "worker") == logs(talker, "--workers")
    assert logs(talker, "--component", "runner") == logs(talker)


def test_grep_finds_text_between_colours_and_fails_if_there_is_none(talker: Daskjob) -> None:
    assert logs(talker, "--grep", "^late$") == ["\x1b[31mlate\x1b[0m"]
    done = talker("logs", "talks", "--grep", "nothing like it")
    assert (done.code, done.text, done.err) == (1, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--grep", "a(b"), "no regular expression: missing ), unterminated subpattern"),
        (("--grep", "a("), "for the text itself, write 'a\\('"),
        (("--grep", "*"), "no regular expression: nothing to repeat"),
        (("--grep", "[z-a]"), "no regular expression: bad character range z-a"),
        (("--since", "10x"), "'10x' is no moment; write a duration such as 90s"),
        (("--since", "2026-13-01T00:00:00Z"), "is no moment"),
        (("--since", ""), "'' is no moment"),
        (("--worker", "7"), "no worker '7' has a log; workers that have one: worker-0, worker-1"),
        (("--worker", "worker"), "workers that have one: worker-0, worker-1"),
        (("--worker", ""), "write a name"),
        (("--workers", "--worker", "0"), "write one: --workers, --worker NAME"),
        (("--component", "driver"), "'runner', 'scheduler', 'worker'"),
        (("--since-time", "x"), "--since takes a time, too"),
    ],
)
def test_mistake_is_one_message_and_exit_code_2(
    talker: Daskjob, words: tuple[str, ...], message: str
) -> None:
    done = talker("logs", "talks", *words)
    assert (done.code, done.text) == (2, "")
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err


def test_logs_of_an_attempt_are_those_of_its_workers(user: Daskjob, failed: Done) -> None:
    assert failed.code == 1
    assert user("logs", "failing", "--attempt", 0, "--component", "runner").text.startswith(
        "attempt 0\n"
    )
    done = user("logs", "failing", "--attempt", 5, "--workers")
    assert (done.code, done.text) == (125, "")
    assert "no worker of attempt 5 has a log" in done.err


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({}, "no log yet: no operator has picked it up"),
        ({"jobStatus": "JobCreated", "message": "no node fits."}, "no log yet: no node fits."),
        ({"jobStatus": "ClusterCreated", "phase": "Starting"}, "empty so far; the job is Starting"),
        ({"jobStatus": "Running", "phase": "Running", "message": "x"}, "the job is Running"),
        ({"jobStatus": "Successful"}, "the log is empty"),
    ],
)
def test_an_empty_log_has_its_reason(
    status: dict[str, str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _report_empty(Job(JobRef("sums", "team", "u"), {"status": status}))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("daskjob: sums: ")
    assert err.endswith(f"{text}\n")


def test_a_run_that_prints_nothing_has_an_empty_log(daskjob: Daskjob) -> None:
    assert daskjob("run", "--workers", 0, "--name", "silent", daskjob.script("pass")).code == 0
    done = daskjob("logs", "silent")
    assert (done.code, done.text, done.err) == (0, "", "daskjob: silent: the log is empty\n")
    for words in (("--tail", 0), ("-f",), ("--since", "1h")):
        assert daskjob("logs", *words, "silent").err == ""
