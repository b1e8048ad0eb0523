"""Whatever the API server answers, the operator keeps running, retries rarely, and recovers.

Each fault lasts for some seconds. Meanwhile one job runs, the runner of another ends, and a third
one is created. Jobs and pods are not affected by the fault: only the operator is cut off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.cluster import proxy as faults
from tests.cluster.fake_nodes import ENDS_AFTER
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import Fault, Request, answer
from tests.operator.invariants import most_often, violations
from tests.operator.jobs import ended, fake_job, says
from tests.operator.staged import Results, Stage, Story, assert_succeeded, side_by_side

#: Duration of a fault: several retries of one request, and of one pass.
FAULT_SECONDS = 5.0
#: The operator must recover within this time after the fault.
RECOVERY_SECONDS = 15.0
#: A half-open watch is abandoned after 70 s without even a bookmark.
SILENT_SECONDS = 75.0
#: No request is made more than once a second, except for one immediate retry and the first pass
#: after a change: at most this number in any 5 s. A hot loop makes several hundred.
WINDOW_SECONDS = 5.0
MOST_IN_WINDOW = 7
#: The number of parallel stories: they mostly wait.
AT_ONCE = 7

FORBIDDEN = 'is forbidden: User "operator" cannot do this in the namespace'


@dataclass(frozen=True)
class Trouble:
    """A fault, and the outcome of a job that is created during it."""

    fault: Fault
    #: Its final ``jobStatus`` and reason: a rejected object is a verdict, not an outage.
    ends: tuple[str, str] = ("Successful", "Completed")
    #: Whether the request is executed although the operator gets an error.
    is_done: bool = False
    #: How often one request is sent: again with new credentials, or on another connection.
    sent: int = 1
    #: The only verb with this fault; empty: all.
    verb: str = ""
    #: How long it lasts.
    seconds: float = FAULT_SECONDS

    def meets(self, request: Request) -> bool:
        """Return whether the fault applies to a request."""
        return self.verb in ("", request.verb)


def of_watches(fault: Fault, *, is_done: bool = False) -> Trouble:
    """A fault of watches only."""
    return Trouble(fault, is_done=is_done, verb="watch")


#: Responses of the API server, or of a proxy before it, to any request.
ANSWERS = {
    "401": Trouble(answer(401, "Unauthorized", "Unauthorized"), sent=2),
    "403": Trouble(answer(403, FORBIDDEN, "Forbidden")),
    "404": Trouble(answer(404, "the server could not find the requested resource", "NotFound")),
    "409": Trouble(answer(409, "the object has been modified; please apply again", "Conflict")),
    "410": Trouble(answer(410, "too old resource version", "Expired")),
    "429": Trouble(answer(429, "too many requests", "TooManyRequests")),
    "429-retry-after": Trouble(answer(429, "too many requests", retry_after=1)),
    "500": Trouble(answer(500, "etcdserver: request timed out", "InternalError")),
    "503": Trouble(answer(503, "the server is currently unable to handle the request")),
    "503-retry-after": Trouble(answer(503, "apiserver is shutting down", retry_after=1)),
    "reset": Trouble(faults.reset(), sent=2),
}
NO = "spec.containers: Invalid value"
WRITES = {
    **ANSWERS,
    "lost-answer": Trouble(faults.lose_answer(), sent=2, is_done=True),
    # Each later read finds that the name is free after all.
    "409-exists": Trouble(
        answer(409, 'pods "x" already exists', "AlreadyExists"), is_done=True, verb="create"
    ),
    # A job whose status is rejected too has not begun: it begins after the fault.
    "422": Trouble(answer(422, NO, "Invalid")),
    "422-of-creates": Trouble(
        answer(422, NO, "Invalid"),
        ends=("Failed", "InvalidSpec"),
        is_done=True,
        verb="create",
    ),
    # As if admission rejected everything, which may last, or not.
    "403-for-10-s": Trouble(answer(403, "forbidden", "Forbidden"), seconds=10.0),
}
READS = {
    **ANSWERS,
    "422": Trouble(answer(422, "resourceVersion: Invalid value", "Invalid")),
    # A relist follows, which returns the complete state.
    "410-within": of_watches(faults.watch_says(faults.error_line(410)), is_done=True),
    "500-within": of_watches(faults.watch_says(faults.error_line(500, "internal error"))),
    "ends-at-once": of_watches(faults.watch_ends()),
    "cut-in-a-line": of_watches(faults.watch_sends(b'{"type":"ADDED","object":{"kind":"Pod","m')),
    "no-json": of_watches(faults.watch_sends(b"<html>502 Bad Gateway</html>\n")),
}

Side = Callable[[Request], bool]


def writes(request: Request) -> bool:
    return request.writes


def reads(request: Request) -> bool:
    return not request.writes


@pytest.mark.parametrize("fault", WRITES)
def test_operator_recovers_within_15_s_from_writes_that_fail_for_5_s(
    fault: str, results: Results
) -> None:
    assert_succeeded(results[f"writes-{fault}"])


@pytest.mark.parametrize("fault", READS)
def test_operator_recovers_within_15_s_from_reads_that_fail_for_5_s(
    fault: str, results: Results
) -> None:
    assert_succeeded(results[f"reads-{fault}"])


def test_operator_recovers_within_75_s_from_silent_watches(results: Results) -> None:
    assert_succeeded(results["silent"])


# All of them in parallel


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """The results of the stories that tests of this run need."""
    with_crds.provider.fake_nodes(2)
    stories: dict[str, Story] = {
        **{f"writes-{name}": partial(outage, t, writes) for name, t in WRITES.items()},
        **{f"reads-{name}": partial(outage, t, reads) for name, t in READS.items()},
        "silent": silence,
    }
    tests = {item.name for item in request.session.items}
    wanted = {name: story for name, story in stories.items() if _is_wanted(name, tests)}
    folder = tmp_path_factory.mktemp("faults")
    # The story that waits for 75 s must not delay the others.
    runs = side_by_side(wanted, with_crds.kubeconfig, folder, at_once=AT_ONCE, beside=("silent",))
    return asyncio.run(runs)


def _is_wanted(story: str, tests: set[str]) -> bool:
    kind, _, fault = story.partition("-")
    return any(kind in test and (not fault or f"[{fault}]" in test) for test in tests)


async def outage(trouble: Trouble, side: Side, stage: Stage) -> None:
    """Inject a fault for its duration; assert that the operator recovers."""
    server, proxy = stage.server, stage.proxy
    pid = await two_jobs_run(stage)
    rule = proxy.on(
        trouble.fault, when=lambda request: side(request) and trouble.meets(request), times=None
    )
    began = time.monotonic()
    if side is reads:
        proxy.cut_watches()
    await server.create("DaskJob", fake_job("new", ends_after="0s"))
    await server.patch("Pod", "ends-runner", ENDS)
    await asyncio.sleep(trouble.seconds)
    rule.end()
    over = time.monotonic()
    assert rule.hits, "the fault did not occur"
    assert trouble.is_done or not job_is(stage, "ends", ended), "the fault had no effect"

    await server.until(goes_on(stage), RECOVERY_SECONDS)
    recovered = time.monotonic() - over
    await all_end_as_they_should(stage, trouble.ends)
    assert (stage.operator.pid, stage.operator.running) == (pid, True)
    often, what = most_often((r for r in proxy.seen if began <= r.at <= over), WINDOW_SECONDS)
    print(f"{stage.folder.name:22} back after {recovered:4.1f} s; at most {often} times: {what}")
    assert often <= MOST_IN_WINDOW * trouble.sent, f"{often} in {WINDOW_SECONDS} s: {what}"


async def silence(stage: Stage) -> None:
    """Silence all watches, while other requests are answered."""
    pid = await two_jobs_run(stage)
    stage.proxy.silence_watches()
    began = time.monotonic()
    await stage.server.create("DaskJob", fake_job("new", ends_after="0s"))
    await stage.server.patch("Pod", "ends-runner", ENDS)
    await stage.server.until(goes_on(stage), SILENT_SECONDS)
    assert time.monotonic() - began > RECOVERY_SECONDS, "the fault had no effect"
    await all_end_as_they_should(stage, ("Successful", "Completed"))
    assert (stage.operator.pid, stage.operator.running) == (pid, True)


async def two_jobs_run(stage: Stage) -> int:
    """Start the operator and two jobs; wait until all their workers run; return its pid."""
    await stage.operator.start()
    for name in ("busy", "ends"):
        await stage.server.create("DaskJob", fake_job(name))
    running = says("Running")
    await stage.server.until(lambda: all(job_is(stage, n, running) for n in ("busy", "ends")))
    await stage.server.until(lambda: len(workers(stage)) == 4)
    await stage.at_rest()
    return stage.operator.pid


def workers(stage: Stage) -> list[str]:
    """Return the names of all worker pods."""
    return [name for kind, name in stage.server.objects if kind == "Pod" and "-worker-" in name]


def goes_on(stage: Stage) -> Callable[[], bool]:
    """Return a check that the operator has recovered."""
    return lambda: bool(job_is(stage, "ends", ended) and job_is(stage, "new", begun))


async def all_end_as_they_should(stage: Stage, new: tuple[str, str]) -> None:
    """Let the job end that ran all the time; assert the outcomes of all three."""
    server = stage.server
    await server.until(lambda: job_is(stage, "new", ended))
    assert job_is(stage, "busy", says("Running"))
    await server.patch("Pod", "busy-runner", ENDS)
    await server.until(lambda: job_is(stage, "busy", ended))
    left = {("Pod", f"{name}-runner") for name in ("busy", "ends", "new")}
    await server.until(lambda: {key for key in server.objects if key[0] != "DaskJob"} <= left)
    assert ends(stage, "busy") == ends(stage, "ends") == ("Successful", "Completed")
    assert ends(stage, "new") == new
    assert violations(server, stage.writes) == []


ENDS = {"metadata": {"annotations": {ENDS_AFTER: "0s"}}}


def job_is(stage: Stage, name: str, true: Callable[[dict[str, Any]], Any]) -> Any:
    """Return whether a job exists and a condition is true for it."""
    return true(stage.server.objects.get(("DaskJob", name), {}))


def begun(found: dict[str, Any]) -> bool:
    """Return whether a job's runner runs, or the job has ended."""
    return bool(says("Running")(found) or ended(found))


def ends(stage: Stage, name: str) -> tuple[str, str]:
    """Return the final ``jobStatus`` and reason of a job."""
    status = stage.server.objects["DaskJob", name]["status"]
    return status["jobStatus"], status["reason"]
