"""One story, with or without a crash of the operator, and the conditions that must hold.

The operator is a process that connects to the API server through a proxy, which counts its writes
and has it killed right before, or right after, one of them. It is restarted at once, as Kubernetes
does with a container.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskjob.kube.access import Access
from tests.cluster.proxy import Request, after, before
from tests.crash.scenarios import JOB, Scenario
from tests.operator.history import Manifest, Server
from tests.operator.invariants import TERMINAL, violations
from tests.operator.process import OperatorProcess
from tests.operator.staged import Stage, counted, staged
from tests.waiting import until

#: A story is over when nothing was written for this time.
QUIET_SECONDS = 1.0
#: The same if its end is not known yet: longer than any of the operator's delays.
UNKNOWN_QUIET_SECONDS = 4.0
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, order=True)
class Point:
    """A moment at which the operator is killed: at its n-th write, counted from 1."""

    write: int
    #: Whether the write was executed, without a response to the operator.
    after: bool

    def __str__(self) -> str:
        return f"{self.write}-{'after' if self.after else 'before'}"


@dataclass(frozen=True)
class End:
    """The end of a story: the remaining objects by kind and name, and the job's verdict."""

    objects: tuple[str, ...]
    verdict: Manifest


@dataclass
class Story:
    """The history of one run."""

    stage: Stage
    #: Exit codes of operators that were restarted.
    deaths: list[int]

    @property
    def server(self) -> Server:
        """The namespace of the story."""
        return self.stage.server

    @property
    def writes(self) -> list[Request]:
        """The operator's writes, including those that the proxy stopped."""
        return self.stage.writes

    @property
    def end(self) -> End:
        """Return the current state."""
        return End(tuple(sorted(_names(self.server))), _verdict(self.server))

    def quiet_seconds(self) -> float:
        """Return the time since the last write; 0 while objects wait for garbage collection."""
        uids = {found["metadata"]["uid"] for found in self.server.objects.values()}
        owners = (
            owner["uid"]
            for found in self.server.objects.values()
            for owner in found["metadata"].get("ownerReferences") or []
        )
        if not uids.issuperset(owners):
            return 0.0
        return time.monotonic() - max((request.at for request in self.writes), default=0.0)

    def violations(self) -> list[str]:
        """Return the violations of the invariants."""
        return [
            *violations(self.server, self.writes),
            *_untimely_deletions(self.writes),
        ]

    def transcript(self) -> str:
        """Return the writes and the log as text, for the message of a failed test."""
        lines = [
            f"{number:3} {r.verb} {r.resource}/{r.subresource or '-'} {r.name} "
            f"{'' if r.forwarded else 'not sent '}{r.code or 'no answer'} {r.body[:300]!r}"
            for number, r in enumerate(self.writes, 1)
        ]
        status = json.dumps(self.server.objects.get(("DaskJob", JOB), {}).get("status"), indent=1)
        return "\n".join([*lines, f"deaths: {self.deaths}", status, f"log: {self.stage.folder}"])


async def undisturbed(scenario: Scenario, access: Access, folder: Path) -> tuple[End, int]:
    """Return the end of a story without a crash, and its number of writes."""
    async with _begun(scenario, access, folder, None) as story:
        job = ("DaskJob", JOB)
        objects = story.server.objects
        await story.server.until(lambda: job not in objects or _ended(objects[job]))
        while story.quiet_seconds() < UNKNOWN_QUIET_SECONDS:
            await asyncio.sleep(0.1)
        violations = story.violations()
        assert not violations, f"{violations}\n{story.transcript()}"
        assert not story.deaths, story.transcript()
        return story.end, len(story.writes)


