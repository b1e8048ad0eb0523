"""Jobs of a cluster, for blocking programs: each method is that of ``AsyncJobClient``."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

# Not imported at run time: ``local`` works without the packages that a cluster needs, and a
# submission takes less time than the imports of the other methods.
if TYPE_CHECKING:
    from datetime import datetime

    from daskjob import AsyncJobClient
    from daskjob.core.explain import Explanation
    from daskjob.core.manifests import Manifest
    from daskjob.kube.access import Access, Credentials
    from daskjob.kube.api import OnRequest
    from daskjob.kube.patience import Patience
    from daskjob.submit.client.waiting import Notify
    from daskjob.submit.jobs import Job, JobEvent, JobRef, LogChunk, Place, PodImage
    from daskjob.submit.local import LocalJobs
    from daskjob.submit.records.my_jobs import MyJobs
    from daskjob.submit.records.record import Record

T = TypeVar("T")

_NAME = "JobClient"


class JobClient:
    """The jobs of one namespace of a cluster.

    ::

        with JobClient() as client:
            ref = client.submit(manifest, token="2026-01-31")
            job = client.wait(ref)

    It may be used from any thread, and in a process that was forked; not inside a running event
    loop, where ``AsyncJobClient`` has the same methods. An exception in the caller, such as
    KeyboardInterrupt, ends the call at once; the job continues.

    Errors are those of ``AsyncJobClient``.
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
        """Prepare a client; nothing is read or sent yet. See ``AsyncJobClient``."""
        _check_packages()
        self._namespace = namespace
        self._kubeconfig = kubeconfig
        self._context = context
        self._credentials = credentials
        self._notify = notify
        self._on_request = on_request
        self._patience = patience
        #: Made for the first call that needs it.
        self._made: dict[str, AsyncJobClient] = {}
        #: A program that submits more than one job keeps a connection.
        self._has_submitted = False

    @classmethod
    def from_client(
        cls, client: object, namespace: str = "", *, notify: Notify | None = None
    ) -> JobClient:
        """Return a client with the credentials of one of kr8s, kubernetes or kubernetes_asyncio."""
        from daskjob.kube.other_clients import credentials_of

        return cls(namespace, credentials=credentials_of(client), notify=notify)

    @staticmethod
    def local() -> LocalJobs:
        """Return the same for the jobs of this machine."""
        from daskjob.submit.local import LocalJobs

        return LocalJobs()

    @staticmethod
    def mine() -> MyJobs:
        """Return the same for the jobs that were started here: on this machine, or submitted.

        ::

            with JobClient.mine() as jobs:
                job = jobs.find("nightly")
                print(jobs.where(job.ref), job.status.phase)
        """
        from daskjob.submit.records.my_jobs import MyJobs

        return MyJobs(connect=_of_record)

    def __enter__(self) -> JobClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another one. Inside an event loop, soon."""
        if not self._made:
            return
        from daskjob.submit import sync

        try:
            self._run("close", self._client.close)
        except sync.WouldBlock:
            sync.start(self._client.close)

    @property
    def place(self) -> Place:
        """The namespace."""
        from daskjob.submit.jobs import Place

        namespace = self._run("place", self._client.namespace)
        return Place(name=f"namespace {namespace}", empty=f"No jobs in namespace {namespace}.")

    def submit(
        self, job: Manifest, *, token: str | None = None, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        """Submit a DaskJob, exactly once for each token; return a reference to it."""
        if "asyncio" in sys.modules:
            from daskjob.submit import sync

            sync.check_no_loop(f"{_NAME}.submit")
        # Many programs do nothing else: their only request needs no event loop.
        first = None if owned else self._submit_first(job, token)
        return first or self._run(
            "submit", partial(self._client.submit, job, token=token, owned=owned)
        )

    def create_owned(self, ref: JobRef, owned: Sequence[Manifest]) -> None:
        """Create objects that a job needs, such as Secrets; those that it already owns stay."""
        self._run("create_owned", partial(self._client.create_owned, ref, owned))

    def dry_run(self, job: Manifest) -> Manifest:
        """Return a DaskJob as the API server would store it; nothing is stored."""
        return self._run("dry_run", partial(self._client.dry_run, job))

    def retry(self, ref: JobRef, *, token: str | None = None) -> JobRef:
        """Run an ended job again as a new job with the same spec; return the new job."""
        return self._run("retry", partial(self._client.retry, ref, token=token))

    def run_again(self, job: Manifest, *, token: str | None = None) -> JobRef:
        """Run a job again, which may be gone, from its manifest; as ``retry``."""
        return self._run("run_again", partial(self._client.run_again, job, token=token))

    def code_for(self, new: Manifest, old: Manifest) -> list[Manifest]:
        """Return the ConfigMaps of a new job with a copy of the code that belongs to an old one."""
        return self._run("code_for", partial(self._client.code_for, new, old))

    # Finding jobs

    def list(
        self, *, labels: str = "", all_namespaces: bool = False, namespace: str = ""
    ) -> tuple[Job, ...]:
        """Return all jobs of the namespace, newest first; ``labels`` is a label selector."""
        which: dict[str, Any] = {"all_namespaces": all_namespaces, "namespace": namespace}
        return self._run("list", partial(self._client.list, labels=labels, **which))

    def names(self) -> tuple[str, ...]:
        """Return the names of all jobs, newest first."""
        return self._run("names", self._client.names)

    def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the job of this name, or the newest one that was named after it."""
        return self._run("find", partial(self._client.find, name, exact=exact))

    def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""
        return self._run("get", partial(self._client.get, ref))

    # Waiting

    def watch(self, ref: JobRef) -> Iterator[Job]:
        """Yield the current state of the job, then each change, up to its end."""
        from daskjob.submit import sync

        return sync.iterate(partial(self._client.watch, ref), name=f"{_NAME}.watch")

    def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        """Wait until the job has ended; return it, or raise ``Failed``."""
        wait = partial(
            self._client.wait,
            ref,
            timeout_seconds=timeout_seconds,
            raise_on_failure=raise_on_failure,
        )
        return self._run("wait", wait)

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
        """Return the log of one pod, or follow the runners of all attempts."""
        from daskjob.submit import sync

        client = self._client
        which: dict[str, Any] = {"attempt": attempt, "pod": pod, "worker": worker, "follow": follow}
        self._run("logs", partial(client.check_log, ref, **which))
        logs = partial(client.logs, ref, **which, tail=tail, since=since)
        return sync.iterate(logs, name=f"{_NAME}.logs")

    def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first."""
        return self._run("events", partial(self._client.events, ref))

    def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        """Return the images of the job's pods, by digest; of those that still exist."""
        return self._run("images", partial(self._client.images, ref))

    def why(self, ref: JobRef) -> Explanation:
        """Explain the job's state, with evidence and the next step."""
        return self._run("why", partial(self._client.why, ref))

    def report(self, ref: JobRef) -> Manifest | None:
        """Return the report on the job's cluster; ``None``: none yet."""
        return self._run("report", partial(self._client.report, ref))

    def result(self, ref: JobRef) -> object:
        """Return the result that the script wrote; ``None``: it wrote none."""
        return self._run("result", partial(self._client.result, ref))

    # Changing a job

    def cancel(self, ref: JobRef) -> bool:
        """Cancel the job; return whether it was still running."""
        return self._run("cancel", partial(self._client.cancel, ref))

    def acknowledge(self, ref: JobRef) -> None:
        """Record on the job that its end was taken."""
        self._run("acknowledge", partial(self._client.acknowledge, ref))

    def suspend(self, ref: JobRef) -> None:
        """Stop the job's pods until it is resumed."""
        self._run("suspend", partial(self._client.suspend, ref))

    def resume(self, ref: JobRef) -> None:
        """Resume a suspended job."""
        self._run("resume", partial(self._client.resume, ref))

    def scale(self, ref: JobRef, workers: int) -> None:
        """Set the number of workers of the job's default group."""
        self._run("scale", partial(self._client.scale, ref, workers))

    def delete(self, ref: JobRef, *, force: bool = False) -> None:
        """Delete an ended job with all that belongs to it; with ``force``, also a running one."""
        self._run("delete", partial(self._client.delete, ref, force=force))

    @property
    def _client(self) -> AsyncJobClient:
        found = self._made.get("client")
        if found is not None:
            return found
        from daskjob import AsyncJobClient
        from daskjob.submit import sync

        made = AsyncJobClient(
            self._namespace,
            kubeconfig=self._kubeconfig,
            context=self._context,
            credentials=self._credentials,
            notify=self._notify,
            on_request=self._on_request,
            patience=self._patience,
        )
        # Without a lock, which an exception of a signal handler could leave taken.
        first = self._made.setdefault("client", made)
        if first is made:
            # A client that is not closed is closed when it is not used any more.
            weakref.finalize(self, sync.start, made.close)
        return first

    def _submit_first(self, job: Manifest, token: str | None) -> JobRef | None:
        """Submit the first job, without a connection; ``None``: nothing was sent."""
        if self._made or self._has_submitted:
            return None
        self._has_submitted = True
        from daskjob.core.manifests import metadata
        from daskjob.submit.client.first_request import create_at_once
        from daskjob.submit.submission import Step, submission

        namespace = str(metadata(job).get("namespace") or "") or self._namespace
        found = None if namespace else self._access()
        if not (namespace or found):
            return None
        wanted = submission(job, namespace=namespace or (found[1] if found else ""), token=token)
        found = found or self._access()
        outcome = create_at_once(found[0], wanted, self._patience) if found else Step.REPEAT
        if not isinstance(outcome, Step):
            return outcome
        return self._run("submit", partial(self._client.carry_out, wanted, outcome))

    def _access(self) -> tuple[Access, str] | None:
        """Return the access and the default namespace; ``None``: that takes an event loop."""
        from daskjob.kube.access import Immediate
        from daskjob.kube.credentials import find_credentials

        make = self._credentials or partial(find_credentials, self._kubeconfig, self._context)
        credentials = make()
        return credentials.at_once() if isinstance(credentials, Immediate) else None

    def _run(self, method: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        from daskjob.submit import sync

        return sync.run(make, name=f"{_NAME}.{method}")


def _of_record(record: Record) -> JobClient:
    """Return the client of the cluster and the namespace of a record."""
    from daskjob.submit.records.clusters import usable_kubeconfig
    from daskjob.submit.records.lost_context import check_context

    kubeconfig = usable_kubeconfig(record.cluster)
    check_context(record, kubeconfig, "status")
    context = record.cluster.context or None
    return JobClient(record.namespace, kubeconfig=kubeconfig, context=context)


def _check_packages() -> None:
    """Raise now if a package is missing, not only at the first call that needs it."""
    for package in ("aiohttp", "msgspec"):
        if find_spec(package) is None:
            raise ImportError(f"{_NAME} needs {package}: pip install 'daskjob[kubernetes]'")
