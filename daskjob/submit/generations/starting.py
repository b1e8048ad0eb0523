"""Carries the generation rule out: two requests for a new job, more only after a crash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daskjob.core.errors import Conflict, NotFound, Timeout
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.spec import DaskJob, parse, read
from daskjob.core.status import Phase, job_status_from
from daskjob.submit.generations.identity import Identity, generation_name
from daskjob.submit.generations.manifest import generation_manifest
from daskjob.submit.generations.owned import owned_by
from daskjob.submit.generations.places import Blocking, Place, finished
from daskjob.submit.generations.rule import Action, OnConflict, Step, action_for
from daskjob.submit.jobs import Job, JobRef

if TYPE_CHECKING:
    from daskjob.submit.client.async_client import AsyncJobClient
    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.local import LocalJobs

#: How long a generation that is cancelled may take to end before the next one starts.
CANCEL_SECONDS = 120.0
#: How many generations may be found, one after the other, in the place of a new one.
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Generation:
    """The job of a task, for one of its tries."""

    job: Job
    #: From 1. An orchestrator that can store it passes it to the next try.
    number: int
    step: Step


def start_generation(
    client: JobClient | LocalJobs,
    manifest: Manifest,
    identity: Identity,
    *,
    number: int | None = None,
    on_conflict: OnConflict | str = OnConflict.REATTACH,
    timeout_seconds: float | None = None,
    owned: Sequence[Manifest] = (),
) -> Generation:
    """Adopt the job of a task, take its result, or start the next one; see ``rule``.

    ``number`` is the last generation that the orchestrator knows of, if it stores that: earlier
    ones do not count, even where that job is gone. ``timeout_seconds`` is the job's deadline unless
    its spec has one.

    ``owned`` are objects that the job needs, such as the Secret of its variables, and that are
    deleted with it. Their names begin with the manifest's, ``<name>-…``: both change with the
    generation. They are created after the job, and by the next try if this one ends before that.

    Raises
    ------
    Conflict
        An active job of the task has another spec, and ``on_conflict`` is ``fail``; or another
        submission has the name.
    Timeout
        The job before this one was cancelled and has not ended.
    DaskJobError
        As ``submit``.
    """
    task = _Task(manifest, identity, timeout_seconds, tuple(owned))
    return finished(_Rule(Blocking(client), task, OnConflict(on_conflict), number or 1).start())


async def start_generation_async(
    client: AsyncJobClient,
    manifest: Manifest,
    identity: Identity,
    *,
    number: int | None = None,
    on_conflict: OnConflict | str = OnConflict.REATTACH,
    timeout_seconds: float | None = None,
    owned: Sequence[Manifest] = (),
) -> Generation:
    """Do what ``start_generation`` does, in an event loop."""
    task = _Task(manifest, identity, timeout_seconds, tuple(owned))
    return await _Rule(client, task, OnConflict(on_conflict), number or 1).start()


def acknowledge(client: JobClient | LocalJobs, ref: JobRef) -> None:
    """Record on a job that a try has taken its end, so that no later try takes it again.

    A try that gives up an active job does so too: the next one does not adopt it.
    """
    client.acknowledge(ref)


async def acknowledge_async(client: AsyncJobClient, ref: JobRef) -> None:
    """Do what ``acknowledge`` does, in an event loop."""
    await client.acknowledge(ref)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a task wants of each of its jobs."""

    template: Manifest
    identity: Identity
    timeout_seconds: float | None
    owned: tuple[Manifest, ...]

    @property
    def namespace(self) -> str:
        """The manifest's namespace; empty: the client's."""
        return str(metadata(self.template).get("namespace") or "")

    def manifest(self, number: int) -> Manifest:
        """Return the job of a generation."""
        return generation_manifest(
            self.template,
            self.identity,
            number,
            timeout_seconds=self.timeout_seconds,
            owned=[str(metadata(item).get("name") or "") for item in self.owned],
        )

    def objects(self, number: int) -> list[Manifest]:
        """Return what the job of a generation owns."""
        name = generation_name(self.identity, self.template, number)
        return owned_by(self.owned, str(metadata(self.template).get("name") or ""), name)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One application of the rule."""

    place: Place
    task: _Task
    on_conflict: OnConflict
    #: The first generation that may be started.
    first: int

    async def start(self) -> Generation:
        # Mistakes in names come before any request.
        self.task.objects(self.first)
        known = await self.place.list(
            labels=self.task.identity.selector, namespace=self.task.namespace
        )
        number, job = self._last(known)
        for _round in range(_ROUNDS):
            if job is not None:
                done = await self._about(job, number)
                if done is not None:
                    return done
                number += 1
            started = await self._started(number)
            if isinstance(started, Generation):
                return started
            job = started
        raise Conflict(f"{_ROUNDS} jobs of this task were started while this one was; try again")

    def _last(self, jobs: Iterable[Job]) -> tuple[int, Job | None]:
        """Return the last generation, and its job if it exists."""
        known = {self.task.identity.number_of(job.manifest) or 0: job for job in jobs}
        number = max(known, default=0)
        return (number, known[number]) if number >= self.first else (self.first, None)

    async def _about(self, job: Job, number: int) -> Generation | None:
        """Return the job if it is that of this try; ``None``: the next one is."""
        action = action_for(
            job.manifest,
            same_spec=self._has_same_spec(job, number),
            on_conflict=self.on_conflict,
        )
        if action is Action.ADOPT:
            await self._complete(job, number)
            return Generation(job, number, Step.ADOPTED)
        if action is Action.TAKE_RESULT:
            return Generation(job, number, Step.FINISHED)
        if action is Action.REJECT:
            raise Conflict(
                f"{job.name} runs with another spec; cancel it, or use on_conflict "
                f"{OnConflict.REATTACH} or {OnConflict.REPLACE}"
            )
        if action is Action.CANCEL:
            await self._end(job)
        return None

    async def _started(self, number: int) -> Generation | Job:
        """Return the new job, or the one that already has this number."""
        made = self.task.manifest(number)
        try:
            ref = await self.place.submit(made, owned=self.task.objects(number))
        except Conflict:
            ref = JobRef(str(metadata(made)["name"]), self.task.namespace, "")
            found = await self.place.get(ref)
            if self.task.identity.number_of(found.manifest) != number:
                raise
            return found
        if ref.existed:
            return await self.place.get(ref)
        meta = {**metadata(made), "namespace": ref.namespace, "uid": ref.uid}
        return Generation(Job(ref, {**made, "metadata": meta}), number, Step.CREATED)

    async def _complete(self, job: Job, number: int) -> None:
        """Create what a job of an earlier try may lack: that ended before it was created."""
        objects = self.task.objects(number)
        # A runner that has started has had all it needs.
        if objects and job.status.phase != Phase.RUNNING:
            await self.place.create_owned(job.ref, objects)

    async def _end(self, job: Job) -> None:
        """Cancel a job, and wait: two of them at once could write the same data."""
        with suppress(NotFound):
            await self.place.cancel(job.ref)
            try:
                await self.place.wait(
                    job.ref, timeout_seconds=CANCEL_SECONDS, raise_on_failure=False
                )
            except Timeout as error:
                raise Timeout(
                    f"{job.name}, the job of an earlier try, was cancelled and has not ended "
                    f"within {CANCEL_SECONDS:.0f} s; the next one is not started beside it"
                ) from error

    def _has_same_spec(self, job: Job, number: int) -> bool:
        wanted = parse(DaskJob, self.task.manifest(number)).template_hash
        known = job_status_from(job.manifest.get("status")).spec_hash
        return wanted in (known, read(DaskJob, job.manifest)[0].template_hash)
