"""The autoscalers of a cluster's spec: which to create, to patch and to delete.

While a group of the cluster's spec has ``autoscaling``, the cluster owns those fields of the
autoscaler; a user's change to other fields, such as ``maximumStep``, is kept.
"""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.decision import Patch
from daskjob.core.desired.autoscaler import autoscaler, bounds_of
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.observed import ObservedCluster
from daskjob.core.spec import Autoscaling


def missing_autoscalers(observed: ObservedCluster) -> list[Manifest]:
    """Return the autoscalers to create."""
    cluster, wanted = observed.cluster, _wanted(observed)
    existing = {found.meta.name for found in observed.autoscalers}
    return [
        autoscaler(cluster, group, wanted[name])
        for group in cluster.spec.all_groups
        if (name := names.autoscaler_name(cluster.meta.name, group.name)) in wanted
        and name not in existing
    ]


def superfluous_autoscalers(observed: ObservedCluster) -> list[ObjectRef]:
    """Return the autoscalers no longer in the spec; their groups keep their size."""
    wanted = _wanted(observed)
    return [
        found.meta.ref
        for found in observed.autoscalers
        if found.meta.name not in wanted and not found.meta.deleting and not observed.mistakes
    ]


def autoscaler_patches(observed: ObservedCluster) -> list[Patch]:
    """Return the patches that bring existing autoscalers in line with the cluster's spec."""
    wanted = _wanted(observed)
    return [
        Patch(found.meta.ref, {"spec": bounds_of(bounds)})
        for found in observed.autoscalers
        if (bounds := wanted.get(found.meta.name)) is not None
        and not found.meta.deleting
        and bounds != Autoscaling(found.minimum, found.maximum, found.scale_down_delay_seconds)
    ]


def _wanted(observed: ObservedCluster) -> dict[str, Autoscaling]:
    """Return the bounds of each autoscaled group, by the autoscaler's name."""
    cluster = observed.cluster
    if observed.mistakes or cluster.deletes_workers:
        return {}
    return {
        names.autoscaler_name(cluster.meta.name, group.name): group.autoscaling
        for group in cluster.spec.all_groups
        if group.autoscaling is not None
    }
