"""Image volumes, which may hold the code of a job: where they exist, and how a lack of them shows.

An API server that does not know them, or whose feature gate is off, accepts a pod and drops its
image volumes without a word. Nodes that do not know them start no container.
"""

from __future__ import annotations

import re

from daskjob.core import names
from daskjob.core.manifests import Manifest, mapping, mappings

#: What they need, and the way out.
NEEDS = (
    "Image volumes need Kubernetes 1.35, or 1.33 with the feature gate ImageVolume, and containerd "
    "2.1 or CRI-O 1.31 on the nodes. Send the code in another way, or build it into the image"
)
#: In the messages of a kubelet whose feature gate is off, and of containerd and CRI-O without them.
_LACKING = ("no volume plugin matched", 'mkdir "": mkdir :', "mount.HostPath is empty")
#: What a runtime adds to the name of an image.
_WRITTEN = r'"(docker\.io/(library/)?)?{}(:latest)?"'


def image_volumes(pod_spec: Manifest) -> tuple[tuple[str, str], ...]:
    """Return the names and the images of the image volumes of a PodSpec."""
    found = ((v.get("name"), mapping(v.get("image"))) for v in mappings(pod_spec.get("volumes")))
    return tuple((str(name), str(image.get("reference") or "")) for name, image in found if image)


def lacks_image_volumes(message: str) -> bool:
    """Return whether a node's message about a pod with an image volume means that it has none."""
    return any(part in message for part in _LACKING)


def volume_of_image(message: str, volumes: tuple[tuple[str, str], ...]) -> str:
    """Return what to call the image volume that a message is about; empty: it is about none."""
    for name, image in volumes:
        if image and re.search(_WRITTEN.format(re.escape(image)), message):
            return "the code" if name == names.CODE_VOLUME else f"volume {name}"
    return ""
