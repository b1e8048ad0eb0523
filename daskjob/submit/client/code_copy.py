"""The code of a job, copied for a new job: the old one's is deleted with it."""

from __future__ import annotations

from daskjob.core.errors import Forbidden, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mapping, metadata
from daskjob.kube.api import Api
from daskjob.kube.objects import get_object
from daskjob.submit.again import copied_name, own_code
from daskjob.submit.cluster_job.archive import PART_KEY, part_config_map
from daskjob.submit.records.completeness import Incomplete, lost_code


async def code_of(api: Api, job: Manifest, namespace: str) -> list[Manifest]:
    """Return the ConfigMaps with the code that belongs to a job.

    Raises
    ------
    Incomplete
        One of them is gone, or this user must not read it.
    """
    found = []
    for name in own_code(job):
        try:
            part = await get_object(api, ObjectRef("ConfigMap", namespace, name))
        except (NotFound, Forbidden) as error:
            reason = "is gone" if isinstance(error, NotFound) else f"cannot be read: {error}"
            raise Incomplete(lost_code(job, f"in the ConfigMap {name}, which {reason}")) from error
        found.append(part)
    return found


def copied_code(parts: list[Manifest], old: str, new: str) -> list[Manifest]:
    """Return the ConfigMaps with the code of the job ``old`` as those of the job ``new``."""
    return [
        part_config_map(
            new,
            copied_name(str(metadata(part)["name"]), old, new),
            str(mapping(part.get("binaryData")).get(PART_KEY) or ""),
        )
        for part in parts
    ]
