"""The images that the pods of a job run, by digest, as far as the pods exist."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.core import names
from daskjob.core.manifests import Manifest, controller_uid, mapping, mappings, metadata
from daskjob.core.spec import DaskJob, read
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import PODS, Selection
from daskjob.submit.jobs import PodImage


async def pod_images(api: Api, job: Manifest) -> tuple[PodImage, ...]:
    """Return the image of each pod of a job that has started one."""
    cluster = read(DaskJob, job)[0].cluster_name
    labels = f"{names.LABEL_CLUSTER_NAME}={names.label_value(cluster)}"
    meta = metadata(job)
    found = await list_objects(api, Selection(PODS, str(meta["namespace"]), labels=labels))
    return images_of(found.items, str(meta["name"]), str(meta["uid"]))


def images_of(pods: Iterable[Manifest], job: str, uid: str) -> tuple[PodImage, ...]:
    """Return the image of each pod that has started one; not of the runner of another job."""
    images = (_image(pod, job, uid) for pod in pods)
    return tuple(image for image in images if image is not None)


def _image(pod: Manifest, job: str, uid: str) -> PodImage | None:
    statuses = mappings(mapping(pod.get("status")).get("containerStatuses"))
    image_id = _with_digest(statuses[0]) if statuses else ""
    labels = mapping(metadata(pod).get("labels"))
    role, attempt = str(labels.get(names.LABEL_COMPONENT) or ""), None
    if role == names.Component.RUNNER:
        if controller_uid(pod) != uid:
            return None
        role, attempt = "runner", names.attempt_of(job, str(metadata(pod)["name"]))
    elif role == names.Component.WORKER:
        group = labels.get(names.LABEL_WORKERGROUP_NAME)
        is_default = group is None or str(group).endswith(f"-{names.DEFAULT_GROUP}")
        role = "worker" if is_default else f"group-{group}"
    return PodImage(role, attempt, image_id) if image_id and role else None


def _with_digest(container: Manifest) -> str:
    """Return an image by its digest; empty before its container has started."""
    digest, image = str(container.get("imageID") or ""), str(container.get("image") or "")
    # Some runtimes name the digest without the image that it is of.
    return f"{image} {digest}" if digest.startswith("sha256:") else digest
