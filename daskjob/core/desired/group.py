"""A DaskWorkerGroup of a cluster. No I/O here."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.manifests import Manifest, fingerprint
from daskjob.core.spec import DaskCluster, GroupSpec, UpdateStrategy


def worker_group(cluster: DaskCluster, group: GroupSpec) -> Manifest:
    """Return the DaskWorkerGroup that a cluster's spec asks for."""
    name = names.group_name(cluster.meta.name, group.name)
    base = {
        names.LABEL_CLUSTER_NAME: names.label_value(cluster.meta.name),
        names.LABEL_COMPONENT: str(names.Component.GROUP),
    }
    ours = {
        names.ANNOTATION_TEMPLATE: template_of(group),
        names.ANNOTATION_SYNCED_REPLICAS: str(group.replicas),
    }
    annotations = inherited(cluster.meta.annotations, group.template.annotations, ours)
    labels = inherited(cluster.meta.labels, group.template.labels, base)
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.GROUP),
        "metadata": object_metadata(name, cluster.meta, labels, annotations),
        "spec": {
            "cluster": cluster.meta.name,
            "worker": {"replicas": group.replicas, **worker(group)},
            **_strategy(group),
        },
    }


def _strategy(group: GroupSpec) -> Manifest:
    """Return what stands beside it only where somebody wants it: upstream knows no such field."""
    strategy = group.update_strategy
    return {} if strategy is UpdateStrategy.ON_DELETE else {"updateStrategy": str(strategy)}


def template_of(group: GroupSpec) -> str:
    """Return what tells apart all that a group follows its cluster in, but for the count."""
    return fingerprint([group.template.fingerprint, group.update_strategy])


def worker(group: GroupSpec) -> Manifest:
    """Return the part of a group's ``spec.worker`` that follows the cluster's, as it lives on."""
    template: Manifest = {"spec": copy.deepcopy(group.template.spec)}
    main = group.template.annotations.get(names.ANNOTATION_DEFAULT_CONTAINER)
    if main:
        # It speaks of the pods, and what is private to the group would not reach them.
        template["metadata"] = {"annotations": {names.ANNOTATION_DEFAULT_CONTAINER: main}}
    return template
