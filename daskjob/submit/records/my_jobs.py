"""The jobs that were started here: those of this machine, and those submitted to clusters from it.

A name means one of them, wherever it runs. What is not asked of a cluster is known from the records
of submissions, so a cluster that does not respond costs its own jobs' states and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, cast

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest, mapping, metadata, parse_time, whole_seconds
from daskjob.core.names import generated_prefix
from daskjob.core.quantity import duration
from daskjob.core.similar_names import did_you_mean
from daskjob.submit.jobs import Job, JobEvent, JobRef, Jobs, LogChunk, Place, PodImage
from daskjob.submit.local import GoneHere, LocalJobs
from daskjob.submit.records.clusters import Answer, Group, ask, groups_of
from daskjob.submit.records.record import GONE, ClusterAddress, Record, record_of
from daskjob.submit.records.store import Records
from daskjob.submit.submission_names import label_of

if TYPE_CHECKING:
    from daskjob.submit.cluster_job.sending import ClusterJobs

#: Returns the jobs of the cluster and the namespace of a record.
Connect = Callable[[Record], Jobs]
#: Asks clusters for their jobs.
Ask = Callable[[list[Group]], dict[Group, Answer]]

HERE = "this machine"
#: How ``list`` shortens names.
_LEFT_OUT = re.compile(r"…|\.\.\.")
_MOST_NAMES = 10
#: How long after its submission a job that is gone is looked for again.
ASKED_AGAIN = timedelta(days=1)


class Ambiguous(DaskJobError):
    """Several jobs have the name; the message has the command for each."""


class Gone(NotFound):
    """A job that was submitted from here is not on its cluster any more; its record is."""

    def __init__(self, record: Record, successor: Job | None = None) -> None:
        super().__init__(record.name)
        self.record = record
        self.successor = successor

    def __str__(self) -> str:
        record = self.record
        age = duration(datetime.now(UTC) - record.time)
        end = f", and it ended as {phase}" if (phase := record.last_status.phase) else ""
        text = (
            f"{record.name} is gone from {record.where}: it was submitted {age} ago{end}; "
            f"daskjob retry {record.name} runs it again, from its record"
        )
        if self.successor:
            text += f"; another job has its name now: daskjob status {record.options} {record.name}"
        return text


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list of jobs."""

    job: Job
    where: str
    #: Set if the job is not on its cluster any more.
    gone: bool = False
    #: Set if its cluster did not respond.
    unknown: bool = False
    #: When it was submitted.
    created: datetime | None = None
    #: The context of its cluster, empty in a pod; ``None``: it is of this machine.
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The jobs that were started here, newest first, and what could not be asked."""

    entries: tuple[Entry, ...]
    #: A message for each cluster that did not respond.
    troubles: tuple[str, ...] = ()


def _unconnected(record: Record) -> Jobs:
    raise DaskJobError(f"nothing connects to {record.where}: use JobClient.mine()")


@dataclass
class MyJobs:
    """The jobs that were started here, as ``Jobs``: each call goes to the place of its job.

    ``JobClient.mine()`` returns them.
    """

    local: LocalJobs = field(default_factory=LocalJobs)
    records: Records = field(default_factory=Records)
    #: That of ``JobClient.mine``, or of a command; this module knows no client.
    connect: Connect = _unconnected
    ask: Ask = ask
    #: The command whose form the message of an ambiguous name has.
    command: str = "status"
    _found: dict[JobRef, Record] = field(default_factory=dict)
    _clients: dict[tuple[str, str, str], Jobs] = field(default_factory=dict)

    def __enter__(self) -> MyJobs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to clusters."""
        for client in self._clients.values():
            close = getattr(client, "close", None)
            if close:
                close()
        self._clients.clear()

    @property
    def place(self) -> Place:
        """The machine that this process runs on."""
        return self.local.place

    def record(self, ref: JobRef) -> Record | None:
        """Return the record of a job that was submitted from here; ``None``: there is none."""
        return self._record(ref)

    def where(self, ref: JobRef) -> str:
        """Return the place of a job: ``this machine``, or a context and a namespace."""
        record = self._record(ref)
        return record.where if record else HERE

    def options(self, ref: JobRef) -> str:
        """Return the options with which every command finds a job, such as ``-n team``."""
        record = self._record(ref)
        return record.options if record else ""

    # Submitting

    def submit(self, job: Manifest, *, token: str | None = None) -> JobRef:
        """Run a DaskJob on this machine."""
        return self.local.submit(job, token=token)

    # Finding jobs

    def entries(self) -> Listing:
        """Return all jobs; each cluster is asked once, all at the same time, and only briefly."""
        local = [Entry(job, HERE, created=_created(job.manifest)) for job in self.local.list()]
        records = self.records.all()
        groups = groups_of(record for record in records if _is_asked_for(record))
        answers = self.ask(groups) if groups else {}
        there = [self._entry(record, answers) for record in records]
        entries = sorted([*local, *there], key=_time_of, reverse=True)
        return Listing(tuple(entries), tuple(_troubles(answers)))

    def _entry(self, record: Record, answers: dict[Group, Answer]) -> Entry:
        self._found[record.ref] = record
        context = record.cluster.context
        answer = answers.get(Group.of(record))
        if answer is None or not _is_asked_for(record):
            gone = record.is_deleted
            return Entry(
                record.job(), record.where, gone=gone, created=record.time, cluster=context
            )
        if answer.trouble:
            return Entry(
                record.job(), record.where, unknown=True, created=record.time, cluster=context
            )
        found = answer.jobs.get(record.uid)
        if found is None:
            deleted = record.with_status(GONE)
            if not record.is_deleted:
                self.records.note_status(record, GONE)
            return Entry(
                deleted.job(), record.where, gone=True, created=record.time, cluster=context
            )
        self._note(record, found)
        return Entry(found, record.where, created=record.time, cluster=context)

    def list(self) -> tuple[Job, ...]:
        """Return all jobs, newest first, without those that are gone or whose state is unknown."""
        return tuple(e.job for e in self.entries().entries if not (e.gone or e.unknown))

    def names(self) -> tuple[str, ...]:
        """Return the names of all jobs without duplicates; asks no cluster."""
        return tuple(dict.fromkeys([*self.records.names(), *self.local.names()]))

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the job to which a user refers by a name.

        Raises
        ------
        Ambiguous
            Jobs at several places have the name.
        Gone
            The job was submitted from here, and does not exist any more.
        NotFound
            There is no such job.
        """
        found = self.chosen(name, exact=exact)
        return self.current(found) if isinstance(found, Record) else found

    def chosen(self, name: str = "", *, exact: bool = False) -> Job | Record:
        """Return the job of this machine, or the record, that a name means; asks no cluster."""
        local: Job | None = None
        missing: NotFound | None = None
        try:
            local = self.local.find(name, exact=exact)
        except NotFound as error:
            missing = error
        known = self.records.of(name) if name else ()
        if known:
            choices = _places([r for r in known if not r.is_deleted] or known)
            if local is not None and local.name == name:
                raise Ambiguous(self._choices(name, choices, local))
            if len(choices) > 1:
                raise Ambiguous(self._choices(name, choices))
            return choices[0]
        record = None if exact or (local and local.name == name) else self._named_after(name)
        if local is None:
            if record is None:
                raise self._not_found(name, missing)
            return record
        began = _created(local.manifest)
        if record is None or (began is not None and whole_seconds(record.time) <= began):
            return local
        return record

    def current(self, record: Record) -> Job:
        """Return the job of a record as its cluster has it.

        Raises
        ------
        Gone
            It does not exist any more.
        """
        client = self._client(record)
        try:
            job = client.get(record.ref)
        except NotFound as error:
            successor = None
            with suppress(NotFound):
                successor = client.get(JobRef(record.name, record.namespace, ""))
            raise Gone(record, successor) from error
        self._found[job.ref] = record
        self._note(record, job)
        return replace(job, details=(("Where", record.where), *job.details))

    def _named_after(self, name: str) -> Record | None:
        """Return the newest record of a script, of a shortened name, or of all."""
        if not name:
            return self.records.newest()
        ends = _LEFT_OUT.split(name)
        for known in self.records.names():
            is_short = len(ends) == 2 and known.startswith(ends[0]) and known.endswith(ends[1])
            if is_short or f"{label_of(known)}-" == generated_prefix(_script(name)):
                return next(iter(self.records.of(known)), None)
        return None

    def _not_found(self, name: str, missing: NotFound | None) -> NotFound:
        names = self.names()
        if not names or missing is None or isinstance(missing, GoneHere):
            return missing or NotFound("no job has been started here")
        listed = ", ".join(names[:_MOST_NAMES])
        return NotFound(
            f"no job {name!r} was started here{did_you_mean(name, names)}; jobs of this machine "
            f"and those submitted from it: {listed}; other jobs of a cluster: -n NAMESPACE"
        )

    def _choices(self, name: str, records: Sequence[Record], local: Job | None = None) -> str:
        lines = []
        if local is not None:
            lines.append(f"daskjob {self.command} {name}.{local.ref.uid[:8]}  ({HERE})")
        for record in records:
            lines.append(f"daskjob {self.command} {record.options} {name}  ({record.where})")
        listed = "\n  ".join(lines)
        number = len(lines)
        return (
            f"{number} jobs that were started here have the name {name}; write one of\n  {listed}"
        )

    # Asking about a job, and changing it

    def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""
        record = self._record(ref)
        return self.current(record) if record else self.local.get(ref)

    def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        """Wait until the job has ended."""
        job = self._at(ref).wait(
            ref, timeout_seconds=timeout_seconds, raise_on_failure=raise_on_failure
        )
        record = self._record(ref)
        if record:
            self._note(record, job)
        return job

    def watch(self, ref: JobRef) -> Iterator[Job]:
        """Yield the current state of the job, then each change, up to its end."""
        return self._at(ref).watch(ref)

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
        """Return the log of one pod, or follow the runners of all attempts."""
        jobs = self._at(ref)
        return jobs.logs(
            ref,
            attempt=attempt,
            pod=pod,
            worker=worker,
            follow=follow,
            tail=tail,
            since=since,
        )

    def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first."""
        return self._at(ref).events(ref)

    def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        """Return the images of the job's pods, by digest; of those that still exist."""
        return self._at(ref).images(ref)

    def why(self, ref: JobRef) -> Explanation:
        """Explain the job's state, with evidence and the next step."""
        return self._at(ref).why(ref)

    def report(self, ref: JobRef) -> Manifest | None:
        """Return the report on the job's cluster."""
        return self._at(ref).report(ref)

    def result(self, ref: JobRef) -> object:
        """Return the result that the script wrote."""
        return self._at(ref).result(ref)

    def cancel(self, ref: JobRef) -> bool:
        """Cancel the job; return whether it was still running."""
        return self._at(ref).cancel(ref)

    def delete(self, ref: JobRef, *, force: bool = False) -> None:
        """Delete an ended job, and its record."""
        record = self._record(ref)
        self._at(ref).delete(ref, force=force)
        if record:
            self.records.remove(record)

    def suspend(self, ref: JobRef) -> None:
        """Stop the job's pods until it is resumed."""
        self._at(ref).suspend(ref)

    def resume(self, ref: JobRef) -> None:
        """Resume a suspended job."""
        self._at(ref).resume(ref)

    def retry(self, ref: JobRef) -> JobRef:
        """Run an ended job again as a new job with the same spec; return the new job.

        A job that is gone from its cluster (``Gone.record.ref``) runs again from its record.

        Raises
        ------
        Conflict
            The job has not ended.
        Incomplete
            It is gone, and its record lacks secret values.
        """
        from daskjob.submit.again import as_sent
        from daskjob.submit.records.completeness import check_complete

        record = self._record(ref)
        if record is None:
            return self.local.retry(ref)
        client = self._client(record)
        try:
            new = client.retry(ref)
        except NotFound:
            check_complete(record.manifest, old=record.name, env_file=record.env_file)
            new = cast("ClusterJobs", client).run_again(record.manifest)
        with suppress(OSError, DaskJobError):
            sent = as_sent(client.get(new).manifest)
            self.records.add(record_of(sent, new, record.cluster))
        return new

    def scale(self, ref: JobRef, workers: int) -> None:
        """Set the number of workers of the job's default group."""
        self._at(ref).scale(ref, workers)

    def _record(self, ref: JobRef) -> Record | None:
        if ref not in self._found:
            for record in self.records.of(ref.name):
                self._found.setdefault(record.ref, record)
        return self._found.get(ref)

    def _at(self, ref: JobRef) -> Jobs:
        record = self._record(ref)
        return self._client(record) if record else self.local

    def _client(self, record: Record) -> Jobs:
        key = (record.cluster.context, record.cluster.kubeconfig, record.namespace)
        if key not in self._clients:
            self._clients[key] = self.connect(record)
        return self._clients[key]

    def _note(self, record: Record, job: Job) -> None:
        if job.status.finished and not record.last_status.finished:
            self.records.note_status(record, mapping(job.manifest.get("status")))
        elif record.is_deleted:
            # Another server has answered for its cluster.
            self.records.note_status(record, None)


