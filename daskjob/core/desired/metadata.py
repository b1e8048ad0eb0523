"""Labels, annotations and owners of what is built. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping

from daskjob.core import names
from daskjob.core.manifests import Manifest
from daskjob.core.spec.meta import Meta


def inherited(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return labels or annotations merged: later layers win (top level ≤ subresource ≤ base).

    What is private to an object stays there (design §2.2): only the last layer, which is ours,
    may set such a key.
    """
    merged: dict[str, str] = {}
    for layer in layers[:-1]:
        merged |= {key: value for key, value in layer.items() if not names.is_private(key)}
    return merged | dict(layers[-1])


def owner_reference(owner: Meta) -> Manifest:
    """Return the controller reference that makes garbage collection remove a child.

    ``blockOwnerDeletion`` is false: true needs rights on finalizers where the admission plugin
    OwnerReferencesPermissionEnforcement is on, as on OpenShift.
    """
    return {
        "apiVersion": names.API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def membership_reference(cluster: Meta) -> Manifest:
    """Return the reference by which a group that a user made goes with its cluster.

    No controller: it stays the user's, and whoever controls it already does so still.
    """
    return {**owner_reference(cluster), "controller": False}


def object_metadata(
    name: str, owner: Meta, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Manifest:
    """Return the metadata of a child of ours."""
    metadata: Manifest = {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(labels),
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata
