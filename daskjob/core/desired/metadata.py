"""Labels, annotations and owners of the objects that daskjob creates."""

from __future__ import annotations

from collections.abc import Mapping

from daskjob.core import names
from daskjob.core.manifests import Manifest
from daskjob.core.spec.meta import Meta


def inherited(*layers: Mapping[str, str]) -> dict[str, str]:
    """Return labels or annotations merged: later layers win (top level ≤ subresource ≤ base).

    Private keys of an object are not inherited (design §2.2): only the last layer, which is ours,
    may set them.
    """
    merged: dict[str, str] = {}
    for layer in layers[:-1]:
        merged |= {key: value for key, value in layer.items() if not names.is_private(key)}
    return merged | dict(layers[-1])


def owner_reference(owner: Meta) -> Manifest:
    """Return the controller reference with which garbage collection removes a child.

    ``blockOwnerDeletion`` is false: true needs permissions on finalizers if the admission plugin
    OwnerReferencesPermissionEnforcement is enabled, as on OpenShift.
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
    """Return the reference with which a user's group is deleted with its cluster.

    It is not a controller reference: the group stays the user's, and keeps any controller it has.
    """
    return {**owner_reference(cluster), "controller": False}


def object_metadata(
    name: str, owner: Meta, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Manifest:
    """Return the metadata of an object that daskjob creates."""
    metadata: Manifest = {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(labels),
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata
