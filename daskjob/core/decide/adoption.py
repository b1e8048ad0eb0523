"""The metadata that an object must lose, or get, before anything else is decided about it.

This is one patch, and the pass does nothing else. A merge patch replaces a list as a whole, so the
patch names the ``resourceVersion`` that was observed, and any other write makes it fail.
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
    """Return the patch that an object needs first; ``None`` if it needs none."""
    if isinstance(observed, ObservedJob) and observed.job.managed_by != names.MANAGED_BY:
        return None
    meta = observed.meta
    body: Manifest = {}
    kept = [finalizer for finalizer in meta.finalizers if finalizer != names.LEGACY_FINALIZER]
    if len(kept) < len(meta.finalizers):
        # The operator that would remove it is gone: the object and its namespace could never be
        # deleted.
        body["finalizers"] = kept or None
    joined = _joined(observed)
    if joined is not None:
        body["ownerReferences"] = [*meta.owner_references, membership_reference(joined.meta)]
    if not body:
        return None
    return Patch(meta.ref, {"metadata": {**body, "resourceVersion": meta.resource_version}})


def _joined(observed: Observed) -> DaskCluster | None:
    """Return the cluster that should own a user's object and does not yet; ``None`` if none.

    An object with an owner reference to a cluster of this name has joined that cluster, or one that
    is gone: then garbage collection will remove it, and a new owner would prevent that.
    """
    if not isinstance(observed, ObservedGroup | ObservedAutoscaler):
        return None
    cluster, meta = observed.cluster, observed.meta
    if cluster is None or cluster.meta.deleting or meta.deleting or observed.unmanaged:
        return None
    clusters = [o for o in meta.owner_references if o.get("kind") == names.Kind.CLUSTER]
    taken = any(o.get("controller") or o.get("name") == cluster.meta.name for o in clusters)
    return None if taken else cluster
