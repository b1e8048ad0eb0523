"""Asking about jobs that run or ran: list, status, logs, why, report, cancel, delete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml

from daskjob.core.status import job_status_from
from tests.cli.command import Daskjob, Done, finish
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("succeeded", "failed")


def test_run_reports_its_dashboard_its_tasks_and_its_end(succeeded: Done) -> None:
    assert succeeded.code == 0
    assert succeeded.text == "the first line\nthe sum is 2470\n"
    assert "to standard error\n" in succeeded.err
    up, end = succeeded.messages
    assert up.startswith("daskjob: squares is starting 1 worker, dashboard http://127.0.0.1:")
    assert end.startswith("daskjob: squares succeeded in ")
    assert ": 20 tasks, peak worker memory " in end


# list


def test_empty_list_names_the_state_directory(daskjob: Daskjob) -> None:
    done = daskjob("list")
    assert (done.code, done.out) == (0, b"")
    assert "No job has run here yet" in done.err
    assert str(daskjob.state) in done.err


def test_list_shows_every_job_newest_first(user: Daskjob) -> None:
    lines = [line.split() for line in user("list", "-o", "wide").text.splitlines()]
    assert " ".join(lines[0]) == "NAME STATUS REASON PROGRESS WORKERS ATTEMPTS AGE TOOK"
    rows = {line[0]: line for line in lines[1:]}
    assert rows["squares"][1:5] == ["Succeeded", "Completed", "20/20", "1/1"]
    assert rows["failing"][1:3] == ["Failed", "BackoffLimitExceeded"]


@pytest.mark.parametrize("output", ["json", "yaml", "name"])
def test_list_for_programs(user: Daskjob, output: str) -> None:
    text = user("list", "-o", output).text
    match output:
        case "json":
            found = [item["metadata"]["name"] for item in json.loads(text)["items"]]
        case "yaml":
            found = [item["metadata"]["name"] for item in yaml.safe_load_all(text)]
        case _:
            found = [line.removeprefix("daskjob/") for line in text.splitlines()]
    assert {"squares", "failing"} <= set(found)


# status


def test_status_shows_attempts_and_events(user: Daskjob) -> None:
    text = user("status", "failing").text
    for words in ("Failed", "BackoffLimitExceeded", "Attempts:", "ValueError: no data for 2024"):
        assert words in text
    assert "Exit code:  1" in text
    assert "Events:" in text


def test_status_shows_the_result(user: Daskjob) -> None:
    assert 'Result:     {"total": 2470}' in user("status", "squares").text


def test_status_as_json_is_the_object_itself(user: Daskjob) -> None:
    found = user("status", "-o", "json", "squares").object()
    assert found["kind"] == "DaskJob"
    assert found["status"]["jobStatus"] == "Successful"
    assert found["status"]["result"] == {"total": 2470}
    assert found["status"]["progress"]["done"] == 20
    assert found["status"]["endTime"]


@pytest.mark.parametrize("command", ["status", "logs", "why", "report", "cancel", "delete"])
def test_unknown_name_is_125_and_the_message_lists_the_jobs(user: Daskjob, command: str) -> None:
    done = user(command, "nowhere")
    assert (done.code, done.out) == (125, b"")
    assert "there is no job 'nowhere' on this machine" in done.err
    assert "squares" in done.err
    assert "(did you mean squares?)" in user(command, "square").err


def test_default_is_the_newest_job(daskjob: Daskjob) -> None:
    assert "there are no jobs here" in daskjob("status").err
    for name in ("one", "two"):
        daskjob.run("--name", name, daskjob.script(f"print('{name}')"))
    assert daskjob("logs").text == "two\n"
    assert "two" in daskjob("status").text
    for name in ("three", "four"):
        daskjob.run("--name", name, daskjob.script("1"))
    assert daskjob("delete", "three", "four", "three").text == "three deleted\nfour deleted\n"
    assert daskjob("why").text.startswith("two succeeded")


def test_name_of_a_script_refers_to_its_newest_run(daskjob: Daskjob) -> None:
    script = daskjob.script("import sys\nprint(sys.argv[1])", "Report_2.py")
    for word in ("first", "second"):
        daskjob.run(script, word)
    daskjob.run("--name", "named", script, "third")
    first, second = sorted(
        job["metadata"]["name"] for job in daskjob.jobs() if job["metadata"].get("generateName")
    )
    assert daskjob("logs", "Report_2.py").text == "third\n"
    assert daskjob("delete", "Report_2.py").text == "named deleted: the newest run of Report_2.py\n"
    assert daskjob("logs", "report-2").text == "second\n"
    done = daskjob("delete", "report-2", "report-2")
    assert done.code == 0
    assert done.text.count("deleted: the newest run of report-2\n") == 1
    assert [job["metadata"]["name"] for job in daskjob.jobs()] in ([first], [second])
    assert daskjob("logs").text == "first\n"


def shows_progress(daskjob: Daskjob, progress: str) -> bool:
    return f"Progress:   {progress} tasks" in daskjob("status").text


def test_progress_is_at_most_seconds_old_while_the_job_runs(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import pathlib, time\n"
        "from distributed import Client\n"
        "client, kept = Client(), []\n"
        "for number in (1, 10, 100):\n"
        "    kept += client.map(lambda n: n, range(len(kept), len(kept) + number), pure=False)\n"
        "    client.gather(kept)\n"
        "    pathlib.Path(f'done-{number}').touch()\n"
        "    while not pathlib.Path(f'go-{number}').exists(): time.sleep(0.02)\n"
    )
    run = daskjob.start("run", "-w", 1, "--name", "counted", script)
    for number, progress in ((1, "1/1"), (10, "11/11"), (100, "111/111")):
        # The start takes its time on a busy machine.
        wait_until((daskjob.work / f"done-{number}").exists)
        # A write to the status every 30 s would come too late.
        wait_until(partial(shows_progress, daskjob, progress), seconds=15)
        (daskjob.work / f"go-{number}").touch()
    assert finish(run).code == 0
    assert " 111/111 " in daskjob("list").text
    assert "1/1 at peak" in daskjob("status").text


# logs


def test_logs_print_the_runners_log_byte_by_byte(user: Daskjob, succeeded: Done) -> None:
    log = user("logs", "squares").out
    assert log.replace(b"to standard error\n", b"") == succeeded.out


def test_logs_print_the_last_attempt_or_a_given_one(user: Daskjob) -> None:
    assert user("logs", "failing").text.startswith("attempt 1\n")
    assert user("logs", "failing", "--attempt", 0).text.startswith("attempt 0\n")


def test_following_an_ended_job_prints_its_last_attempt_and_returns(user: Daskjob) -> None:
    assert user("logs", "-f", "failing", timeout=20).out == user("logs", "failing").out


def test_logs_of_an_unknown_attempt_fails_with_the_existing_logs(user: Daskjob) -> None:
    done = user("logs", "failing", "--attempt", 7)
    assert done.code == 125
    assert "failing-runner" in done.err


@pytest.mark.parametrize(("pod", "text"), [("scheduler", "Scheduler at:"), ("worker", "Start")])
def test_logs_of_scheduler_and_worker(user: Daskjob, pod: str, text: str) -> None:
    assert text in user("logs", "squares", "--pod", pod).text


@pytest.mark.parametrize(
    ("tail", "text"),
    [
        (0, ""),
        (1, "the sum is 2470\n"),
        (2, "to standard error\nthe sum is 2470\n"),
        (99, "the first line\nto standard error\nthe sum is 2470\n"),
    ],
)
def test_tail_prints_the_last_n_lines(user: Daskjob, tail: int, text: str) -> None:
    assert user("logs", "squares", "--tail", tail).text == text


def test_follow_prints_everything_once_across_attempts_while_the_job_runs(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script(
        "import os, pathlib, time\n"
        "attempt = os.environ['DASKJOB_ATTEMPT']\n"
        "for n in range(3): print(attempt, n, flush=True)\n"
        "while not pathlib.Path(f'go-{attempt}').exists(): time.sleep(0.02)\n"
        "print(attempt, 'end')\n"
        "raise SystemExit(attempt == '0')\n"
    )
    run = daskjob.start("run", "-w", 0, "--name", "followed", "--retries", 1, script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"0 0\n"
    follower = daskjob.start("logs", "-f", "followed")
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"0 0\n"
    (daskjob.work / "go-0").touch()
    wait_until(lambda: daskjob.log("followed-runner-1").exists())
    (daskjob.work / "go-1").touch()
    assert finish(run, timeout=20).code == 0
    rest = finish(follower, timeout=20)
    assert rest.text.splitlines() == ["0 1", "0 2", "0 end", "1 0", "1 1", "1 2", "1 end"]
    assert rest.code == 0


def test_follow_ends_when_the_run_is_killed(daskjob: Daskjob) -> None:
    script = daskjob.script("import time\nprint('ready', flush=True)\ntime.sleep(600)")
    run = daskjob.start("run", "-w", 0, "--name", "followed", script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    follower = daskjob.start("logs", "-f", "followed")
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"ready\n"
    assert "no problems found" in daskjob("why", "followed").text
    assert "is still running" in daskjob("delete", "followed").err
    run.kill()
    killed_at = datetime.now(UTC)
    finish(run)
    assert finish(follower, timeout=20).code == 0
    wait_until(lambda: not daskjob.alive(), seconds=10)
    daskjob("list")
    status = job_status_from(daskjob.status("followed"))
    assert status.end_time is not None
    assert status.end_time <= killed_at
    assert status.attempts_begun == 1


# why


def test_why_shows_the_exception_the_attempts_and_the_next_step(user: Daskjob) -> None:
    text = user("why", "failing").text
    assert text.startswith("failing failed: all 2 attempts failed (--retries 1)")
    assert "log: ValueError: no data for 2024" in text
    assert "attempt 0: the script exited with code 1: ValueError" in text
    assert "failing.py, line 3." in text.splitlines()[-1]


def test_why_of_a_success(user: Daskjob) -> None:
    text = user("why", "squares").text
    assert text.startswith("squares succeeded after ")
    assert "tasks: 20 of 20 done" in text


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_why_reads_a_saved_object(user: Daskjob, tmp_path: Path, suffix: str) -> None:
    saved = tmp_path / f"saved.{suffix}"
    saved.write_text(user("status", "-o", suffix, "failing").text)
    assert user("why", saved).text.startswith("failing failed: all 2 attempts failed")


def test_why_as_json(user: Daskjob) -> None:
    found = user("why", "-o", "json", "failing").object()
    assert set(found) == {"headline", "evidence", "nextStep"}


# report


def test_report_shows_tasks_times_and_memory(user: Daskjob) -> None:
    text = user("report", "squares").text
    assert "20 of 20 done, 0 erred" in text
    assert "1 at peak, 1 in total, 0 lost" in text
    assert "PEAK MEMORY" in text
    assert "MiB" in text


def test_report_as_json_is_that_of_the_agent(user: Daskjob) -> None:
    assert user("report", "-o", "json", "squares").object()["tasks"]["done"] == 20


# delete


def test_delete_removes_only_the_given_jobs(daskjob: Daskjob) -> None:
    script = daskjob.script("print(1)")
    for name in ("one", "two"):
        assert daskjob.run("--name", name, script).code == 0
    done = daskjob("delete", "one")
    assert (done.code, done.text) == (0, "one deleted\n")
    assert [job["metadata"]["name"] for job in daskjob.jobs()] == ["two"]
    assert daskjob("status", "one").code == 125
    assert daskjob("delete", "--all").text == "two deleted\n"
    assert daskjob.jobs() == []


def test_delete_all_skips_a_running_job_and_force_ends_it(daskjob: Daskjob) -> None:
    script = daskjob.script("import time\nprint('ready', flush=True)\ntime.sleep(600)")
    run = daskjob.start("run", "-w", 0, "--name", "busy", script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    assert daskjob("delete", "--all").out == b""
    assert daskjob("delete", "--force", "busy").text == "busy deleted\n"
    assert finish(run, timeout=20).code == 123
    assert daskjob.jobs() == []


def test_name_of_many_runs_refers_to_the_newest_and_a_folders_name_to_its_run(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script("import sys\nprint(sys.argv[1])")
    for word in ("first", "second"):
        daskjob.run("--name", "same", script, word)
    assert daskjob("logs", "same").text == "second\n"
    logs = [daskjob("logs", path.name).text for path in daskjob.state.glob("same.*")]
    assert sorted(logs) == ["first\n", "second\n"]


def test_names_that_list_prints_are_names_of_jobs(user: Daskjob) -> None:
    (name,) = [n for n in user("list", "-o", "name").text.split() if "squares" in n]
    assert name == "daskjob/squares"
    for command in ("status", "why", "wait", "cancel"):
        done = user(command, name)
        assert (done.code, done.text) == (0, user(command, "squares").text)


# what is kept


def test_old_runs_are_removed_at_the_end_of_a_run_by_the_users_limits(daskjob: Daskjob) -> None:
    script = daskjob.script("print('x' * 1000)")
    daskjob.variables["DASKJOB_KEEP_RUNS"] = "2"
    for name in ("one", "two", "three"):
        assert daskjob.run("--name", name, script).code == 0
        age_runs(daskjob)
    assert daskjob("list", "-o", "name").text.split() == ["daskjob/three", "daskjob/two"]
    assert daskjob.run("--name", "four", script, env={"DASKJOB_KEEP_SIZE": "1kB"}).code == 0
    assert daskjob("list", "-o", "name").text.split() == ["daskjob/four"]


def age_runs(daskjob: Daskjob) -> None:
    """Let the end of all runs be a minute ago: one that has just ended is kept."""
    for path in daskjob.state.glob("*/job.json"):
        os.utime(path, (path.stat().st_mtime - 60,) * 2)


@pytest.mark.parametrize("limit", ["DASKJOB_KEEP_RUNS=few", "DASKJOB_LOG_SIZE=1 parsec"])
def test_wrong_limit_is_125_before_anything_starts(daskjob: Daskjob, limit: str) -> None:
    name, _, value = limit.partition("=")
    done = daskjob.run(daskjob.script("print(1)"), env={name: value})
    assert (done.code, done.out) == (125, b"")
    assert f"{limit}: write a" in done.err
    assert "DASKJOB_KEEP_RUNS=200" in daskjob("list", "--help").text


# completion and version


def test_completion_of_names_offers_jobs(user: Daskjob) -> None:
    done = user(
        env={
            "_DASKJOB_COMPLETE": "bash_complete",
            "COMP_WORDS": "daskjob logs sq",
            "COMP_CWORD": "2",
        }
    )
    assert done.text == "plain,squares\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_valid_shell_script(user: Daskjob, shell: str) -> None:
    done = user("completion", shell)
    assert done.code == 0
    assert "_DASKJOB_COMPLETE" in done.text
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=done.out, check=False).returncode == 0


#: How a shell without any configuration completes ``daskjob logs sq`` and ``daskjob repo``.
COMPLETING = {
    "bash": (
        'eval "$(daskjob completion bash)"; '
        "for words in 'daskjob logs sq' 'daskjob repo'; do "
        "COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); "
        "_daskjob_completion daskjob; echo ${COMPREPLY[@]}; done"
    ),
    "zsh": (
        'eval "$(daskjob completion zsh)"; compadd() { print -l -- $completions }; '
        "_describe() { print -l -- $completions_with_descriptions }; "
        "for words in 'daskjob logs sq' 'daskjob repo'; do "
        "words=(${=words}); CURRENT=${#words}; _daskjob_completion; done"
    ),
    "fish": (
        "daskjob completion fish | source; "
        "complete -C 'daskjob logs sq'; complete -C 'daskjob repo'"
    ),
}


@pytest.mark.parametrize("shell", COMPLETING)
def test_shell_completes_jobs_and_commands(user: Daskjob, shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    command = tmp_path / "daskjob"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m daskjob "$@"\n')
    command.chmod(0o755)
    environment = {**user.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [program, *options, "-c", COMPLETING[shell]],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "squares" in done.stdout, done.stderr
    assert "report" in done.stdout, done.stderr
    assert "not found" not in done.stderr


def test_version_names_dask_and_python(user: Daskjob) -> None:
    done = user("version")
    for package in ("daskjob", "dask", "distributed", "python"):
        assert f"\n{package} " in f"\n{done.text}"
    assert user("--version").text.startswith("daskjob ")


def test_asking_takes_less_than_2_s_with_100_jobs(user: Daskjob, tmp_path: Path) -> None:
    state = tmp_path / "state"
    job = json.dumps(user.job("squares"))
    for number in range(100):
        folder = state / f"job-{number}.{number:08}"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(job.replace('"squares"', f'"job-{number}"'))
    began = time.monotonic()
    assert (
        len(user("list", "--limit", 0, env={"DASKJOB_STATE_DIR": str(state)}).text.splitlines())
        == 101
    )
    assert time.monotonic() - began < 2