async def killed(
    scenario: Scenario, access: Access, folder: Path, point: Point, expected: End
) -> bool:
    """Run a story with a crash; return whether the operator reached the point of the crash.

    Raises
    ------
    AssertionError
        It did not end as expected, or an invariant was violated.
    """
    async with _begun(scenario, access, folder, point) as story:
        await until(
            lambda: story.end == expected and story.quiet_seconds() >= QUIET_SECONDS,
            PATIENCE_SECONDS,
            lambda: f"ends with {story.end}, not {expected}\n{story.transcript()}",
            pause=0.05,
        )
        violations = story.violations()
        assert not violations, f"{violations}\n{story.transcript()}"
        assert set(story.deaths) <= {-signal.SIGKILL}, story.transcript()
        return bool(story.deaths)


@asynccontextmanager
async def _begun(
    scenario: Scenario, access: Access, folder: Path, point: Point | None
) -> AsyncIterator[Story]:
    """Start the operator, create the job and run the user's actions."""
    async with staged(access, folder, f"crash-{scenario.name}") as stage:
        server, operator = stage.server, stage.operator
        if point is not None:
            fault = after if point.after else before
            stage.proxy.on(fault(operator.kill), when=counted, skip=point.write - 1)
        story = Story(stage, [])
        await operator.start()
        keeper = asyncio.create_task(_keep_alive(operator, story.deaths))
        try:
            await server.create("DaskJob", scenario.manifest)
            await server.until(lambda: ("DaskJob", JOB) in server.objects)
            await scenario.acts(server)
            yield story
        except TimeoutError as error:
            raise AssertionError(f"the user's wait timed out\n{story.transcript()}") from error
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])


async def _keep_alive(operator: OperatorProcess, deaths: list[int]) -> None:
    while True:
        deaths.append(await operator.ended())
        await operator.start()


def _ended(job: Manifest) -> bool:
    return job.get("status", {}).get("jobStatus") in TERMINAL


# How it ends


def _names(server: Server) -> Iterator[str]:
    """Yield the names of all objects; for workers, whose names are random, that of their group."""
    for (kind, name), found in server.objects.items():
        labels = found["metadata"].get("labels") or {}
        group = labels.get("dask.org/workergroup-name")
        yield f"{kind}/{group}-worker" if kind == "Pod" and group else f"{kind}/{name}"


def _verdict(server: Server) -> Manifest:
    """Return the end in the job's status, without timestamps and identities."""
    status = server.objects.get(("DaskJob", JOB), {}).get("status") or {}
    words = ("jobStatus", "phase", "reason", "exitCode", "attempt", "failures", "jobRunnerPodName")
    tries = [
        {key: tried.get(key) for key in ("number", "runnerPodName", "exitCode", "reason")}
        for tried in status.get("attempts") or []
    ]
    conditions = {
        f"{c['type']}={c['status']}"
        for c in status.get("conditions") or []
        if c["type"] in ("Complete", "Failed", "Suspended", "Retrying", "CleanupBlocked")
    }
    found: dict[str, Any] = {word: status.get(word) for word in words}
    return found | {"attempts": tries, "conditions": sorted(conditions)}


# Invariants


def _untimely_deletions(writes: list[Request]) -> Iterator[str]:
    """Yield deletions that were made before the status had their reason."""
    said = False
    for request in writes:
        if request.resource == "daskjobs" and request.subresource == "status":
            said = said or (request.forwarded and _reports_an_end(request.body))
        if request.verb == "delete" and not said:
            yield f"{request.resource} {request.name} was deleted before the verdict"


def _reports_an_end(body: bytes) -> bool:
    """Return whether a status write reports the end of a job or an attempt, or a suspension."""
    return any(_reports(value) for value in _within(json.loads(body)))


def _reports(value: Manifest) -> bool:
    suspended = value.get("type") == "Suspended" and value.get("status") == "True"
    # The summary has attempts too, but as a number, and already during the first one.
    ended = isinstance(value.get("attempts"), list) and bool(value["attempts"])
    return suspended or ended or value.get("jobStatus") in TERMINAL


def _within(value: Any) -> Iterator[Manifest]:
    """Yield all mappings in a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _within(inner)
