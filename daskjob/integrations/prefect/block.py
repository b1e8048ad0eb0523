"""The block ``DaskJob``: a job with its credentials and how a flow runs it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect.blocks.abstract import JobBlock
from pydantic import Field, ValidationError, field_validator, model_validator

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.similar_names import did_you_mean
from daskjob.integrations.prefect.dispatch import dispatched
from daskjob.integrations.prefect.identity import current_run, identity_of
from daskjob.integrations.prefect.job_run import DaskJobRun, blocking
from daskjob.integrations.prefect.kubernetes_credentials import KubernetesCredentials
from daskjob.integrations.prefect.manifest import Description, job_manifest
from daskjob.integrations.prefect.places import Jobs, of_cluster, this_machine
from daskjob.integrations.prefect.release import OnCancel, release_started
from daskjob.integrations.prefect.stopping import runs_again
from daskjob.submit.generations import Identity, Step
from daskjob.submit.jobs import Job

if TYPE_CHECKING:
    import yaml
    from pydantic_core import ErrorDetails


class DaskJob(JobBlock[Any]):
    """Runs a DaskJob on a cluster, or on this machine, as a part of a flow.

    ::

        job = DaskJob(image="ghcr.io/dask/dask:latest", command="python nightly.py", n_workers=4)

        @flow
        def nightly():
            return run_daskjob(job)

    A retry of the task finds the job of an earlier try: it waits for a running one, takes the
    result of a successful one, and replaces a failed one.
    """

    _block_type_name = "Dask Job"
    _block_type_slug = "daskjob"
    _description = "Runs a DaskJob: a script with a Dask cluster of its own."

    manifest: dict[str, Any] | None = Field(
        default=None,
        title="Manifest",
        description="The DaskJob to run, such as `yaml.safe_load` returns it.",
    )
    image: str | None = Field(
        default=None, description="The image of all pods; it replaces those of a manifest."
    )
    command: str | list[str] | None = Field(
        default=None, description="The command of the script, instead of a manifest."
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Variables of the script and the workers."
    )
    n_workers: int | None = Field(
        default=None, ge=0, description="The number of workers; by default 2, or the manifest's."
    )
    adapt: tuple[int, int] | None = Field(
        default=None, description="Scales the workers to the tasks, within these two numbers."
    )
    namespace: str = Field(
        default="", description="The namespace; by default the manifest's, or the kubeconfig's."
    )
    credentials: KubernetesCredentials | None = Field(
        default=None,
        description="How to reach the cluster; by default as kubectl, or as the pod's account.",
    )
    kubeconfig: str | None = Field(
        default=None, description="The path of a kubeconfig, without a credentials block."
    )
    context: str | None = Field(default=None, description="The context of the kubeconfig.")
    local: bool = Field(
        default=False, description="Run on this machine instead of a cluster: for development."
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        description="The deadline of the job, which the cluster keeps by itself.",
    )
    pickup_timeout_seconds: float = Field(
        default=120.0, gt=0, description="How long an operator may take to notice the job."
    )
    stream_logs: bool = Field(
        default=True, description="Copy the log of the script into that of the run."
    )
    progress_artifact: bool = Field(
        default=True, description="Show the progress of the tasks as an artifact of the run."
    )
    dashboard_artifact: bool = Field(
        default=True, description="Show the link to Dask's dashboard as an artifact of the run."
    )
    on_cancel: OnCancel = Field(
        default="cancel", description="What becomes of the job if the flow run is cancelled."
    )
    on_finish: Literal["keep", "delete", "delete_succeeded"] = Field(
        default="keep", description="Whether to delete the job once it has ended."
    )
    reattach: bool = Field(
        default=True,
        description="Whether a retry finds the job of an earlier try; else each starts another.",
    )

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, given: Any) -> Any:
        """Reject what is no field: Prefect's own blocks keep it, and do nothing with it."""
        if not isinstance(given, dict):
            return given
        known, prefects = cls.model_fields, ("block_type_slug", "_")
        unknown = [name for name in given if name not in known and not name.startswith(prefects)]
        if unknown:
            hints = [f"{name!r}{did_you_mean(name, list(known))}" for name in unknown]
            raise ValueError(f"there is no such field of DaskJob: {', '.join(hints)}")
        return given

    @field_validator("adapt")
    @classmethod
    def _least_first(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError(
                f"{value} is not allowed; write the least and the largest number of workers, such "
                "as (2, 10)"
            )
        return value

    @classmethod
    def from_yaml_file(cls, path: Path | str, **fields: Any) -> DaskJob:
        """Return a block with the manifest of a file.

        Raises
        ------
        Invalid
            The file has no DaskJob.
        """
        import yaml

        text = Path(path).read_text(encoding="utf-8")
        try:
            read = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise Invalid(str(path), [_yaml_mistake(error, text)]) from None
        if not isinstance(read, dict):
            raise Invalid(str(path), [FieldError("kind", None, "write one DaskJob into the file")])
        return cls(manifest=read, **fields)

    async def atrigger(self) -> DaskJobRun:
        """Submit the job, or find the one that an earlier try has submitted.

        Raises
        ------
        daskjob.errors.DaskJobError
            ``Invalid`` with all mistakes; ``Forbidden``, ``NotInstalled``, ``ApiError``.
        """
        manifest, identity = self._wanted()
        try:
            return await self._started(manifest, identity)
        except asyncio.CancelledError:
            await self.arelease_started(identity)
            raise

    @dispatched(atrigger)
    def trigger(self) -> DaskJobRun:
        """Submit the job as ``atrigger``, which this is in asynchronous flows."""
        manifest, identity = self._wanted()
        try:
            return blocking(partial(self._started, manifest, identity))
        except Exception:
            raise
        except BaseException:
            blocking(partial(self.arelease_started, identity))
            raise

    def with_fields(self, **fields: Any) -> DaskJob:
        """Return this block with other values.

        Raises
        ------
        Invalid
            There is no such field, or a value cannot be used.
        """
        known = type(self).model_fields
        if unknown := [name for name in fields if name not in known]:
            allowed = f"there is no such field of DaskJob{did_you_mean(unknown[0], list(known))}"
            raise Invalid("run_daskjob", [FieldError(unknown[0], fields[unknown[0]], allowed)])
        values = {name: getattr(self, name) for name in known}
        try:
            return type(self)(**{**values, **fields})
        except ValidationError as error:
            mistakes = [_mistake(found) for found in error.errors()]
            raise Invalid("run_daskjob", mistakes) from None

    def jobs(self) -> AbstractAsyncContextManager[Jobs]:
        """Open the jobs of the block's place."""
        if self.local:
            return this_machine()
        namespace = self.namespace or str(metadata(self.manifest or {}).get("namespace") or "")
        return of_cluster(
            namespace, self.credentials, kubeconfig=self.kubeconfig, context=self.context
        )()

    async def arelease_started(self, identity: Identity | None) -> None:
        """Release a job whose submission was interrupted."""
        import anyio

        if identity is None or runs_again():
            return
        with anyio.CancelScope(shield=True):
            labels = {names.LABEL_SUBMISSION_ID: identity.digest}
            await release_started(self.jobs, self.on_cancel, labels)

    def _wanted(self) -> tuple[Manifest, Identity | None]:
        described = Description(
            manifest=self.manifest,
            image=self.image,
            command=self.command,
            env=self.env,
            workers=self.n_workers,
            adapt=self.adapt,
            timeout_seconds=self.timeout_seconds,
            on_this_machine=self.local,
        )
        manifest = job_manifest(described)
        if self.namespace:
            manifest.setdefault("metadata", {})["namespace"] = self.namespace
        run = current_run()
        return manifest, identity_of(run, manifest) if run and self.reattach else None

    async def _started(self, manifest: Manifest, identity: Identity | None) -> DaskJobRun:
        async with self.jobs() as jobs:
            if identity is None:
                job, step = await jobs.submit(manifest), Step.CREATED
            else:
                found = await jobs.start(manifest, identity)
                job, step = found.job, found.step
        self.logger.info("%s", _report(job, step))
        return DaskJobRun(self, job)


def _yaml_mistake(error: yaml.YAMLError, text: str) -> FieldError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return FieldError("the file", text, problem)
    return FieldError(f"line {mark.line + 1}", "".join(text.splitlines()[mark.line :][:1]), problem)


def _mistake(found: ErrorDetails) -> FieldError:
    """Return one of pydantic's errors as ours."""
    path = ".".join(str(part) for part in found["loc"])
    return FieldError(path, found["input"], found["msg"].removeprefix("Value error, "))


def _report(job: Job, step: Step) -> str:
    where = f"DaskJob {job.name} in namespace {job.ref.namespace}"
    if step is Step.CREATED:
        return f"Submitted {where}"
    if step is Step.ADOPTED:
        return f"Found {where}, submitted by an earlier try: waiting for it"
    return f"Found {where}, which has succeeded: its result is taken"