def _troubles(answers: dict[Group, Answer]) -> Iterator[str]:
    """Yield a message for each cluster, and not for each of its namespaces."""
    found: dict[tuple[ClusterAddress, str], list[Group]] = {}
    for group, answer in answers.items():
        if answer.trouble:
            found.setdefault((group.cluster, answer.trouble), []).append(group)
    for (_, trouble), groups in found.items():
        yield Answer(trouble=trouble).message(groups)


def _is_asked_for(record: Record) -> bool:
    """Return whether the state of a job may still change.

    That of a deleted one, too: for a while, another server may have answered for its cluster.
    """
    if record.is_deleted:
        return datetime.now(UTC) - record.time < ASKED_AGAIN
    return record.status is None


def _places(records: Sequence[Record]) -> list[Record]:
    """Return the newest record of each place."""
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        found.setdefault((record.cluster.context, record.namespace), record)
    return list(found.values())


def _created(manifest: Manifest) -> datetime | None:
    return parse_time(metadata(manifest).get("creationTimestamp"))


def _time_of(entry: Entry) -> tuple[datetime, bool, datetime]:
    """Return by what jobs are sorted: a run of this machine has its time in whole seconds only."""
    created = entry.created or datetime.min.replace(tzinfo=UTC)
    return whole_seconds(created), entry.cluster is None, created


def _script(name: str) -> str:
    """Return what a script's job is named after: the file without its folder and its suffix."""
    from pathlib import PurePath

    path = PurePath(name)
    return path.stem if path.suffix in (".py", ".pyw", ".ipynb", ".sh") else path.name
