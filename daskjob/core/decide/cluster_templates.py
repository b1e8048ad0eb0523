"""The templates of a cluster's groups, which follow the cluster's own while it exists.

A group records in an annotation which template of its cluster it has: a change of the group itself,
by a user or a webhook, is kept until the cluster's template changes.
"""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.decision import Patch
from daskjob.core.desired.group import template_of, worker
from daskjob.core.manifests import merge_patch
from daskjob.core.observed import GroupOfCluster, ObservedCluster
from daskjob.core.spec import GroupSpec


def template_patches(observed: ObservedCluster) -> list[Patch]:
    """Return the patches that bring existing groups in line with the cluster's templates."""
    if observed.mistakes or observed.cluster.deletes_workers:
        return []
    name = observed.cluster.meta.name
    wanted = {
        names.group_name(name, group.name): group for group in observed.cluster.spec.all_groups
    }
    return [
        _patch(found, spec)
        for found in observed.groups
        if (spec := wanted.get(found.ref.name)) is not None
        and not found.deleting
        # One without the annotation is dask-kubernetes' or a user's: it is not changed.
        and found.template not in ("", template_of(spec))
    ]


def _patch(found: GroupOfCluster, spec: GroupSpec) -> Patch:
    now = {"spec": found.worker.get("spec"), "metadata": found.worker.get("metadata")}
    return Patch(
        found.ref,
        {
            "metadata": {
                "labels": dict(spec.template.labels),
                "annotations": {
                    **{
                        k: v
                        for k, v in spec.template.annotations.items()
                        if not names.is_private(k)
                    },
                    names.ANNOTATION_TEMPLATE: template_of(spec),
                },
            },
            "spec": {
                "worker": merge_patch(now, {"metadata": None, **worker(spec)}),
                "updateStrategy": str(spec.update_strategy),
            },
        },
    )
