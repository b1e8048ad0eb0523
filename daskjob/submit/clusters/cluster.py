"""A DaskCluster as clients see it, and the fields by which they change it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.command_line import words
from daskjob.core.desired.pods import dashboard_prefix
from daskjob.core.desired.service import dashboard_container_port
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest, ObjectRef, integer, mapping, mappings, object_ref
from daskjob.core.parsed import parsed_cluster, parsed_cluster_status
from daskjob.core.spec import DaskCluster
from daskjob.core.status import ClusterPhase, ClusterStatus, ConditionType, find_condition
from daskjob.kube.followed_pod import Backend

#: The creation that made a cluster: a repeated one finds its own.
ANNOTATION_CREATION = f"{names.API_GROUP}/creation"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as the API server has it."""

    manifest: Manifest

    @property
    def ref(self) -> ObjectRef:
        """The reference to exactly this cluster."""
        return object_ref(self.manifest)

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name

    @property
    def status(self) -> ClusterStatus:
        """Its status."""
        return parsed_cluster_status(self.manifest)

    @property
    def job(self) -> str:
        """The job that owns it; empty for a user's."""
        meta = self._parsed.meta
        return meta.owner_name if meta.owner_kind == names.Kind.JOB else ""

    @property
    def notebook(self) -> str:
        """The name of its notebook's objects; empty: it has none."""
        return self._parsed.meta.annotations.get(names.ANNOTATION_NOTEBOOK, "")

    @property
    def has_jupyter(self) -> bool:
        """Whether its scheduler also starts a Jupyter server."""
        containers = self._parsed.spec.scheduler.containers
        return any("--jupyter" in words(container) for container in containers)

    @property
    def desired_workers(self) -> int:
        """The number of workers of its default group."""
        return integer(self._worker.get("replicas", 1)) or 0

    @property
    def is_adaptive(self) -> bool:
        """Whether the default group is scaled automatically."""
        return bool(self._worker.get("autoscaling"))

    @property
    def workers(self) -> str:
        """Ready and desired workers of the default group: ``3/4``."""
        return f"{self.status.ready_replicas}/{self.desired_workers}"

    @property
    def protocol(self) -> str:
        """``tcp``, or ``tls``."""
        return self.status.scheduler_address.partition("://")[0] or "tcp"

    @property
    def dashboard_path(self) -> str:
        """The path of the dashboard's first page."""
        return f"{dashboard_prefix(self._parsed.spec.scheduler)}/status"

    @property
    def _parsed(self) -> DaskCluster:
        return parsed_cluster(self.manifest)[0]

    @property
    def _worker(self) -> Mapping[str, object]:
        return mapping(mapping(self.manifest.get("spec")).get("worker"))

    def comm(self) -> Backend:
        """Return the scheduler's port for clients."""
        return self._backend(_comm_port(self._parsed.spec.service), "scheduler")

    def dashboard(self) -> Backend:
        """Return the scheduler's port for browsers."""
        spec = self._parsed.spec
        return self._backend(dashboard_container_port(spec.service, spec.scheduler), "dashboard")

    def _backend(self, port: int | str, what: str) -> Backend:
        labels = {
            names.LABEL_CLUSTER_NAME: names.label_value(self.name),
            names.LABEL_COMPONENT: str(names.Component.SCHEDULER),
        }
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return Backend(self.ref.namespace, selector, port, f"the {what} of {self.name}")

    def is_ready(self, workers: int | None = None) -> bool:
        """Return whether the scheduler runs, with this many workers; by default with all."""
        status = self.status
        wanted = (0 if self.is_adaptive else self.desired_workers) if workers is None else workers
        return status.phase is ClusterPhase.RUNNING and status.ready_replicas >= wanted

    def state(self) -> str:
        """Return what the cluster waits for, for messages."""
        status = self.status
        kinds = (ConditionType.SCHEDULER_READY, ConditionType.WORKERS_READY)
        for kind in kinds:
            condition = find_condition(status.conditions, kind)
            if condition is not None and not condition.status and condition.message:
                return condition.message
        if status.phase is not ClusterPhase.RUNNING:
            return f"its phase is {status.phase or 'not set: no operator has picked it up'}"
        return f"{self.workers} workers are ready"


def _comm_port(service: Manifest) -> int | str:
    for port in mappings(service.get("ports")):
        if port.get("name") == names.PORT_NAME_COMM or port.get("port") == names.PORT_COMM:
            target = port.get("targetPort") or port.get("port")
            return target if isinstance(target, int) else str(target)
    return names.PORT_COMM


def scaling(cluster: Cluster, workers: int) -> Manifest | None:
    """Return the patch that sets the number of workers of the default group.

    Raises
    ------
    Conflict
        They are scaled automatically.
    ValueError
        The number is negative.
    """
    if workers < 0:
        raise ValueError(f"{workers} workers are not possible")
    if cluster.is_adaptive:
        raise Conflict(
            f"the workers of {cluster.name} are scaled automatically; change "
            "spec.worker.autoscaling"
        )
    if cluster.desired_workers == workers:
        return None
    return {"spec": {"worker": {"replicas": workers}}}
