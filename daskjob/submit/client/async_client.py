"""Jobs of a cluster, for asynchronous programs."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest, ObjectRef, metadata, object_ref, parse_time
from daskjob.core.names import Kind, generated_prefix
from daskjob.core.similar_names import did_you_mean
from daskjob.kube.access import Credentials
from daskjob.kube.api import Api, OnRequest
from daskjob.kube.credentials import find_credentials
from daskjob.kube.errors import NoSuchResource, Replaced
from daskjob.kube.namespaces import check_namespace
from daskjob.kube.objects import get_object, list_objects
from daskjob.kube.other_clients import credentials_of
from daskjob.kube.patience import Patience
from daskjob.kube.resources import EVENTS, JOBS, Selection
from daskjob.submit.again import named_again, retry_token
from daskjob.submit.changes import (
    acknowledgement,
    cancellation,
    check_ended,
    has_ended,
    scaling,
    suspension,
)
from daskjob.submit.client.code_copy import code_of, copied_code
from daskjob.submit.client.connection import Connection, Session
from daskjob.submit.client.errors import NotInstalled
from daskjob.submit.client.job_logs import JobLogs, WantedLog
from daskjob.submit.client.owned import create_owned
from daskjob.submit.client.pod_images import pod_images
from daskjob.submit.client.secret_copy import own_copy
from daskjob.submit.client.submitting import checked, submitted
from daskjob.submit.client.waiting import Notify, end_of, states
from daskjob.submit.client.why import explained
from daskjob.submit.comparison.submitted import note_on
from daskjob.submit.jobs import Job, JobEvent, JobRef, LogChunk, PodImage, StillRunning
from daskjob.submit.outcome import caused_by_script, failure_of
from daskjob.submit.records.completeness import Incomplete
from daskjob.submit.submission import Step, Submission, submission
from daskjob.submit.submission_names import label_of

if TYPE_CHECKING:
    from daskjob.submit.local_async import AsyncLocalJobs

logger = logging.getLogger("daskjob")

#: How many lines of its log an error shows, and how long to wait for them.
TAIL_LINES = 50
TAIL_SECONDS = 10.0
#: How many names of jobs a message has.
NAMES_LISTED = 20


class AsyncJobClient:
    """The jobs of one namespace of a cluster.

    ::

        async with AsyncJobClient() as client:
            ref = await client.submit(manifest, token="2026-01-31")
            job = await client.wait(ref)

    A client connects on first use, and may be used in several event loops. ``close`` it in each of
    them, or use ``async with``.

    Every method raises ``Forbidden`` if a permission is missing, with the rule of a Role to grant
    it, ``NotInstalled`` if the cluster does not know DaskJobs; ``ApiError`` if the API server does
    not respond, after retries.
    """

    def __init__(
        self,
        namespace: str = "",
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        credentials: Callable[[], Credentials] | None = None,
        notify: Notify | None = None,
        on_request: OnRequest | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Prepare a client; nothing is read or sent yet.

        Without a kubeconfig or a context, it is the pod's service account, or the user's default
        kubeconfig. ``namespace`` defaults to theirs. ``credentials`` returns another source of
        access, once for each event loop. ``notify`` gets messages for people, such as that no
        operator picks up a job; by default, they are logged. ``on_request`` is called after each
        request, with Kubernetes' verb, kind, status code (0: no response) and seconds. ``patience``
        limits how long an API server that does not answer is waited for.
        """
        self._namespace = namespace
        self._context = context or ""
        self._notify = notify or logger.warning
        self._connection = Connection(
            credentials or (lambda: find_credentials(kubeconfig, context)),
            lambda found: Api(found, on_request=on_request, patience=patience),
        )

    @classmethod
    def from_client(
        cls, client: object, namespace: str = "", *, notify: Notify | None = None
    ) -> AsyncJobClient:
        """Return a client with the credentials of one of kr8s, kubernetes or kubernetes_asyncio.

        That client is only asked for its credentials, and stays the caller's to close.

        Raises
        ------
        TypeError
            It is no such client.
        """
        return cls(namespace, credentials=credentials_of(client), notify=notify)

    @staticmethod
    def local() -> AsyncLocalJobs:
        """Return the same for the jobs of this machine."""
        from daskjob.submit.local_async import AsyncLocalJobs

        return AsyncLocalJobs()

    async def __aenter__(self) -> AsyncJobClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection of the running event loop; the next call opens another one."""
        await self._connection.close()

    async def namespace(self) -> str:
        """Return the namespace of the jobs."""
        if not self._namespace:
            session = await self._connection.session()
            self._namespace = await session.credentials.namespace()
        return self._namespace

    # Submitting

    async def submit(
        self, job: Manifest, *, token: str | None = None, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        """Submit a DaskJob, exactly once for each token, and return a reference to it.

        The token becomes part of the job's name, ``<name>-<hash>``. Submitting again with the same
        token returns the same job, whether an earlier call is known to have succeeded or not.
        Without a token, the job is submitted once by this call, under its own name, if it has one.
        A job that was found, and has other values than this manifest where a running job may be
        changed, stays as it is; the reference has the ``differences``.

        ``owned`` are objects that the job needs, such as Secrets: created after it, and deleted
        with it.

        Raises
        ------
        Invalid
            With every mistake of the manifest.
        Conflict
            The name, or the token, belongs to a job with another spec; the message shows the
            difference.
        """
        wanted = await self._submission(job, token)
        return await self.carry_out(wanted, owned=owned)

    async def carry_out(
        self, wanted: Submission, step: Step = Step.REPEAT, *, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        """Carry out a submission from a step on, whatever became of an earlier request for it."""
        session = await self._connection.session()
        found = await submitted(session.api, wanted, step=step)
        ref = _job(found.manifest).ref
        differences = (*found.differences, *await self._created(ref, owned))
        if differences:
            self._notify(note_on(ref.name, differences))
        return replace(ref, existed=found.existed, differences=differences)

    async def create_owned(self, ref: JobRef, owned: Sequence[Manifest]) -> None:
        """Create objects that a job needs, such as Secrets; those that it already owns stay.

        For a job whose submission may have ended before it created them.

        Raises
        ------
        Conflict
            The name belongs to an object of something else.
        """
        await self._created(ref, owned)

    async def _created(self, ref: JobRef, owned: Sequence[Manifest]) -> list[str]:
        """Create what a job owns; return what is otherwise in an object that exists."""
        session = await self._connection.session()
        differences: list[str] = []
        for item in owned:
            try:
                differences += await create_owned(session.api, item, _object_ref(ref))
            except DaskJobError as error:
                error.add_note(f"{ref.name} was created and waits for it; delete the job")
                raise
        return differences

    async def dry_run(self, job: Manifest) -> Manifest:
        """Return a DaskJob as the API server would store it; nothing is stored.

        Raises
        ------
        Invalid
            With every mistake of the manifest.
        Conflict
            The name belongs to another job.
        """
        session = await self._connection.session()
        return await checked(session.api, await self._submission(job, None))

    async def _submission(self, job: Manifest, token: str | None) -> Submission:
        given = str(metadata(job).get("namespace") or "")
        return submission(job, namespace=given or await self.namespace(), token=token)

    async def retry(self, ref: JobRef, *, token: str | None = None) -> JobRef:
        """Run an ended job again as a new job with the same spec; return the new job.

        While a retry of the job has not ended, another one returns it (``JobRef.existed``), unless
        it has a token of its own.

        Raises
        ------
        Conflict
            The job has not ended.
        Incomplete
            It has variables in a Secret, or code in ConfigMaps, that cannot be read.
        """
        job = (await self.get(ref)).manifest
        check_ended(job)
        return await self.run_again(job, token=token)

    async def run_again(self, job: Manifest, *, token: str | None = None) -> JobRef:
        """Run a job again, which may be gone, from its manifest; as ``retry``."""
        session = await self._connection.session()
        namespace = str(metadata(job).get("namespace") or "") or await self.namespace()
        made, found = await self._next_retry(job, namespace, token)
        try:
            secret = await own_copy(session.api, job, made)
            code = await self.code_for(made, job)
        except Incomplete:
            if found is None:
                raise
            return replace(found.ref, existed=True)
        return await self.submit(made, owned=[*([secret] if secret else []), *code])

    async def code_for(self, new: Manifest, old: Manifest) -> list[Manifest]:
        """Return the ConfigMaps of a new job with a copy of the code that belongs to an old one.

        Raises
        ------
        Incomplete
            The code is gone, or this user must not read it.
        """
        session = await self._connection.session()
        namespace = str(metadata(old).get("namespace") or "") or await self.namespace()
        parts = await code_of(session.api, old, namespace)
        return copied_code(parts, str(metadata(old)["name"]), str(metadata(new)["name"]))

    async def _next_retry(
        self, job: Manifest, namespace: str, token: str | None
    ) -> tuple[Manifest, Job | None]:
        """Return the new job to submit, and the one of this name if it has not ended."""
        for number in itertools.count(1):
            made = named_again(job, token or retry_token(job, number))
            metadata(made)["namespace"] = namespace
            try:
                found = await self.get(JobRef(str(metadata(made)["name"]), namespace, ""))
            except NotFound:
                return made, None
            if token or not found.status.finished:
                return made, found
        raise AssertionError("there is always a next number")

    # Finding jobs

    async def list(
        self, *, labels: str = "", all_namespaces: bool = False, namespace: str = ""
    ) -> tuple[Job, ...]:
        """Return all jobs of the namespace, newest first; ``labels`` is a label selector.

        ``namespace`` is another one than the client's.

        Raises
        ------
        NotFound
            The namespace does not exist.
        """
        session = await self._connection.session()
        with _as_errors_of_jobs():
            where = None if all_namespaces else namespace or await self.namespace()
            selection = Selection(JOBS, where, labels=labels)
            found = await list_objects(session.api, selection)
            if not found.items and where and not labels:
                await check_namespace(session.api, where)
        newest = sorted(found.items, key=_age, reverse=True)
        return tuple(_job(item) for item in newest)

    async def names(self) -> tuple[str, ...]:
        """Return the names of all jobs, newest first."""
        return tuple(job.name for job in await self.list())

    async def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the job of this name.

        Unless ``exact``, the name of a script refers to the newest job named after it, and the
        empty name to the newest job of all.

        Raises
        ------
        NotFound
            There is no such job; the message names the existing ones.
        """
        if name:
            with suppress(NotFound):
                return await self.get(JobRef(name, await self.namespace(), ""))
        known = await self.list()
        for job in () if exact else known:
            if not name or _is_named_after(job, name):
                return job
        where = f"namespace {await self.namespace()}"
        if not known:
            raise NotFound(f"there are no jobs in {where}")
        names = [job.name for job in known]
        near = did_you_mean(name, names)
        existing = ", ".join(names[:NAMES_LISTED]) + (", …" if len(names) > NAMES_LISTED else "")
        raise NotFound(f"there is no job {name!r} in {where}{near}; existing jobs: {existing}")

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of the job.

        A reference without a namespace is one of the client's; one without a uid is whatever job
        has the name.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        session = await self._connection.session()
        if not ref.namespace:
            ref = replace(ref, namespace=await self.namespace())
        return _job(await _existing(session, ref))

    # Waiting

    async def watch(self, ref: JobRef) -> AsyncGenerator[Job, None]:
        """Yield the current state of the job, then each change, up to its end.

        Raises
        ------
        NotFound
            The job was deleted before it ended.
        """
        session, known = await self._known(ref)
        watch = session.watch(known.namespace)
        with _as_errors_of_jobs():
            async with aclosing(states(watch, known, notify=self._notify)) as seen:
                async for manifest in seen:
                    yield _job(manifest)

    async def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        """Wait until the job has ended; return it.

        Any number of waits in one namespace share one watch.

        Raises
        ------
        Failed
            The job ended without success: ``UserFailure``, ``InfrastructureFailure``,
            ``PolicyFailure`` or ``InvalidFailure``, with reason, exit code, and the end of the log.
        Timeout
            The job has not ended; it continues.
        NotFound
            The job was deleted before it ended.
        """
        session, known = await self._known(ref)
        with _as_errors_of_jobs():
            ended = _job(
                await end_of(
                    session.watch(known.namespace),
                    known,
                    timeout_seconds=timeout_seconds,
                    notify=self._notify,
                )
            )
        if raise_on_failure and not ended.status.succeeded:
            raise failure_of(ended.status, await self._log_tail(ended))
        return ended

    # Asking about a job

    async def check_log(
        self,
        ref: JobRef,
        *,
        attempt: int | None = None,
        pod: str = "",
        worker: str = "",
        follow: bool = False,
    ) -> None:
        """Raise ``NotFound`` if there is no such log; the message names the existing ones."""
        session, known = await self._known(ref)
        with _as_errors_of_jobs():
            wanted = WantedLog(attempt, pod, follow, worker=worker)
            await _logs(session, known).check(wanted)

    async def logs(
        self,
        ref: JobRef,
        *,
        attempt: int | None = None,
        pod: str = "",
        worker: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
    ) -> AsyncGenerator[LogChunk, None]:
        """Yield the log of one pod: the runner of an attempt, the last one by default.

        ``pod`` is a component (``scheduler``, ``runner``) or a pod's name; ``worker`` stands for
        all workers, merged by time, each line with the name of its worker. ``worker`` is one of
        these names. ``follow`` continues until the job ends; without ``attempt``, ``pod`` and
        ``worker`` it starts at the current attempt and continues with the next ones. Every line
        comes once, whatever happens to the connection. ``tail`` limits the output to the last N
        lines, ``since`` to those from then on, to the second.

        Raises
        ------
        NotFound
            There is no such log, or the job was deleted before it ended.
        """
        session, known = await self._known(ref)
        wanted = WantedLog(attempt, pod, follow, tail, since, worker)
        with _as_errors_of_jobs():
            async with aclosing(_logs(session, known).lines(wanted)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first; Kubernetes keeps them for an hour.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        session, known = await self._known(ref)
        about = f"involvedObject.uid={known.uid}"
        selection = Selection(EVENTS, known.namespace, fields=about)
        found = await list_objects(session.api, selection)
        events = [_event(item) for item in found.items]
        return tuple(sorted(events, key=lambda event: str(event.time or "")))

    async def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        """Return the images of the job's pods, by digest; of those that still exist.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        session = await self._connection.session()
        return await pod_images(session.api, (await self.get(ref)).manifest)

    async def why(self, ref: JobRef) -> Explanation:
        """Explain the job's state, with evidence and the next step.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        job = await self.get(ref)
        session = await self._connection.session()
        tail = partial(self._log_tail, job)
        return await explained(session.api, job.manifest, context=self._context, log_tail=tail)

    async def report(self, ref: JobRef) -> Manifest | None:
        """Return the report on the job's cluster; ``None``: none yet.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        return (await self.get(ref)).status.report

    async def result(self, ref: JobRef) -> object:
        """Return the result that the script wrote; ``None``: it wrote none.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        return (await self.get(ref)).status.result

    # Changing a job

    async def cancel(self, ref: JobRef) -> bool:
        """Cancel the job; return whether it was still running. Repeating it has no effect.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        job = await self.get(ref)
        await self._change(job, cancellation(job.manifest))
        return not has_ended(job.manifest)

    async def acknowledge(self, ref: JobRef) -> None:
        """Record on the job that its end was taken, for ``daskjob.submit.generations``.

        Raises
        ------
        NotFound
            The job was deleted.
        """
        job = await self.get(ref)
        await self._change(job, acknowledgement(job.manifest, datetime.now(UTC)))

    async def suspend(self, ref: JobRef) -> None:
        """Stop the job's pods until it is resumed.

        Raises
        ------
        Conflict
            The job has ended.
        """
        job = await self.get(ref)
        await self._change(job, suspension(job.manifest, suspend=True))

    async def resume(self, ref: JobRef) -> None:
        """Resume a suspended job.

        Raises
        ------
        Conflict
            The job has ended.
        """
        job = await self.get(ref)
        await self._change(job, suspension(job.manifest, suspend=False))

    async def scale(self, ref: JobRef, workers: int) -> None:
        """Set the number of workers of the job's default group.

        Raises
        ------
        Conflict
            The job has ended, or its workers are scaled elsewhere.
        """
        job = await self.get(ref)
        await self._change(job, scaling(job.manifest, workers))

    async def delete(self, ref: JobRef, *, force: bool = False) -> None:
        """Delete an ended job with all that belongs to it; with ``force``, also a running one.

        Raises
        ------
        StillRunning
            The job has not ended.
        NotFound
            The job has already been deleted.
        """
        job = await self.get(ref)
        if not force and not has_ended(job.manifest):
            raise StillRunning(f"{job.name} is still running")
        session = await self._connection.session()
        # Gone by now: by an earlier try of this request, perhaps.
        with suppress(NotFound, Replaced):
            await session.api.delete(_object_ref(job.ref), metadata_only=True)

    async def _change(self, job: Job, patch: Manifest | None) -> None:
        if patch is None:
            return
        session = await self._connection.session()
        with _as_errors_of_jobs():
            await session.api.patch(_object_ref(job.ref), patch, metadata_only=True)

    async def _known(self, ref: JobRef) -> tuple[Session, ObjectRef]:
        """Return the session, and the reference to the object with its uid."""
        session = await self._connection.session()
        if not ref.uid:
            ref = (await self.get(ref)).ref
        return session, _object_ref(ref)

    async def _log_tail(self, job: Job) -> str:
        """Return the end of the runner's log; empty if it cannot be read, or says nothing."""
        if not job.status.finished or not caused_by_script(job.status):
            return ""
        data = b""
        with suppress(DaskJobError, TimeoutError):
            async with (
                asyncio.timeout(TAIL_SECONDS),
                aclosing(self.logs(job.ref, tail=TAIL_LINES)) as chunks,
            ):
                async for chunk in chunks:
                    data += chunk.data
        return data.decode(errors="replace")


@contextmanager
def _as_errors_of_jobs() -> Iterator[None]:
    """Raise errors in the words of jobs."""
    try:
        yield
    except Replaced as error:
        raise NotFound(str(error)) from error
    except NoSuchResource:
        raise NotInstalled() from None


async def _existing(session: Session, ref: JobRef) -> Manifest:
    with _as_errors_of_jobs():
        return await get_object(session.api, _object_ref(ref))


def _logs(session: Session, job: ObjectRef) -> JobLogs:
    return JobLogs(session.api, session.watch(job.namespace), job)


def _object_ref(ref: JobRef) -> ObjectRef:
    return ObjectRef(Kind.JOB, ref.namespace, ref.name, ref.uid)


def _job(manifest: Manifest) -> Job:
    found = object_ref(manifest)
    return Job(JobRef(found.name, found.namespace, found.uid), manifest)


def _age(manifest: Manifest) -> tuple[str, str]:
    meta = metadata(manifest)
    return str(meta.get("creationTimestamp", "")), str(meta.get("name", ""))


def _is_named_after(job: Job, script: str) -> bool:
    """Return whether the job's name was made from this one."""
    return f"{label_of(job.name)}-" == generated_prefix(script)


def _event(raw: Manifest) -> JobEvent:
    last = raw.get("lastTimestamp") or raw.get("eventTime") or raw.get("firstTimestamp")
    return JobEvent(
        time=parse_time(last),
        type=str(raw.get("type", "")),
        reason=str(raw.get("reason", "")),
        message=str(raw.get("message", "")),
    )
