"""A DaskWorkerGroup of a cluster."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.manifests import Manifest, fingerprint
from daskjob.core.spec import DaskCluster, GroupSpec, UpdateStrategy


def worker_group(cluster: DaskCluster, group: GroupSpec) -> Manifest:
    """Return the DaskWorkerGroup for a group in a cluster's spec."""
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
    """Return ``updateStrategy`` if it is not the default: upstream does not have the field."""
    strategy = group.update_strategy
    return {} if strategy is UpdateStrategy.ON_DELETE else {"updateStrategy": str(strategy)}


def template_of(group: GroupSpec) -> str:
    """Return the fingerprint of all that a group takes from its cluster, except the count."""
    return fingerprint([group.template.fingerprint, group.update_strategy])


def worker(group: GroupSpec) -> Manifest:
    """Return the part of a group's ``spec.worker`` that is kept in sync with the cluster's."""
    template: Manifest = {"spec": copy.deepcopy(group.template.spec)}
    main = group.template.annotations.get(names.ANNOTATION_DEFAULT_CONTAINER)
    if main:
        # It is for the pods, which do not inherit private annotations of the group.
        template["metadata"] = {"annotations": {names.ANNOTATION_DEFAULT_CONTAINER: main}}
    return template
