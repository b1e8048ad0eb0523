"""The seam to jobs, wherever they run: the same verbs for this machine and for a cluster.

Commands and programs call ``Jobs`` and know nothing else of a place: no folder, no API server.
``submit.local`` implements it over the folders of this machine. No I/O here.

The protocol is synchronous, since its callers are a command line and scripts. The cluster's side is
the synchronous twin of an asynchronous client (design §5.3): each method runs the coroutine of the
same name on the loop of ``submit.sync``, and ``logs`` pulls an asynchronous iterator through it.
Every method may be called from any thread and keeps nothing open when it returns or raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from daskjob.core.dask import TaskCounts
from daskjob.core.errors import Conflict, DaskJobError
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest
from daskjob.core.status import JobStatus, job_status_from


class Verb(StrEnum):
    """Verbs that a place may lack; it offers all the others."""

    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    SCALE = "scale"


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs run, as far as its users see a difference."""

    #: As users refer to it: ``this machine``.
    name: str
    #: The message where it holds no jobs.
    empty: str
    #: Verbs that it lacks, each with what to do instead.
    lacks: Mapping[Verb, str] = field(default_factory=dict)
    #: Next steps by reason, in the commands of this place; ``{name}`` is the job's name.
    next_steps: Mapping[str, str] = field(default_factory=dict)

    def offers(self, verb: Verb) -> bool:
        """Return whether jobs of this place have the verb."""
        return verb not in self.lacks


@dataclass(frozen=True, slots=True)
class JobRef:
    """One job; another job of the same name has another ``uid``."""

    name: str
    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its place last recorded it."""

    ref: JobRef
    #: The whole DaskJob, with its status.
    manifest: Manifest
    #: What only this place knows of it, as titles and texts for people.
    details: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The job's name."""
        return self.ref.name

    @property
    def status(self) -> JobStatus:
        """The job's status."""
        return job_status_from(self.manifest.get("status"))


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job."""

    time: datetime | None
    #: ``Normal`` or ``Warning``.
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of one pod's log: bytes as they were written, which may end within a line."""

    pod: str
    data: bytes


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """How a job stands, for a screen that shows it while it runs."""

    name: str
    status: JobStatus
    desired_workers: int
    ready_workers: int
    #: The scheduler's last answer; ``None`` before the first.
    tasks: TaskCounts | None = None
    #: What went wrong beside the job, such as a status that could not be written.
    troubles: tuple[str, ...] = ()


class Unsupported(DaskJobError):
    """The place does not offer the verb; ``instead`` is what to do there."""

    def __init__(self, verb: Verb, name: str, place: str, instead: str) -> None:
        super().__init__(verb, name, place, instead)
        self.verb = verb
        self.name = name
        self.place = place
        self.instead = instead

    def __str__(self) -> str:
        return f"{self.verb} {self.name}: {self.place} does not offer this; {self.instead}"


class StillRunning(Conflict):
    """The job has not ended, so it is not deleted."""


class LiveJob(Protocol):
    """A job that a screen shows while it runs."""

    def snapshot(self) -> JobSnapshot:
        """Return how the job stands."""

    def log(self) -> bytes:
        """Return what the runners have written since the last call; a chunk at most.

        The log goes on from attempt to attempt; empty: there is nothing new.
        """


class Jobs(Protocol):
    """The jobs of one place.

    A method that takes a ``JobRef`` means that very job: once it is deleted they raise
    ``NotFound``, also where a new job has taken the name.
    """

    @property
    def place(self) -> Place:
        """Where the jobs are."""

    # Finding jobs

    def list(self) -> tuple[Job, ...]:
        """Return all jobs, newest first."""

    def names(self) -> tuple[str, ...]:
        """Return the names of all jobs, newest first and each once; quick, for completion."""

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the job that a user means by a name.

        Unless ``exact``, a script's name stands for the newest job that was named after it, and
        the empty name for the newest job of all.

        Raises
        ------
        NotFound
            There is no such job; the message names those that there are.
        """

    def get(self, ref: JobRef) -> Job:
        """Return the job as it is now.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def wait(self, ref: JobRef, *, timeout_seconds: float | None = None) -> Job:
        """Return the job once it has ended and its place runs nothing of it any more.

        Raises
        ------
        Timeout
            The job goes on.
        NotFound
            The job was deleted.
        """

    # Asking about a job

    def logs(
        self,
        ref: JobRef,
        *,
        attempt: int | None = None,
        pod: str = "",
        follow: bool = False,
        tail: int | None = None,
    ) -> Iterator[LogChunk]:
        """Return the log of one pod: the runner of an attempt, the last one by default.

        ``pod`` is a component (``scheduler``, ``worker``, ``runner``) or a pod's name. ``follow``
        goes on until the job ends; without ``attempt`` and ``pod`` it starts at the current attempt
        and goes on from attempt to attempt. ``tail`` starts at this many last lines.

        Raises
        ------
        NotFound
            There is no such log; the message names those that there are.
        """

    def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def why(self, ref: JobRef) -> Explanation:
        """Return why the job is as it is, with evidence and the next step at this place.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def report(self, ref: JobRef) -> Manifest | None:
        """Return what the job's cluster did, in full where that was kept; ``None``: no report yet.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def result(self, ref: JobRef) -> object:
        """Return what the script left as its result; ``None``: nothing.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    # Changing a job

    def cancel(self, ref: JobRef) -> bool:
        """Ask the job to stop; return whether it was still running.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def delete(self, ref: JobRef, *, force: bool = False) -> None:
        """Delete an ended job with its logs and reports; ``force`` cancels it first.

        Raises
        ------
        StillRunning
            The job has not ended, or not in time after it was cancelled.
        NotFound
            The job was deleted already.
        """

    def suspend(self, ref: JobRef) -> None:
        """Stop the job's pods; ``resume`` starts it again.

        Raises
        ------
        Unsupported
            ``place.lacks`` the verb.
        """

    def resume(self, ref: JobRef) -> None:
        """Start a suspended job again.

        Raises
        ------
        Unsupported
            ``place.lacks`` the verb.
        """

    def retry(self, ref: JobRef) -> JobRef:
        """Run an ended job again, as a new job of the same spec, and return that.

        Raises
        ------
        Unsupported
            ``place.lacks`` the verb.
        """

    def scale(self, ref: JobRef, workers: int) -> None:
        """Set how many workers the job's default group has.

        Raises
        ------
        Unsupported
            ``place.lacks`` the verb.
        """
