"""The namespace: whether it exists, and its Pod Security level."""

from __future__ import annotations

from daskjob.core.errors import Forbidden
from daskjob.core.manifests import mapping, metadata
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped
from daskjob.submit.installing.cluster_objects import ObjectId

NAMESPACE, SECURITY = "namespace", "Pod Security"
_LABEL = "pod-security.kubernetes.io/enforce"


async def namespace_policy(ground: Ground) -> Finding:
    """Check the namespace."""
    one = ObjectId("v1", "Namespace", "", ground.namespace)
    try:
        found = await ground.objects.get(one)
    except Forbidden:
        return skipped(SECURITY, "this user may not read the namespace")
    if found is None:
        fix = f"kubectl create namespace {ground.namespace}"
        return failed(NAMESPACE, f"{ground.namespace} does not exist", fix)
    if metadata(found).get("deletionTimestamp"):
        return failed(NAMESPACE, f"{ground.namespace} is being deleted", "name another one: -n")
    level = mapping(metadata(found).get("labels")).get(_LABEL, "")
    if not level:
        return ok(SECURITY, f"{ground.namespace} enforces no level")
    return ok(
        SECURITY,
        f"{ground.namespace} enforces {level}; what daskjob makes of a script meets restricted, a "
        "manifest must do so itself",
    )
