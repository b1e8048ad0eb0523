"""What README claims of a run, with the commands and files that README shows.

What the code alone shows is in ``tests/docs/test_readme_claims.py``; the rest of README's sentences
each have tests of their own, among those of the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.command import Daskjob, Done, cmdline, finish
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """The first block of a language in README."""
    text, *_ = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(text)


def rows(start: str) -> list[str]:
    """The first column of the table in which a row starts so, without marks."""
    (table,) = [part for part in README.split("\n\n") if f"\n| {start}" in part]
    return [line.split("|")[1].strip(" `") for line in table.splitlines()[2:]]


# The first example, and all that can be asked later


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daskjob]:
    """A reader who has README's script."""
    user = Daskjob(tmp_path_factory.mktemp("reader"))
    user.script(block("python"), "my_script.py")
    yield user
    left = user.left_over()
    user.end()
    assert not left


@pytest.fixture(scope="module")
def first(reader: Daskjob) -> Done:
    """README's first command."""
    (line,) = re.findall(r"^\$ daskjob (run --workers 4 .*)$", README, re.MULTILINE)
    return reader(*line.split())


def test_first_example_prints_what_readme_shows(first: Done) -> None:
    assert (first.code, first.text) == (0, "4950\n")
    began, ended = first.messages
    assert re.fullmatch(
        r"daskjob: my-script-\w{5} is (?:running with|starting) 4 workers, dashboard http://127\.0\.0\.1:\d+/status",
        began,
    )
    assert re.fullmatch(
        r"daskjob: my-script-\w{5} succeeded in \d+s: 1 task, peak worker memory [\d.]+ MiB", ended
    )


@pytest.mark.usefixtures("first")
def test_commands_of_later_work_without_a_name_and_by_every_name(reader: Daskjob) -> None:
    name = reader.job()["metadata"]["name"]
    lines = re.findall(r"^\$ daskjob (\w+)(.*?) my-script-x2k9f\b", README, re.MULTILINE)
    assert [command for command, _ in lines] == [
        *("status", "logs", "wait", "why", "report", "cancel")
    ]
    shortened = f"{name[:5]}…{name[-3:]}"
    nothing_to_cancel = reader("cancel")
    assert (nothing_to_cancel.code, nothing_to_cancel.text) == (0, "")
    assert f"no job is running; the newest is {name}" in nothing_to_cancel.err
    for command, options in lines:
        newest = () if command == "cancel" else ((),)
        answers = {
            (done.code, done.text)
            for given in (*newest, (name,), ("my_script",), ("my_script.py",), (shortened,))
            for done in [reader(command, *options.split(), *given)]
        }
        [(code, text)] = answers
        assert code == 0
        assert text
    for options in (("--attempt", 0), ("--workers",), ("--pod", "scheduler")):
        assert reader("logs", *options).text
    assert reader("delete").code == 2
    (listed,) = reader("list").text.splitlines()[1:]
    assert re.fullmatch(rf"{name} +Succeeded +Completed +1/1 +4/4 +1 +\d+\w+ +\d+s", listed.strip())
    report = reader("report").text
    for words in ("Tasks: ", "1 of 1 done", "SECONDS", "PEAK MEMORY"):
        assert words in report


# The ways to run


def test_every_row_of_the_ways_to_run_runs(daskjob: Daskjob) -> None:
    text = "import sys\nprint('ran', *sys.argv[1:])\n"
    for name in ("my_script.py", "package/__init__.py", "package/module.py", "folder/__main__.py"):
        (daskjob.work / name).parent.mkdir(exist_ok=True)
        daskjob.script("" if name.endswith("__init__.py") else text, name)
    cells = [{"cell_type": "code", "source": "word = 'ran'"}]
    cells += [{"cell_type": "markdown", "source": "no code"}]
    cells += [{"cell_type": "code", "source": "print(word)"}]
    daskjob.script(json.dumps({"cells": cells, "metadata": {}}), "analysis.ipynb")
    daskjob.script(block("yaml"), "job.yaml")
    daskjob.script(text, "nightly.py")
    (table,) = re.findall(r"\| \|\n\|---\|---\|\n((?:\| `daskjob run.*\n)+)", README)
    commands = re.findall(r"`daskjob (run [^`]+)`", table)
    assert len(commands) == 8
    for command in commands:
        command, _, file = command.partition(" < ")
        words = command.replace("CODE", "print('ran')").split()
        stdin = (daskjob.work / file).read_bytes() if file else None
        done = daskjob(*words, input=stdin)
        expected = "ran --input data.csv\n" if "--input" in words else "ran\n"
        assert (done.code, done.text) == (0, expected), (command, done.err)


