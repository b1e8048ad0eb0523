"""The images that the pods of a job run: what a tag stood for when they started."""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.core import names
from daskjob.core.manifests import Manifest, controller_uid, mapping, mappings, metadata


def images_of(pods: Iterable[Manifest], job_uid: str) -> dict[str, str]:
    """Return the images with their digests by component; several of one are separated by commas.

    The runner of another job on the same cluster is left out.
    """
    found: dict[str, set[str]] = {}
    for pod in pods:
        component = str(mapping(metadata(pod).get("labels")).get(names.LABEL_COMPONENT, ""))
        if component == names.Component.RUNNER and controller_uid(pod) != job_uid:
            continue
        for container in mappings(mapping(pod.get("status")).get("containerStatuses")):
            if image := _image(container):
                found.setdefault(component.removeprefix("job-"), set()).add(image)
    return {component: ", ".join(sorted(images)) for component, images in sorted(found.items())}


def _image(container: Manifest) -> str:
    """Return an image by its digest; empty before its container has started."""
    digest, image = str(container.get("imageID") or ""), str(container.get("image") or "")
    # Some runtimes name the digest without the image that it is of.
    return f"{image} {digest}" if digest.startswith("sha256:") else digest
