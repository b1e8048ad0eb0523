"""Whatever the API server answers, the operator stays, asks rarely, and goes on when it can.

Each fault lasts for some seconds, in which a job runs, another's runner ends and a third one is
created. The jobs and their pods know nothing of it: it is only the operator that is cut off.
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
from tests.operator.staged import Results, Stage, Story, assert_told, side_by_side

#: How long a fault lasts: some tries of one request, and of one pass.
FAULT_SECONDS = 5.0
#: Within what time after its end everything has to go on.
RECOVERY_SECONDS = 15.0
#: A watch that is half open is given up when for 70 s not even a bookmark came.
SILENT_SECONDS = 75.0
#: Nothing is asked more often than once a second, but for one quick second try of a request and
#: the first look after a change: in any 5 s so often. A loop that is hot asks some hundred times.
WINDOW_SECONDS = 5.0
MOST_IN_WINDOW = 7
#: How many stories are told at once: they wait more than they work.
AT_ONCE = 7

FORBIDDEN = 'is forbidden: User "operator" cannot do this in the namespace'


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, and what becomes of a job that is created meanwhile."""

    fault: Fault
    #: The word at its end, and the reason: a no to an object is a verdict, not an outage.
    ends: tuple[str, str] = ("Successful", "Completed")
    #: What is done all the same, only that the operator does not get to know.
    is_done: bool = False
    #: How often one asking is sent: again with new credentials, or over another connection.
    sent: int = 1
    #: The only verb that may be answered so; empty: all.
    verb: str = ""

    def meets(self, request: Request) -> bool:
        """Say whether this is for it."""
        return self.verb in ("", request.verb)


def of_watches(fault: Fault, *, is_done: bool = False) -> Trouble:
    """What only a watch may be answered."""
    return Trouble(fault, is_done=is_done, verb="watch")


#: What a server, or what stands before it, may answer to anything.
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
    # Each look finds that the name is free after all.
    "409-exists": Trouble(
        answer(409, 'pods "x" already exists', "AlreadyExists"), is_done=True, verb="create"
    ),
    "422": Trouble(answer(422, NO, "Invalid"), ends=("Failed", "InvalidSpec")),
}
READS = {
    **ANSWERS,
    "422": Trouble(answer(422, "resourceVersion: Invalid value", "Invalid")),
    # A list follows, which says it all.
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
def test_writes_that_fail_for_5_s_are_made_up_for_within_15_s(fault: str, results: Results) -> None:
    assert_told(results[f"writes-{fault}"])


@pytest.mark.parametrize("fault", READS)
def test_reads_that_fail_for_5_s_are_made_up_for_within_15_s(fault: str, results: Results) -> None:
    assert_told(results[f"reads-{fault}"])


def test_watches_that_fell_silent_are_made_up_for_within_75_s(results: Results) -> None:
    assert_told(results["silent"])


# All of them side by side


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """How each story went that a test of this run asks for."""
    with_crds.provider.fake_nodes(2)
    stories: dict[str, Story] = {
        **{f"writes-{name}": partial(outage, t, writes) for name, t in WRITES.items()},
        **{f"reads-{name}": partial(outage, t, reads) for name, t in READS.items()},
        "silent": silence,
    }
    tests = {item.name for item in request.session.items}
    wanted = {name: story for name, story in stories.items() if _is_wanted(name, tests)}
    folder = tmp_path_factory.mktemp("faults")
    # Who waits for 75 s keeps nobody else waiting.
    told = side_by_side(wanted, with_crds.kubeconfig, folder, at_once=AT_ONCE, beside=("silent",))
    return asyncio.run(told)


def _is_wanted(story: str, tests: set[str]) -> bool:
    kind, _, fault = story.partition("-")
    return any(kind in test and (not fault or f"[{fault}]" in test) for test in tests)


async def outage(trouble: Trouble, side: Side, stage: Stage) -> None:
    """Let a fault come and go; assert what has to be true then."""
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
    await asyncio.sleep(FAULT_SECONDS)
    rule.end()
    over = time.monotonic()
    assert rule.hits, "nothing went wrong"
    assert trouble.is_done or not job_is(stage, "ends", ended), "nobody was kept from anything"

    await server.until(goes_on(stage), RECOVERY_SECONDS)
    recovered = time.monotonic() - over
    await all_end_as_they_should(stage, trouble.ends)
    assert (stage.operator.pid, stage.operator.running) == (pid, True)
    often, what = most_often((r for r in proxy.seen if began <= r.at <= over), WINDOW_SECONDS)
    print(f"{stage.folder.name:22} back after {recovered:4.1f} s; at most {often} times: {what}")
    assert often <= MOST_IN_WINDOW * trouble.sent, f"{often} in {WINDOW_SECONDS} s: {what}"


async def silence(stage: Stage) -> None:
    """Let all watches fall silent, while everything else is answered."""
    pid = await two_jobs_run(stage)
    stage.proxy.silence_watches()
    began = time.monotonic()
    await stage.server.create("DaskJob", fake_job("new", ends_after="0s"))
    await stage.server.patch("Pod", "ends-runner", ENDS)
    await stage.server.until(goes_on(stage), SILENT_SECONDS)
    assert time.monotonic() - began > RECOVERY_SECONDS, "nobody was kept from anything"
    await all_end_as_they_should(stage, ("Successful", "Completed"))
    assert (stage.operator.pid, stage.operator.running) == (pid, True)


async def two_jobs_run(stage: Stage) -> int:
    """Start the operator, and have two jobs that run, with all their workers; return its pid."""
    await stage.operator.start()
    for name in ("busy", "ends"):
        await stage.server.create("DaskJob", fake_job(name))
    running = says("Running")
    await stage.server.until(lambda: all(job_is(stage, n, running) for n in ("busy", "ends")))
    await stage.server.until(lambda: len(workers(stage)) == 4)
    await stage.at_rest()
    return stage.operator.pid


def workers(stage: Stage) -> list[str]:
    """Return the names of the worker pods that there are."""
    return [name for kind, name in stage.server.objects if kind == "Pod" and "-worker-" in name]


def goes_on(stage: Stage) -> Callable[[], bool]:
    """Return what says whether everything goes on."""
    return lambda: bool(job_is(stage, "ends", ended) and job_is(stage, "new", begun))


async def all_end_as_they_should(stage: Stage, new: tuple[str, str]) -> None:
    """Let the job end that was at work all the time; assert how all three did."""
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
    """Say whether something is true of a job."""
    return true(stage.server.objects.get(("DaskJob", name), {}))


def begun(found: dict[str, Any]) -> bool:
    """Whether a job's runner runs, or it has ended."""
    return bool(says("Running")(found) or ended(found))


def ends(stage: Stage, name: str) -> tuple[str, str]:
    """Return how a job has ended."""
    status = stage.server.objects["DaskJob", name]["status"]
    return status["jobStatus"], status["reason"]
