"""What a work pool and its deployments set, and the DaskJob of a flow run that follows from it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field, PrivateAttr

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.names import generated_prefix
from daskjob.integrations.prefect import in_pod
from daskjob.integrations.prefect.work_pool import job_template
from daskjob.submit.cluster_job.resources import dask_limit
from daskjob.submit.cluster_job.variables import env_secret, env_secret_name

#: Prefect's process ends the flow's without reporting a crash: the DaskJob starts it again, if its
#: pod was evicted.
SIGTERM_BEHAVIOR = ("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR", "relinquish")
#: Prefect's own labels become annotations, since prefect-kubernetes takes each pod with its label
#: of a flow run for one of its own, and a job's labels are those of its pods.
_PREFECT = "prefect.io/"
_NO_IMAGE = "name an image with Prefect and Dask, in the pool or in the deployment"


class DaskJobWorkerConfiguration(BaseJobConfiguration):
    """The DaskJob of one flow run."""

    namespace: str = Field(default="")
    job_manifest: dict[str, Any] = Field(json_schema_extra={"template": job_template()})
    kubeconfig: str | None = Field(default=None)
    context: str | None = Field(default=None)
    local: bool = Field(default=False)
    stream_output: bool = Field(default=True)
    pickup_timeout_seconds: float = Field(default=120.0)

    _own_labels: dict[str, str] = PrivateAttr(default_factory=dict)

    def prepare_for_flow_run(self, flow_run: Any, *others: Any, **more: Any) -> None:
        """Complete the manifest with the command and the variables of a flow run."""
        self._own_labels = dict(self.labels)
        super().prepare_for_flow_run(flow_run, *others, **more)
        self.env.setdefault(*SIGTERM_BEHAVIOR)
        meta = self.job_manifest.setdefault("metadata", {})
        meta["name"] = generated_prefix(str(self.name or flow_run.name)).rstrip("-")
        if not meta.get("namespace"):
            meta.pop("namespace", None)
        source = {"secretRef": {"name": env_secret_name(meta["name"])}}
        runner, *dask = self._containers()
        runner["command"] = self._command()
        self._limit_workers()
        for container in (runner, *dask):
            # The scheduler too: it reads the tasks, which may need PYTHONPATH.
            container["envFrom"] = [*mappings(container.get("envFrom")), source]

    @property
    def owned(self) -> list[Manifest]:
        """The Secret with the environment of the flow run, such as the key of Prefect's API."""
        name = env_secret_name(str(metadata(self.job_manifest)["name"]))
        return [env_secret(name, {key: str(text) for key, text in self.env.items()})]

    @property
    def own_labels(self) -> dict[str, str]:
        """The labels that the work pool or the deployment sets."""
        return {k: v for k, v in self._own_labels.items() if not k.startswith(_PREFECT)}

    @property
    def annotations(self) -> dict[str, str]:
        """What Prefect says of the flow run by labels."""
        return {key: text for key, text in self.labels.items() if key.startswith(_PREFECT)}

    def _command(self) -> list[str]:
        words = shlex.split(self.command or "")
        program = Path(in_pod.__file__).read_text(encoding="utf-8")
        if not self.local:
            # Kubernetes replaces $(NAME), also in arguments.
            return ["python", "-c", *(word.replace("$", "$$") for word in (program, *words))]
        # The Prefect of this worker, which need not be on the path of its machine.
        module = [sys.executable, "-m", *words] if words[:1] == ["prefect"] else words
        own = [sys.executable, *words[1:]] if words[:1] == ["python"] else module
        return [sys.executable, "-c", program, *own]

    def _limit_workers(self) -> None:
        """Let Dask use all of the workers' memory; else it takes the share of their threads."""
        worker = mapping(mapping(self.job_manifest["spec"].get("cluster")).get("spec")).get(
            "worker"
        )
        for container in mapping(mapping(worker).get("spec")).get("containers", [])[:1]:
            limit = mapping(mapping(container.get("resources")).get("limits")).get("memory")
            args = [str(word) for word in container.get("args") or ()]
            if limit and args[:2] == ["dask", "worker"] and "--memory-limit" not in args:
                container["args"] = [*args, "--memory-limit", dask_limit(str(limit), 1)]

    def _containers(self) -> Iterator[dict[str, Any]]:
        """Yield the main containers, that of the runner first, with an image."""
        spec = self.job_manifest["spec"]
        cluster = mapping(mapping(spec.get("cluster")).get("spec"))
        workers = [cluster.get("worker"), *mappings(cluster.get("workerGroups"))]
        for pod in filter(None, [spec["job"], *workers, cluster.get("scheduler")]):
            container = pod["spec"]["containers"][0]
            if self.local:
                # Nothing pulls it.
                container.setdefault("image", "this-machine")
            if not container.get("image"):
                raise Invalid("the work pool", [FieldError("image", "", _NO_IMAGE)])
            yield container


class DaskJobWorkerVariables(BaseVariables):
    """What a work pool, or a deployment, sets."""

    namespace: str = Field(
        default="", description="The namespace of the jobs; by default the kubeconfig's."
    )
    image: str | None = Field(
        default=None,
        description="The image of all pods: with Prefect, Dask, daskjob and what the flow needs.",
        examples=["ghcr.io/example/flows:1"],
    )
    n_workers: int = Field(default=2, title="Workers", description="Dask workers of a flow run.")
    worker_resources: dict[str, Any] | None = Field(
        default=None, description="Requests and limits of each Dask worker."
    )
    runner_resources: dict[str, Any] | None = Field(
        default=None, description="Requests and limits of the flow's own process."
    )
    service_account_name: str | None = Field(
        default=None, description="The ServiceAccount of all pods."
    )
    image_pull_policy: str = Field(default="IfNotPresent", description="When to pull the image.")
    restarts: int = Field(
        default=0,
        ge=0,
        description=(
            "How often the flow's process is started again after it was killed. An eviction, or "
            "a lost node, does not count."
        ),
    )
    timeout_seconds: int | None = Field(
        default=None, description="The deadline of a flow run's DaskJob."
    )
    finished_job_ttl: int | None = Field(
        default=None, description="Seconds after which an ended DaskJob is deleted."
    )
    kubeconfig: str | None = Field(
        default=None, description="The path of a kubeconfig; by default as kubectl, or as the pod."
    )
    context: str | None = Field(default=None, description="The context of the kubeconfig.")
    local: bool = Field(
        default=False, description="Run on the worker's machine instead: for development."
    )
    stream_output: bool = Field(
        default=True, description="Print the log of the flow's process at the worker."
    )
    pickup_timeout_seconds: float = Field(
        default=120.0, description="How long an operator may take to notice a job."
    )
