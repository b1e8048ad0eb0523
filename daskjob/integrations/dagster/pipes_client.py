"""A client of Dagster Pipes whose external process is the runner of a DaskJob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from dagster import (
    MetadataValue,
    PipesClient,
    PipesClientCompletedInvocation,
    PipesContextInjector,
    PipesEnvContextInjector,
    PipesMessageReader,
    open_pipes_session,
)
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from dagster._core.pipes.reattach import record_external_launch

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest
from daskjob.integrations.dagster.failures import failure
from daskjob.integrations.dagster.job_log import PipesDaskJobLogReader
from daskjob.integrations.dagster.manifests import job_of_image, with_variables
from daskjob.integrations.dagster.steps import Steps
from daskjob.submit.client.sync_client import JobClient
from daskjob.submit.generations import Generation, Step, acknowledge, start_generation
from daskjob.submit.jobs import Job, JobRef

if TYPE_CHECKING:
    from daskjob.submit.local import LocalJobs

OnInterrupt = Literal["cancel", "keep"]


class PipesDaskJobClient(PipesClient, TreatAsResourceParam):
    """Runs DaskJobs as external processes of steps, each once, whatever crashes.

    ``client`` is a ``JobClient``; by default, one for the pod's service account or the default
    kubeconfig. ``JobClient.local()`` runs jobs on this machine. By default, the context is in a
    variable of the runner's main container, and messages are read from its log.
    """

    def __init__(
        self,
        client: JobClient | LocalJobs | None = None,
        *,
        context_injector: PipesContextInjector | None = None,
        message_reader: PipesMessageReader | None = None,
    ) -> None:
        self._client = client
        self._injector = context_injector or PipesEnvContextInjector()
        self._reader = message_reader or PipesDaskJobLogReader()
        self._steps = Steps()

    def run(
        self,
        *,
        context: Any,
        extras: Mapping[str, Any] | None = None,
        job: Manifest | None = None,
        image: str = "",
        command: Sequence[str] | str = (),
        n_workers: int = 2,
        name: str = "",
        namespace: str = "",
        env: Mapping[str, str] | None = None,
        reattach: bool = True,
        on_interrupt: OnInterrupt = "cancel",
        delete_on_success: bool = False,
        timeout_seconds: float | None = None,
    ) -> PipesClientCompletedInvocation:
        """Run a DaskJob, or go on with that of an earlier try of the step, up to its end.

        ``job`` is a DaskJob; without one, it is made from ``image``, ``command`` and ``n_workers``.
        ``env`` and the variables of Pipes are set in the main container of its runner only.

        An earlier try may have been killed. If its job is active, this try adopts it; if it has
        succeeded, its result is taken; if it has failed, a new one is started. ``reattach=False``
        replaces an active one. A step that is interrupted cancels its job, unless ``on_interrupt``
        is ``keep``. ``timeout_seconds`` is the job's deadline, also after the end of this process.

        Raises
        ------
        Failure
            The job could not be started, or did not succeed; its cause is daskjob's error. It
            allows no retries where these cannot help.
        """
        manifest = job or job_of_image(image, command, n_workers=n_workers)
        with open_pipes_session(
            context=context,
            context_injector=self._injector,
            message_reader=self._reader,
            extras=extras,
        ) as session:
            variables = {**(env or {}), **session.get_bootstrap_env_vars()}
            with self._connected(namespace) as client, _as_failures():
                made = with_variables(manifest, variables)
                generation = start_generation(
                    client,
                    _in_namespace(made, namespace),
                    self._steps.identity(context, name),
                    on_conflict="reattach" if reattach else "replace",
                    timeout_seconds=timeout_seconds,
                )
            ref = generation.job.ref
            _report_start(context, session, generation)
            with self._connected(namespace) as client, _as_failures(ref.name):
                ended = self._followed(client, ref, on_interrupt)
                acknowledge(client, ref)
                if delete_on_success:
                    client.delete(ref)
        return PipesClientCompletedInvocation(session, metadata=_metadata(ended, generation))

    @contextmanager
    def _connected(self, namespace: str) -> Iterator[JobClient | LocalJobs]:
        if self._client is not None:
            yield self._client
            return
        with JobClient(namespace) as client:
            yield client

    def _followed(
        self, client: JobClient | LocalJobs, ref: JobRef, on_interrupt: OnInterrupt
    ) -> Job:
        """Read the job's messages and wait for its end."""
        try:
            if isinstance(self._reader, PipesDaskJobLogReader):
                # Of a job that has ended before, the log may be gone.
                with suppress(NotFound):
                    self._reader.read(client.logs(ref, follow=True))
            return client.wait(ref)
        except DaskJobError:
            raise
        except BaseException:
            if on_interrupt == "cancel":
                with suppress(DaskJobError):
                    client.cancel(ref)
            raise


@contextmanager
def _as_failures(job: str = "") -> Iterator[None]:
    try:
        yield
    except DaskJobError as error:
        raise failure(error, job) from error


def _in_namespace(job: Manifest, namespace: str) -> Manifest:
    if not namespace:
        return job
    return {**job, "metadata": {**(job.get("metadata") or {}), "namespace": namespace}}


def _report_start(context: Any, session: Any, generation: Generation) -> None:
    """Show in Dagster which job it is."""
    ref = generation.job.ref
    extras = {"generation": generation.number, "uid": ref.uid}
    session.report_launched({"extras": {"daskjob": f"{ref.namespace}/{ref.name}", **extras}})
    if generation.step is Step.CREATED:
        record_external_launch(
            context,
            client_name=PipesDaskJobClient.__name__,
            external_run_id=f"{ref.namespace}/{ref.name}",
            extras=extras,
        )
        return
    verb = "has succeeded already" if generation.step is Step.FINISHED else "is adopted"
    context.log.info(f"[pipes] DaskJob {ref.name} of an earlier try {verb}.")


def _metadata(job: Job, generation: Generation) -> dict[str, MetadataValue]:
    status, ref = job.status, job.ref
    found = {
        "daskjob": MetadataValue.text(ref.name),
        "daskjob namespace": MetadataValue.text(ref.namespace),
        "daskjob generation": MetadataValue.int(generation.number),
        "daskjob attempts": MetadataValue.int(status.attempt + 1),
    }
    if status.result is not None:
        found["daskjob result"] = MetadataValue.json(status.result)
    if status.dashboard_url:
        found["daskjob dashboard"] = MetadataValue.url(status.dashboard_url)
    return found