# Exit codes

EXITS = {
    "the script's own": (("run", "-w", 0, "-c", "raise SystemExit(7)"), 7),
    "2": (("run", "missing.py"), 2),
    "122": (("run", "-w", 0, "--timeout", "1s", "-c", "import time\ntime.sleep(60)"), 122),
    "125": (("run", "broken.yaml"), 125),
}


def test_every_row_of_the_exit_codes_is_what_a_shell_gets(daskjob: Daskjob) -> None:
    daskjob.script("kind: DaskJob\n", "broken.yaml")
    assert sorted(rows("121")) == sorted([*EXITS, "121", "123"])
    for words, code in EXITS.values():
        assert daskjob(*words).code == code, words
    killed = "import os\nos.kill(os.getpid(), 15)"
    assert daskjob("run", "-w", 0, "-c", killed).code == 128 + 15
    script = daskjob.script(
        "import time\nfrom distributed import Client\nclient = Client()\ntime.sleep(60)"
    )
    for code in (121, 123):
        daskjob("delete", "--all")
        running = daskjob.start("run", "-w", 1, script)
        wait_until(
            lambda: [j for j in daskjob.jobs() if j.get("status", {}).get("jobStatus") == "Running"]
        )
        assert daskjob("wait", "--timeout", "1s").code == 124
        if code == 123:
            assert daskjob("cancel").code == 0
        else:
            # Its title where it is forked, its command where it is executed.
            title = re.compile("dask[ _]scheduler")
            (scheduler,) = [p for p in daskjob.alive() if title.search(" ".join(cmdline(p)))]
            scheduler.kill()
        assert finish(running).code == code


# Manifests


def test_manifest_of_readme_retries_twice_and_reports_what_is_not_here(daskjob: Daskjob) -> None:
    manifest = yaml.safe_load(block("yaml"))
    assert manifest["spec"]["activeDeadlineSeconds"] == 3600
    runner = manifest["spec"]["job"]["spec"]
    runner["nodeSelector"] = {"disk": "fast"}
    runner["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    runner["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    daskjob.script(
        "import os\nn = os.environ['DASKJOB_ATTEMPT']\nprint('attempt', n)\nexit(int(n) + 3)\n",
        "nightly.py",
    )
    manifest["spec"]["backoff"] = {"initialSeconds": 1}
    done = daskjob("run", daskjob.manifest(manifest))
    assert done.code == 5
    assert "(pod nightly-runner-2)" in done.messages[-2]
    assert daskjob("logs", "--pod", "nightly-runner-2").text == "attempt 2\n"
    (note,) = [line for line in done.messages if "not on this machine" in line]
    for words in ("image ghcr.io/dask/dask:latest", "node selector", "volume data"):
        assert words in note


def test_mistakes_that_readme_names_are_found_at_once(daskjob: Daskjob) -> None:
    text = block("yaml")
    for old, new in (
        ("args: [python, nightly.py]", "arg: [python, nightly.py]"),
        ("args: [dask, scheduler]", "args: [dask scheduler]"),
        (
            "              args: [dask, worker,",
            "              resources: {limits: {memory: 4 GB}}\n              args: [dask, worker,",
        ),
    ):
        assert old in text
        text = text.replace(old, new)
    done = daskjob("validate", daskjob.script(text, "job.yaml"))
    assert done.code == 125
    assert "has 3 mistakes" in done.err
    for words in ("did you mean 'args'?", "[dask, scheduler]", "did you mean '4G' or '4Gi'?"):
        assert words in done.err
