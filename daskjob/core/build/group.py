"""A DaskWorkerGroup of a cluster. No I/O here."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.build.metadata import inherited, object_metadata
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskCluster, GroupSpec


def worker_group(cluster: DaskCluster, group: GroupSpec) -> Manifest:
    """Return the DaskWorkerGroup that a cluster's spec asks for."""
    name = names.group_name(cluster.meta.name, group.name)
    base = {
        names.LABEL_CLUSTER_NAME: names.label_value(cluster.meta.name),
        names.LABEL_COMPONENT: str(names.Component.GROUP),
    }
    worker: Manifest = {
        "replicas": group.replicas,
        "spec": copy.deepcopy(group.template.spec),
    }
    main = group.template.annotations.get(names.ANNOTATION_DEFAULT_CONTAINER)
    if main:
        # It speaks of the pods, and what is private to the group would not reach them.
        worker["metadata"] = {"annotations": {names.ANNOTATION_DEFAULT_CONTAINER: main}}
    annotations = inherited(cluster.meta.annotations, group.template.annotations, {})
    labels = inherited(cluster.meta.labels, group.template.labels, base)
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.GROUP),
        "metadata": object_metadata(name, cluster.meta, labels, annotations),
        "spec": {"cluster": cluster.meta.name, "worker": worker},
    }
