"""The interface to jobs, wherever they run: the same verbs for this machine and for a cluster.

Commands and programs call ``Jobs`` and know nothing else about a place: no folder, no API server.
``submit.local`` implements it with the folders of this machine.

The protocol is synchronous, since its callers are a command line and scripts. The implementation
for clusters, ``submit.client.sync_client``, is the twin of an asynchronous client (design §5.3):
each method runs the coroutine of the same name on the loop of ``submit.sync``. Every method may be
called from any thread and leaves nothing open when it returns or raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from daskjob.core.dask import TaskCounts
from daskjob.core.errors import Conflict
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest, integer, mapping, mappings
from daskjob.core.status import JobStatus, job_status_from
from daskjob.core.wording import OF_MANIFESTS, Words


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs run, as far as users see a difference."""

    #: Its name in messages, such as ``this machine``.
    name: str
    #: The message if it has no jobs.
    empty: str
    #: Next steps by reason, in the commands of this place; ``{name}`` is the job's name.
    next_steps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobRef:
    """One job; another job of the same name has another ``uid``."""

    name: str
    namespace: str
    uid: str
    #: After a submission: whether the job of its token was there before.
    existed: bool = field(default=False, compare=False, repr=False)
    #: What of the spec sent is otherwise there.
    differences: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its place last recorded it."""

    ref: JobRef
    #: The complete DaskJob, with its status.
    manifest: Manifest
    #: Facts that only this place has, as titles and texts for people.
    details: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The job's name."""
        return self.ref.name

    @property
    def status(self) -> JobStatus:
        """The job's status."""
        return job_status_from(self.manifest.get("status"))

    @property
    def workers(self) -> str:
        """Ready and desired workers, such as ``3/4``; of an ended job, the most that there were."""
        status = self.status
        if not status.finished:
            return str(status.workers) if status.workers else ""
        peak = mapping(mapping(status.report).get("workers")).get("peak")
        if not isinstance(peak, int):
            return ""
        return f"{peak}/{max(peak, desired_workers(self.manifest))}"


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
    """A piece of one pod's log: bytes as written; it may end in the middle of a line."""

    pod: str
    data: bytes


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """The current state of a job, for a screen that shows it while it runs."""

    name: str
    status: JobStatus
    desired_workers: int
    ready_workers: int
    dashboard_url: str = ""
    #: The task counts last reported by the scheduler; ``None`` before the first report.
    tasks: TaskCounts | None = None
    #: The prefixes of the tasks that are running, with their number, the most frequent first.
    stages: tuple[tuple[str, int], ...] = ()
    #: The memory of all workers.
    memory_bytes: int = 0
    #: Problems outside the job itself, such as a status that could not be written.
    troubles: tuple[str, ...] = ()
    #: The words for messages about the job.
    words: Words = OF_MANIFESTS
    #: The file that the runner runs with Python; empty if it runs something else.
    script: str = ""
    #: The number of ``fire_and_forget`` tasks for which the run waits: the script has ended.
    last_tasks: int = 0
    #: How long the run waits while none of them finishes.
    patience_seconds: float = 0.0
    #: The number of those that it has given up.
    given_up_tasks: int = 0
    #: What has happened before the processes start, such as an installation.
    activities: tuple[str, ...] = ()
    #: The options with which commands find the job, such as ``-n team``.
    options: str = ""
    #: In one word, what keeps the job from running.
    waits_for: str = ""
    #: When it started; ``None``: with the display of it.
    started_at: datetime | None = None


def desired_workers(manifest: Manifest) -> int:
    """Return the number of workers that a job's spec asks for, in all of its groups."""
    cluster = mapping(mapping(mapping(manifest.get("spec")).get("cluster")).get("spec"))
    groups = [mapping(cluster.get("worker")), *mappings(cluster.get("workerGroups"))]
    return sum(integer(group.get("replicas", 1)) or 0 for group in groups)


class StillRunning(Conflict):
    """The job has not ended, so it cannot be deleted."""


class LiveJob(Protocol):
    """A running job, as a screen shows it."""

    def snapshot(self) -> JobSnapshot:
        """Return the current state of the job."""


