"""The stories in which the operator is killed: a job, and its user's actions while it runs.

Pods are kwok's: the operator's writes, and the points of a crash between them, are the same as with
real pods, and a story takes seconds. Users act on the state that they see; the operator may be down
at that time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.cluster.fake_nodes import ENDS_AFTER
from tests.operator.history import Manifest, Server
from tests.operator.jobs import condition, fake_job

JOB = "sums"
Acts = Callable[[Server], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A job and its user."""

    name: str
    manifest: Manifest
    #: The user's actions after the creation of the job.
    acts: Acts


async def _nothing(server: Server) -> None:
    del server


def _job_is(server: Server, true: Callable[[Manifest], object]) -> Callable[[], object]:
    return lambda: true(server.objects.get(("DaskJob", JOB), {}))


def _running(found: Manifest) -> object:
    return found.get("status", {}).get("jobStatus") == "Running"


async def _cancel(server: Server) -> None:
    await server.until(_job_is(server, _running))
    await server.patch("DaskJob", JOB, {"spec": {"cancel": True}})


async def _suspend_and_resume(server: Server) -> None:
    await server.until(_job_is(server, _running))
    await server.patch("DaskJob", JOB, {"spec": {"suspend": True}})
    await server.until(
        _job_is(server, lambda found: condition(found, "Suspended").get("status") == "True")
    )
    # Resume only after it is suspended: otherwise the story would differ each time.
    await server.until(
        lambda: (
            not any(_alive(found) for (kind, _), found in server.objects.items() if kind == "Pod")
        )
    )
    # The second attempt ends by itself.
    ends = {"spec": {"suspend": False}}
    await server.patch("DaskJob", JOB, ends)
    await server.until(
        _job_is(server, lambda found: _running(found) and found["status"].get("attempt") == 1)
    )
    await server.patch("Pod", f"{JOB}-runner-1", {"metadata": {"annotations": {ENDS_AFTER: "0s"}}})


def _alive(pod: Manifest) -> bool:
    return pod.get("status", {}).get("phase") in (None, "Pending", "Running")


async def _delete(server: Server) -> None:
    await server.until(_job_is(server, _running))
    await server.delete("DaskJob", JOB)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("succeeds", fake_job(ends_after="2s"), _nothing),
        Scenario(
            "fails-once",
            fake_job(ends_after="1s", failures=1, backoff={"initialSeconds": 1}),
            _nothing,
        ),
        Scenario(
            "packages",
            fake_job(ends_after="2s", environment={"requirements": ["pandas==3.0.1"]}),
            _nothing,
        ),
        Scenario("deadline", fake_job(activeDeadlineSeconds=5), _nothing),
        Scenario("cancel", fake_job(), _cancel),
        Scenario("suspend-and-resume", fake_job(), _suspend_and_resume),
        Scenario("delete", fake_job(), _delete),
    )
}
