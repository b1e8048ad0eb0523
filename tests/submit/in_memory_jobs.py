"""A place whose jobs are values in memory; it supports every verb, without folders or an API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from daskjob.core.errors import NotFound, Timeout
from daskjob.core.explain import Explanation, explain
from daskjob.core.manifests import Manifest, object_ref
from daskjob.submit.jobs import Job, JobEvent, JobRef, LogChunk, Place, PodImage, StillRunning
from daskjob.submit.outcome import failure_of
from daskjob.submit.submission import after_look, submission
from daskjob.submit.worker_names import worker_named


@dataclass
class Held:
    """A job, its logs, events and report."""

    job: Job
    logs: dict[str, bytes] = field(default_factory=dict)
    events: tuple[JobEvent, ...] = ()
    report: Manifest | None = None
    cancelled: bool = False

    @property
    def running(self) -> bool:
        return not self.job.status.finished


class InMemoryJobs:
    """The protocol ``Jobs``, newest job last in ``held``."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.place = Place(
            name="memory",
            empty="No job in memory.",
            next_steps={"ExitCode": "Ask memory about {name}."},
        )

    def add(
        self,
        manifest: Manifest,
        *,
        logs: dict[str, bytes] | None = None,
        events: tuple[JobEvent, ...] = (),
        report: Manifest | None = None,
    ) -> JobRef:
        found = object_ref(manifest)
        ref = JobRef(found.name, found.namespace, found.uid)
        job = Job(ref, manifest, details=(("Shelf", "7"),))
        self.held.append(Held(job, dict(logs or {}), events, report))
        return ref

    def submit(self, job: Manifest, *, token: str | None = None) -> JobRef:
        wanted = submission(job, namespace="memory", token=token)
        for held in self.held:
            if held.job.name == wanted.name:
                after_look(held.job.manifest, wanted)
                return held.job.ref
        return self.add(
            {
                **wanted.manifest,
                "metadata": {**wanted.manifest["metadata"], "uid": f"uid-{len(self.held)}"},
            }
        )

    def watch(self, ref: JobRef) -> Iterator[Job]:
        yield self.get(ref)

    def list(self) -> tuple[Job, ...]:
        return tuple(held.job for held in reversed(self.held))

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job.name for job in self.list()))

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        for job in self.list():
            if job.name == name or not (name or exact):
                return job
        raise NotFound(f"memory holds no job {name!r}; it holds {', '.join(self.names())}")

    def get(self, ref: JobRef) -> Job:
        return self._held(ref).job

    def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        held = self._held(ref)
        if held.running and not held.cancelled:
            raise Timeout(f"{ref.name} has not ended within {timeout_seconds} s")
        if raise_on_failure and not held.job.status.succeeded:
            raise failure_of(held.job.status)
        return held.job

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
        del follow, since  # logs in memory do not grow, and have no times
        held = self._held(ref)
        if worker:
            pods = [name for name in held.logs if "worker-" in name]
            pod = worker_named(worker, pods, ref.name)
        if pod == "worker":
            return iter(_of_workers(held.logs))
        part = pod or (f"runner-{attempt}" if attempt else "runner")
        for name, data in held.logs.items():
            if part in name:
                lines = data.splitlines(keepends=True)
                shown = lines[-tail:] if tail else [] if tail == 0 else lines
                return iter([LogChunk(name, line) for line in shown])
        raise NotFound(f"there is no such log; logs of this job: {', '.join(held.logs) or 'none'}")

    def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        return self._held(ref).events

    def why(self, ref: JobRef) -> Explanation:
        return explain(self.get(ref).manifest, next_steps=self.place.next_steps)

    def report(self, ref: JobRef) -> Manifest | None:
        return self._held(ref).report

    def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        self._held(ref)
        return (PodImage("runner", 0, "example.org/dask@sha256:1"),)

    def result(self, ref: JobRef) -> object:
        return self.get(ref).status.result

    def cancel(self, ref: JobRef) -> bool:
        held = self._held(ref)
        held.cancelled = held.running
        return held.running

    def delete(self, ref: JobRef, *, force: bool = False) -> None:
        held = self._held(ref)
        if held.running and not force:
            raise StillRunning(f"{ref.name} is still running")
        self.held.remove(held)

    def suspend(self, ref: JobRef) -> None:
        self._set(ref, {"suspend": True})

    def resume(self, ref: JobRef) -> None:
        self._set(ref, {"suspend": False})

    def retry(self, ref: JobRef) -> JobRef:
        manifest = self.get(ref).manifest
        meta = {**manifest["metadata"], "name": f"{ref.name}-again", "uid": "again"}
        return self.add({**manifest, "metadata": meta, "status": {}})

    def scale(self, ref: JobRef, workers: int) -> None:
        self._set(ref, {"cluster": {"spec": {"worker": {"replicas": workers}}}})

    def _set(self, ref: JobRef, spec: Manifest) -> None:
        held = self._held(ref)
        manifest = {**held.job.manifest, "spec": {**held.job.manifest["spec"], **spec}}
        held.job = replace(held.job, manifest=manifest)

    def _held(self, ref: JobRef) -> Held:
        for held in self.held:
            if held.job.ref == ref:
                return held
        raise NotFound(f"memory does not hold {ref.name} any more")


def _of_workers(logs: Mapping[str, bytes]) -> list[LogChunk]:
    """Return the lines of all workers, each after the name of its worker."""
    return [
        LogChunk(name, b"[%s] %s" % (name[name.index("worker-") :].encode(), line))
        for name, data in logs.items()
        if "worker-" in name
        for line in data.splitlines(keepends=True)
    ]
