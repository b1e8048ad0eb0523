"""Images that cannot be pulled: unknown, not allowed, or out of reach."""

from __future__ import annotations

import re

from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_IMAGE = re.compile(r'image "(?P<image>[^"\s]+)"')
_POD = re.compile(r"in pod (?P<pod>\S+) ")
_DENIED = re.compile(
    r"\b(401|403)\b|unauthorized|denied|authoriz|no basic auth|authentication", re.IGNORECASE
)
_UNKNOWN = re.compile(
    r"not ?found|manifest unknown|does not exist|ErrImageNeverPull", re.IGNORECASE
)


def image_not_pulled(about: About) -> Advice | None:
    """Return the advice about an image that a node cannot pull."""
    text = about.message
    if not about.waits_for(Reason.IMAGE_PULL) or "cannot be pulled" not in text:
        return None
    found, pod = _IMAGE.search(text), _POD.search(text)
    image = found["image"] if found else "the image"
    host = image.split("/")[0] if "/" in image and "." in image.split("/")[0] else "docker.io"
    if _DENIED.search(text):
        secret = (
            f"create secret docker-registry pull-secret --docker-server={host} "
            "--docker-username=USER --docker-password=PASSWORD"
        )
        step = f"Create a pull secret for {host}, and name it in imagePullSecrets of the pod specs:"
        if about.words.is_script:
            step = f"Create a pull secret for {host}, and submit it with --image-pull-secret:"
        return Advice(step, about.kubectl(secret))
    if _UNKNOWN.search(text):
        step = f"Correct the name or the tag of {image}, or push it. The job's images:"
        return Advice(step, images_command(about))
    step = f"Check that the nodes reach {host}:"
    return Advice(step, about.kubectl(f"describe pod {pod['pod'] if pod else about.runner_pod}"))


def images_command(about: About) -> str:
    """Return the command that prints the images of a job."""
    return about.kubectl(f"get daskjob {about.name} -o jsonpath='{{..image}}'")
