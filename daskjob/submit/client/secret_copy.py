"""The Secret of a job's variables, copied for a new job: the old one is deleted with its job."""

from __future__ import annotations

from daskjob.core.errors import Forbidden, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, metadata
from daskjob.kube.api import Api
from daskjob.kube.objects import get_object
from daskjob.kube.resources import SECRETS
from daskjob.submit.cluster_job.variables import env_secret_name
from daskjob.submit.records.completeness import Incomplete, own_secret, use_secret


async def own_copy(api: Api, old: Manifest, new: Manifest) -> Manifest | None:
    """Return the Secret for a new job, and let that use it, in place; ``None``: it needs none.

    Raises
    ------
    Incomplete
        The Secret of the old job is gone, or this user must not read it.
    """
    name = own_secret(old)
    if not name:
        return None
    mine = env_secret_name(str(metadata(new)["name"]))
    use_secret(new, name, mine)
    namespace = str(metadata(old).get("namespace") or metadata(new)["namespace"])
    try:
        found = await get_object(api, ObjectRef(SECRETS.kind, namespace, name))
    except (NotFound, Forbidden) as error:
        reason = "is gone" if isinstance(error, NotFound) else f"cannot be read: {error}"
        raise Incomplete(
            f"{metadata(old)['name']} has its variables in the Secret {name}, which {reason}; give "
            f"them again: daskjob submit --like {metadata(old)['name']} --env-file FILE"
        ) from error
    kept: Manifest = {key: found[key] for key in ("type", "data") if key in found}
    return {"apiVersion": "v1", "kind": SECRETS.kind, "metadata": {"name": mine}, **kept}
