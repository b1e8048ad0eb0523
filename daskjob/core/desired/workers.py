"""Worker pods."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.core import names
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.desired.pods import (
    base_labels,
    main_container_annotation,
    pod_spec,
    scheduler_address,
)
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec import DaskCluster, DaskWorkerGroup


def worker_pods(
    group: DaskWorkerGroup, cluster: DaskCluster, pod_names: Iterable[str], platform: Platform
) -> tuple[Manifest, ...]:
    """Return worker pods with these names; they share their common parts."""
    meta, template = group.meta, group.template
    address = scheduler_address(platform, cluster.meta.name, meta.namespace, cluster.spec.scheduler)
    base = {
        **base_labels(platform, cluster.meta.name, names.Component.WORKER),
        names.LABEL_WORKERGROUP_NAME: names.label_value(meta.name),
    }
    labels = inherited(meta.labels, template.labels, base)
    ours = {
        **main_container_annotation(template, "worker"),
        names.ANNOTATION_TEMPLATE: template.fingerprint,
    }
    annotations = inherited(meta.annotations, template.annotations, ours)

    def pod(name: str) -> Manifest:
        environment = {names.ENV_WORKER_NAME: name, names.ENV_SCHEDULER_ADDRESS: address}
        spec = pod_spec(template, platform, environment)
        spec.setdefault("restartPolicy", "Always")
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": object_metadata(name, meta, labels, annotations),
            "spec": spec,
        }

    return tuple(pod(name) for name in pod_names)
