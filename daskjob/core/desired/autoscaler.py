"""The DaskAutoscaler of one of a cluster's groups."""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.manifests import Manifest
from daskjob.core.spec import Autoscaling, DaskCluster, GroupSpec


def autoscaler(cluster: DaskCluster, group: GroupSpec, bounds: Autoscaling) -> Manifest:
    """Return the DaskAutoscaler for ``autoscaling`` in a cluster's spec."""
    base = {names.LABEL_CLUSTER_NAME: names.label_value(cluster.meta.name)}
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.AUTOSCALER),
        "metadata": object_metadata(
            names.autoscaler_name(cluster.meta.name, group.name),
            cluster.meta,
            inherited(cluster.meta.labels, base),
            inherited(cluster.meta.annotations, {}),
        ),
        "spec": {
            "cluster": cluster.meta.name,
            "workerGroup": names.group_name(cluster.meta.name, group.name),
            **bounds_of(bounds),
        },
    }


def bounds_of(bounds: Autoscaling) -> Manifest:
    """Return the part of its spec that is kept in sync with the cluster's."""
    return {
        "minimum": bounds.minimum,
        "maximum": bounds.maximum,
        "scaleDownDelaySeconds": bounds.scale_down_delay_seconds,
    }
