"""What differs between two jobs: the image first, one line each, and no secret value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest
from daskjob.submit.comparison.compared import (
    Side,
    compared,
    compared_attempts,
    without_own_names,
)
from daskjob.submit.records.secret_values import without_secret_values
from tests.client.given import FAILED, SUCCEEDED, job

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
WORKER = ("cluster", "spec", "worker")
RUNNER = ("job", "spec", "containers", 0)
WORKER_CONTAINER = (*WORKER, "spec", "containers", 0)

SCHEDULER = ("cluster", "spec", "scheduler", "spec", "containers", 0)


def with_field(manifest: Manifest, path: tuple[str | int, ...], value: object) -> Manifest:
    # The pods of ``job`` are one object.
    found: Manifest = json.loads(json.dumps(manifest))
    holder: Any = found["spec"]
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return found


def lines(one: Manifest, other: Manifest, **digests: Any) -> list[str]:
    sides = Side(one, digests.get("one", {})), Side(other, digests.get("other", {}))
    return [str(item) for item in compared(*sides)]


def test_equal_jobs_have_no_differences() -> None:
    assert lines(job(), job()) == []
    assert lines(job(submissionID="a", cancel=True), job("other", submissionID="b")) == []


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("backoffLimit",), 3, "spec backoffLimit: none → 3"),
        ((*WORKER, "replicas"), 5, "spec worker replicas: 1 → 5"),
        (("cluster", "spec", "idleTimeout"), 9, "spec cluster.spec.idleTimeout: none → 9"),
        ((*RUNNER, "args"), ["a"], "spec runner args: ['python', '-c', 'pass'] → ['a']"),
        (
            (*RUNNER, "args"),
            ["python", "-c", "x"],
            "spec runner args[2]: pass → x",
        ),
        (
            ("job", "spec", "priorityClassName"),
            "low",
            "spec runner spec.priorityClassName: none → low",
        ),
        ((*RUNNER, "env"), [{"name": "A", "value": "1"}], "env runner A: none → 1"),
        (
            (*WORKER_CONTAINER, "env"),
            [{"name": "API_KEY", "value": "hunter2"}],
            "env worker API_KEY: none → a secret value",
        ),
        (
            (*WORKER_CONTAINER, "env"),
            [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "env worker B: none → {'secretKeyRef': {'name': 's', 'key': 'k'}}",
        ),
        (
            (*WORKER_CONTAINER, "resources"),
            {"limits": {"memory": "1Gi"}},
            "resources worker limits: none → {'memory': '1Gi'}",
        ),
        ((*RUNNER, "image"), "new", "image of runner: none → new"),
        (("cluster", "spec", "workerGroups"), [{"name": "gpu"}], "spec group-gpu: none → present"),
    ],
)
def test_change_of_a_spec_is_one_line(path: tuple[str, ...], value: object, line: str) -> None:
    assert lines(job(), with_field(job(), path, value))[:1] == [line]


def test_what_all_pods_share_is_one_line() -> None:
    other = job()
    for path in (
        RUNNER,
        (*WORKER_CONTAINER,),
        ("cluster", "spec", "scheduler", "spec", "containers", 0),
    ):
        other = with_field(other, (*path, "image"), "ghcr.io/dask/dask:2026.1.0-py3.12")
        other = with_field(other, (*path, "env"), [{"name": "A", "value": "1"}])
    text = json.dumps(other).replace("2026.1.0-py3.12", "2025.1.0-py3.11")
    one = json.loads(text.replace('"1"', '"2"'))
    assert lines(one, other) == [
        "image of all pods: ghcr.io/dask/dask:2025.1.0-py3.11 → ghcr.io/dask/dask:2026.1.0-py3.12",
        "versions of all pods: dask 2025.1.0, Python 3.11 → dask 2026.1.0, Python 3.12",
        "env runner, scheduler, worker A: 2 → 1",
    ]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"runner": f"docker.io/a@{ONE}"}, {"runner": f"a@{TWO}"}, ["digest of runner"]),
        ({"runner": ONE, "worker": ONE}, {"runner": ONE, "worker": TWO}, ["digest of worker"]),
        ({"runner": ONE}, {"runner": ONE}, []),
        ({"runner": ONE}, {}, []),
        ({"runner": "a:latest"}, {"runner": TWO}, []),
    ],
)
def test_digest_comes_first_where_both_are_known(
    one: dict[str, str], other: dict[str, str], expected: list[str]
) -> None:
    changed = with_field(job(), ("backoffLimit",), 3)
    found = compared(Side(job(), one), Side(changed, other))
    assert [item.what for item in found if item.topic == "image"] == expected
    assert found[-1].what == "backoffLimit"
    if expected:
        assert str(found[0]).endswith("sha256:111111111111 → sha256:222222222222")


def test_digest_of_the_spec_counts_without_pods() -> None:
    one, two = (with_field(job(), (*RUNNER, "image"), f"a@{digest}") for digest in (ONE, TWO))
    assert lines(one, two)[0] == (
        "image digest of runner: sha256:111111111111 → sha256:222222222222"
    )


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ("a\nb\nc", "a\nX\nc", "from line 2 on: b → X"),
        ("a\nb", "a\nb\nc", "from line 3 on: none → c"),
        ("a\nb\n", "a", "from line 2 on: b → none"),
    ],
)
def test_text_differs_from_a_line_on(was: str, now: str, line: str) -> None:
    one, other = (with_field(job(), ("job", "files"), {"a.py": text}) for text in (was, now))
    assert lines(one, other) == [f"spec runner files.a.py, {line}"]


@pytest.mark.parametrize(
    "template",
    [
        "postgres://u:{}@h/db",
        "x glpat-{}aaaaaaaaaaaaaaaa y",
        "Authorization: Bearer {}aaaaaaaaaaaaaaaa",
    ],
)
def test_value_that_is_secret_under_any_name_is_not_shown(template: str) -> None:
    one, other = (
        with_field(job(), (*RUNNER, "env"), [{"name": "WHERE", "value": template.format(secret)}])
        for secret in ("hunter2", "hunter3")
    )
    assert lines(one, other) == ["env runner WHERE: a secret value → another one"]


def test_secret_values_are_not_shown_and_those_of_records_not_compared() -> None:
    secret = [{"name": "TOKEN", "value": "hunter2"}]
    one = with_field(job(), (*RUNNER, "env"), secret)
    other = with_field(job(), (*RUNNER, "env"), [{"name": "TOKEN", "value": "hunter3"}])
    assert lines(one, other) == ["env runner TOKEN: a secret value → another one"]
    assert lines(without_secret_values(one), other) == []
    assert lines(one, without_secret_values(one)) == []


def test_names_that_follow_from_the_jobs_name_do_not_differ() -> None:
    volumes = ("job", "spec", "volumes")
    one, other = (
        with_field(job(name), volumes, [{"name": "code", "configMap": {"name": f"{name}-files"}}])
        for name in ("sums-1", "sums-2")
    )
    assert lines(one, other) != []
    assert lines(without_own_names(one), without_own_names(other)) == []


def test_outcome_has_counts_the_result_and_times() -> None:
    report = {
        "tasks": {"done": 10, "erred": 0},
        "workers": {"peak": 2, "lost": 0},
        "peakMemory": {"columns": ["worker", "bytes"], "rows": [["w", 2**30], ["v", 1]]},
    }
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:01:00Z"}
    one = {**job(), "status": {**SUCCEEDED, **times, "report": report}}
    more = {**report, "tasks": {"done": 12, "erred": 1}, "workers": {"peak": 2, "lost": 1}}
    ended = {"endTime": "2026-01-01T00:02:00Z"}
    other = {**job(), "status": {**FAILED, **times, **ended, "report": more}}
    assert lines(one, other) == [
        "counts tasks done: 10 → 12",
        "counts tasks erred: 0 → 1",
        "counts workers lost: 0 → 1",
        "result phase: Succeeded → Failed",
        "result reason: Completed → ExitCode",
        "result exit code: 0 → 3",
        "result value: {'total': 3} → none",
        "time duration: 60s → 2m",
    ]


ATTEMPTS = [
    {
        "number": 0,
        "startTime": "2026-01-01T00:00:00Z",
        "endTime": "2026-01-01T00:00:30Z",
        "exitCode": 1,
        "reason": "ExitCode",
        "message": "no data",
    },
    {
        "number": 1,
        "startTime": "2026-01-01T00:01:00Z",
        "endTime": "2026-01-01T00:02:00Z",
        "exitCode": 0,
        "reason": "Completed",
        "message": "",
    },
]


def test_attempts_of_a_job_are_compared() -> None:
    side = Side({**job(), "status": {**SUCCEEDED, "attempts": ATTEMPTS}})
    found = compared_attempts(side, 0, 1, {0: ONE, 1: TWO})
    assert [item.what for item in found] == [
        *("digest of runner", "exit code", "reason", "message", "duration", "start", "end")
    ]
    assert compared_attempts(side, 1, 1) == ()
    assert compared_attempts(side, 0, 1, {0: ONE})[0].what == "exit code"


@pytest.mark.parametrize(
    ("status", "number", "known"),
    [
        ({"attempts": ATTEMPTS}, 2, "0, 1"),
        ({"attempts": ATTEMPTS[1:]}, 0, "1"),
        ({}, 0, "none"),
    ],
)
def test_attempt_that_has_not_ended_is_not_found(status: Manifest, number: int, known: str) -> None:
    side = Side({**job(), "status": status})
    with pytest.raises(NotFound, match=f"no ended attempt {number}; ended attempts: {known}"):
        compared_attempts(side, number, number)


def test_peak_of_a_worker_that_exceeded_its_limit_is_at_least_that() -> None:
    rows = [["w", 2**28]]
    one, other = (
        {**job(), "status": {**FAILED, "report": {"peakMemory": {"rows": rows, **more}}}}
        for more in ({"atLeast": 2**29}, {})
    )
    assert lines(one, other) == ["counts peak memory of a worker: ≥ 512 MiB → 256 MiB"]


def with_packages(*requirements: str) -> Manifest:
    fields = {"requirements": list(requirements), "requiresPython": ">=3.11"}
    return with_field(job(), ("environment",), fields)


def test_packages_are_compared_by_name_without_their_hashes() -> None:
    one = with_packages("a==1 --hash=sha256:aa", "b==1 --hash=sha256:bb", "c==1", "e==1", "x[y]>=2")
    other = with_packages(
        *("new==3", "a==2 --hash=sha256:cc", "b==1 --hash=sha256:dd", "C==1", "x[y]>=2"),
        *("e==1 ; python_version < '3.12'", "e==2 ; python_version >= '3.12'"),
    )
    assert lines(one, other) == [
        "package a: 1 → 2",
        "package b: 1 → 1, with other hashes",
        "package e: 1 → 1 ; python_version < '3.12' | 2 ; python_version >= '3.12'",
        "package new: none → 3",
    ]
    assert lines(one, one) == []
    assert "package a: none → 1" in lines(job(), one)
    assert "spec environment.requiresPython: none → >=3.11" in lines(job(), one)
