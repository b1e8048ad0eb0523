"""What an object is freed of, or given, before anything is decided about it. No I/O here.

It is one patch, and nothing else happens in its pass: a list is replaced as a whole, so the patch
holds only for the object as it was seen (its ``resourceVersion``), which any other write changes.
"""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.decision import Patch
from daskjob.core.desired.metadata import membership_reference
from daskjob.core.manifests import Manifest
from daskjob.core.observed import (
    Observed,
    ObservedAutoscaler,
    ObservedGroup,
    ObservedJob,
)
from daskjob.core.spec import DaskCluster


def adoption_patch(observed: Observed) -> Patch | None:
    """Return the patch that an object needs before all else; ``None`` where it needs none."""
    if isinstance(observed, ObservedJob) and observed.job.managed_by != names.MANAGED_BY:
        return None
    meta = observed.meta
    body: Manifest = {}
    kept = [finalizer for finalizer in meta.finalizers if finalizer != names.LEGACY_FINALIZER]
    if len(kept) < len(meta.finalizers):
        # Its operator is gone, and without it the object, and its namespace, would never go.
        body["finalizers"] = kept or None
    joined = _joined(observed)
    if joined is not None:
        body["ownerReferences"] = [*meta.owner_references, membership_reference(joined.meta)]
    if not body:
        return None
    return Patch(meta.ref, {"metadata": {**body, "resourceVersion": meta.resource_version}})


def _joined(observed: Observed) -> DaskCluster | None:
    """Return the cluster with which an object that a user made is to go, and does not yet.

    One that refers to a cluster of this name has joined it, or one that is gone: then garbage
    collection is about to remove it, and must not be kept from that.
    """
    if not isinstance(observed, ObservedGroup | ObservedAutoscaler):
        return None
    cluster, meta = observed.cluster, observed.meta
    if cluster is None or cluster.meta.deleting or meta.deleting or observed.unmanaged:
        return None
    clusters = [o for o in meta.owner_references if o.get("kind") == names.Kind.CLUSTER]
    taken = any(o.get("controller") or o.get("name") == cluster.meta.name for o in clusters)
    return None if taken else cluster
