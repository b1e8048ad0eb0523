"""``daskjob report --html``, as a reader sees it in a real browser."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daskjob.core.explain import explain
from daskjob.core.manifests import Manifest
from daskjob.submit.html_report.markup import encoded
from daskjob.submit.html_report.page import ReportFacts, html_report
from daskjob.submit.jobs import Job, JobEvent, JobRef
from tests.browser import page
from tests.cli.command import Daskjob, Done

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
#: What would change the page if it were not escaped.
EVIL = "<script>document.title='evil';console.error('evil')</script>\"'><img src=http://127.0.0.1:9/x>&amp;"
SIZES = [(1000, False), (1000, True), (400, False), (400, True)]


def at(seconds: float) -> str:
    return f"{START + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def manifest(name: str, status: Manifest, *, env: str = "") -> Manifest:
    container = {
        "name": "job",
        "image": "example.org/team/dask@sha256:" + "0123456789abcdef" * 4,
        "args": ["python", "-c", EVIL],
        "env": [{"name": "TOKEN", "value": env}],
    }
    pod = {"spec": {"containers": [container]}}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name, "namespace": "team", "uid": "u", "creationTimestamp": at(0)},
        "spec": {
            "job": pod,
            "backoffLimit": 1,
            "cluster": {"spec": {"worker": {**pod, "replicas": 200}, "scheduler": pod}},
        },
        "status": status,
    }


def attempt(number: int, begin: float, end: float, code: int, message: str) -> Manifest:
    return {
        "number": number,
        "startTime": at(begin),
        "endTime": at(end),
        "exitCode": code,
        "reason": "ExitCode" if code else "Completed",
        "message": message,
    }


def facts(job: Manifest, report: Manifest, *events: JobEvent) -> ReportFacts:
    found = Job(JobRef(job["metadata"]["name"], "team", "u"), job)
    log = f'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: {EVIL}\n'
    return ReportFacts(found, report, events, explain(job, log_tail=log), "1.2.3", START)


def failing() -> ReportFacts:
    """A job of two attempts, with everything hostile that others can write into it."""
    messages = [f"ValueError: {EVIL}", "\x1b[31mKilledWorker\x00 \u202e"]
    ends = [attempt(n, 40 * n, 40 * n + 35, 1, text) for n, text in enumerate(messages)]
    status = {
        "jobStatus": "Failed",
        "phase": "Failed",
        "reason": "ExitCode",
        "message": f"the script exited with code 1: {EVIL}",
        "exitCode": 1,
        "startTime": at(0),
        "endTime": at(75),
        "attempt": 1,
        "attempts": ends,
        "result": {EVIL: EVIL},
    }
    report = {
        "startedAt": START.timestamp() + 40,
        "now": START.timestamp() + 75,
        "tasks": {"total": 9, "done": 4, "erred": 1},
        "versions": {"python": "3.11.7", "dask": EVIL},
        "computeSeconds": 33.25,
        "prefixes": {"rows": [[EVIL, 4, 33.0, 1], ["inc", 5, 0.25, 0]]},
        "peakMemory": {"rows": [[EVIL, 2**30], ["b", 2**20]]},
        "workers": {
            "peak": 2,
            "lost": 1,
            "losses": [[EVIL, START.timestamp() + 60, [EVIL], 2**30, 2**31]],
            "overTime": [[0, 0], [2, 2], [20, 1]],
        },
    }
    event = JobEvent(START, "Warning", EVIL, EVIL)
    return facts(manifest(f"a{EVIL}", status, env="hunter2"), report, event)


def large() -> ReportFacts:
    """A job of 200 workers, with samples, and 150 groups of tasks."""
    workers = [
        [f"large-default-worker-{n}", 0, START.timestamp() + 5 + n / 4, None] for n in range(200)
    ]
    workers[7][3] = START.timestamp() + 90
    rows = [
        [
            START.timestamp() + t,
            0,
            min(200, 4 * t),
            2**28 * min(200, 4 * t) + 2**30 * (t % 7),
            60000,
            150 * t,
            200,
            0,
        ]
        for t in range(400)
    ]
    report: dict[str, Any] = {
        "tasks": {"total": 60000, "done": 60000, "erred": 0},
        "computeSeconds": 70000,
        "prefixes": {"rows": [[f"task-{n}", 400, 1000.0 / (n + 1), 0] for n in range(150)]},
        "peakMemory": {"rows": [[row[0], 2**28 + n * 2**20] for n, row in enumerate(workers)]},
        "workers": {
            "peak": 200,
            "lost": 1,
            "losses": [["large-default-worker-7", START.timestamp() + 90, ["task"], 2**30, 2**31]],
        },
        "history": {"rows": rows, "workers": {"rows": workers}},
    }
    status = {
        "jobStatus": "Successful",
        "phase": "Succeeded",
        "reason": "Completed",
        "message": "the script exited with code 0.",
        "exitCode": 0,
        "startTime": at(0),
        "endTime": at(400),
        "attempts": [attempt(0, 0, 400, 0, "the script exited with code 0.")],
        "report": {"tasks": report["tasks"]},
    }
    return facts(manifest("large", status), report)


def waiting() -> ReportFacts:
    """A job without a status."""
    return facts(manifest("waiting", {}), {})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for made in (failing, large, waiting):
        found[made.__name__] = folder / f"{made.__name__}.html"
        found[made.__name__].write_bytes(encoded(html_report(made())))
    # A page with all the faults that the others must not have.
    control = (
        "<script>console.error('evil')</script><img src=http://127.0.0.1:9/x><pre>" + "x" * 999
    )
    found["control"] = folder / "control.html"
    found["control"].write_text(control)
    return found


async def test_readers_see_everything_in_any_window_and_nothing_is_requested(
    files: dict[str, Path], user: Daskjob, succeeded: Done, failed: Done
) -> None:
    assert (succeeded.code, failed.code) == (0, 1)
    for name in ("squares", "failing"):
        assert user("report", name, "--html").text == f"{name}.html\n"
        files[f"run {name}"] = user.work / f"{name}.html"
    async with page() as browser:
        await browser.open(files["control"], width=400)
        assert "evil" in str(browser.complaints)
        assert "http://127.0.0.1:9/x" in browser.requests
        assert await browser.evaluate("document.documentElement.scrollWidth") > 400

        for name, file in files.items():
            for width, dark in SIZES if name != "control" else ():
                await browser.open(file, width=width, dark=dark)
                assert browser.complaints == []
                assert browser.requests == [file.as_uri()]
                assert await browser.evaluate("document.documentElement.scrollWidth") <= width
                colour = await browser.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 200) is dark
                assert (
                    await browser.evaluate("document.scripts.length + document.images.length") == 0
                )

        await browser.open(files["failing"])
        text = await browser.text()
        first = text.index("Failed in 75s (ExitCode)")
        assert first < text.index("the script exited with code 1") < text.index("Attempts")
        assert text.count(EVIL) >= 12
        assert "hunter2" not in files["failing"].read_text()
        for shown in ("TOKEN", "sha256:0123456789abcdef", "4 of 9", "python 3.11.7", "1 GiB"):
            assert shown in text, shown
        assert await browser.evaluate("document.title") == f"a{EVIL}: Failed"
        assert await browser.evaluate("document.querySelectorAll('rect.failed').length") == 2

        await browser.open(files["large"])
        text = await browser.text()
        for shown in (
            "Succeeded in 6m40s",
            "200 workers",
            "60000 of 60000",
            "138 more",
            "188 more",
        ):
            assert shown in text, shown
        assert await browser.evaluate("document.querySelectorAll('svg.rows rect').length") == 200
        assert (
            await browser.evaluate("document.querySelectorAll('svg.rows rect.failed').length") == 1
        )
        assert await browser.evaluate("document.body.scrollHeight") < 5000

        await browser.open(files["waiting"])
        assert "waiting\n\nPending\n" in await browser.text()

        await browser.open(files["run squares"])
        text = await browser.text()
        for shown in ("Succeeded in ", "20 of 20", '"total": 2470', "worker-0"):
            assert shown in text, shown
        # A run of a second may end before its scheduler was asked with its worker.
        history = json.loads(user("report", "squares", "--output", "json").text).get("history", {})
        measured = any(row[3] for row in history.get("rows", ()))
        assert ("Memory of all" in text) is measured
        assert re.search(r"Versions\npython \d[\d.]+, dask \d[\d.]+, distributed \d", text)

        await browser.open(files["run failing"])
        text = await browser.text()
        assert text.index("no data for 2024") < text.index("Attempts")
        assert "attempt 1" in text


def test_file_is_chosen_and_no_other_file_is_replaced(user: Daskjob, succeeded: Done) -> None:
    assert succeeded.code == 0
    done = user("report", "squares", "--html", "-")
    assert done.code == 0
    assert done.text.startswith("<!DOCTYPE html>")
    assert user("report", "--html", "squares").text == "squares.html\n"
    assert user("report", "squares", "--html").text == "squares.html\n"
    assert user("report", "squares", "--html", "other.html").text == "other.html\n"
    (user.work / "squares.html").write_text("my own page")
    done = user("report", "squares", "--html")
    assert (done.code, done.text) == (2, "")
    assert "squares.html exists and is no report" in " ".join(done.err.split())
    assert (user.work / "squares.html").read_text() == "my own page"
    (user.work / "squares.html").unlink()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--html", "page.txt"), 2, "'page.txt' does not end in .html"),
        (("--html", "there/page"), 2, "'there/page' does not end in .html"),
        (("--html", "x.html", "-o", "json"), 2, "two formats"),
        (("--html", "missing/x.html"), 125, "missing/x.html: No such file or directory"),
    ],
)
def test_mistakes_are_reported(
    user: Daskjob, succeeded: Done, words: tuple[str, ...], code: int, message: str
) -> None:
    assert succeeded.code == 0
    done = user("report", "squares", *words)
    assert (done.code, done.text) == (code, "")
    assert message in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("lost", "known", "expected"),
    [
        (4, 3, ["1 at most, 4 lost (the last 3 of 4 are marked)", "Lost workers: the last 3 of 4"]),
        (2, 2, ["1 at most, 2 lost<", ">Lost workers<"]),
        (1, 0, ["1 at most, 1 lost<"]),
        (0, 0, ["1 at most<"]),
    ],
)
def test_the_chart_counts_the_workers_that_the_report_counts(
    lost: int, known: int, expected: list[str]
) -> None:
    losses = [[f"w{n}", START.timestamp() + n, [], 0, 0] for n in range(known)]
    workers = {"peak": 1, "lost": lost, "losses": losses, "overTime": [[0, 1]]}
    report = {"startedAt": START.timestamp(), "tasks": {"total": 1}, "workers": workers}
    page = str(html_report(facts(manifest("hungry", {"phase": "Failed"}), report)))
    assert [text for text in expected if text not in page] == []
    assert (f"<dd>{lost}</dd>" in page) is (lost > 0)


def test_lost_worker_had_at_least_the_limit_that_it_exceeded() -> None:
    losses = [["w", START.timestamp() + 60, ["t"], 2**29, 2**29]]
    peaks = {"rows": [["w", 2**28]]}
    report = {"peakMemory": peaks, "workers": {"lost": 1, "losses": losses}}
    status = {"phase": "Failed", "report": {"peakMemory": {**peaks, "atLeast": 2**29}}}
    page = str(html_report(facts(manifest("hungry", status), report)))
    assert page.count("≥ 512 MiB") == 2
    assert "256 MiB" not in page