@dataclass(frozen=True, slots=True)
class PodImage:
    """The image of a pod."""

    #: ``runner``, ``scheduler``, ``worker``, or ``group-<name>`` of an additional group.
    role: str
    #: The attempt of a runner; ``None`` of other pods.
    attempt: int | None
    #: As the kubelet reports it, with its digest.
    image_id: str


class Jobs(Protocol):
    """The jobs of one place.

    Methods that take a ``JobRef`` act on exactly that job: once it is deleted, they raise
    ``NotFound``, even if a new job has the same name.
    """

    @property
    def place(self) -> Place:
        """Where the jobs are."""

    # Submitting

    def submit(self, job: Manifest, *, token: str | None = None) -> JobRef:
        """Submit a DaskJob, exactly once for each token; return a reference to it.

        Raises
        ------
        Invalid
            With every mistake of the manifest.
        Conflict
            The name, or the token, belongs to a job with another spec.
        """

    # Finding jobs

    def list(self) -> tuple[Job, ...]:
        """Return all jobs, newest first."""

    def names(self) -> tuple[str, ...]:
        """Return the names of all jobs without duplicates, newest first; fast, for completion."""

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the job to which a user refers by a name.

        Unless ``exact``, the name of a script refers to the newest job named after it, and the
        empty name to the newest job of all.

        Raises
        ------
        NotFound
            There is no such job; the message names the existing ones.
        """

    def get(self, ref: JobRef) -> Job:
        """Return the current state of the job.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        """Wait until the job has ended and nothing of it runs any more; return it.

        Raises
        ------
        Failed
            It ended without success, and ``raise_on_failure``.
        Timeout
            The job has not ended; it continues.
        NotFound
            The job was deleted.
        """

    def watch(self, ref: JobRef) -> Iterator[Job]:
        """Yield the current state of the job, then each change, up to its end.

        Raises
        ------
        NotFound
            The job was deleted before it ended.
        """

    # Asking about a job

    def logs(
        self,
        ref: JobRef,
        *,
        attempt: int | None = None,
        pod: str = "",
        worker: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
    ) -> Iterator[LogChunk]:
        """Return the log of one pod: the runner of an attempt, the last one by default.

        ``pod`` is a component (``scheduler``, ``worker``, ``runner``) or a pod's name; ``worker``
        is one worker's name, as Dask or the merged log has it. ``follow`` continues until the job
        ends; without ``attempt``, ``pod`` and ``worker`` it starts at the current attempt and
        continues with the next ones. ``tail`` limits the output to the last N lines, ``since`` to
        those written from then on.

        Raises
        ------
        NotFound
            There is no such log; the message names the existing ones.
        """

    def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def why(self, ref: JobRef) -> Explanation:
        """Explain the job's state, with evidence and the next step at this place.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def report(self, ref: JobRef) -> Manifest | None:
        """Return the report on the job's cluster, in full if it was kept; ``None``: none yet.

        Where samples over time were taken, they are its ``history``, also without a report.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        """Return the images of the job's pods, by digest; of those that still exist.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    def result(self, ref: JobRef) -> object:
        """Return the result that the script wrote; ``None``: it wrote none.

        Raises
        ------
        NotFound
            The job was deleted.
        """

    # Changing a job

    def cancel(self, ref: JobRef) -> bool:
        """Cancel the job; return whether it was still running.

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
            The job has not ended, or did not end in time after it was cancelled.
        NotFound
            The job has already been deleted.
        """

    def suspend(self, ref: JobRef) -> None:
        """Stop the job's pods until it is resumed.

        Raises
        ------
        Conflict
            The job has ended.
        """

    def resume(self, ref: JobRef) -> None:
        """Resume a suspended job.

        Raises
        ------
        Conflict
            The job has ended.
        """

    def retry(self, ref: JobRef) -> JobRef:
        """Run an ended job again as a new job with the same spec; return the new job.

        Raises
        ------
        Conflict
            The job has not ended.
        """

    def scale(self, ref: JobRef, workers: int) -> None:
        """Set the number of workers of the job's default group.

        Raises
        ------
        Conflict
            The job has ended, or its workers are scaled automatically.
        """
