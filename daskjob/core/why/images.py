"""Images that cannot be pulled: unknown, not allowed, or out of reach."""

from __future__ import annotations

import re

from daskjob.core.advice import split_step
from daskjob.core.image_advice import Cause, image_advice
from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_POD = re.compile(r"in pod (?P<pod>\S+) ")


def image_not_pulled(about: About) -> Advice | None:
    """Return the advice about an image that a node cannot pull."""
    text = about.message
    if not about.waits_for(Reason.IMAGE_PULL) or "cannot be pulled" not in text:
        return None
    # Without the step of the message, which names registries, too.
    advice, pod = image_advice(split_step(text)[0], about.words), _POD.search(text)
    match advice.cause:
        case Cause.DENIED:
            secret = (
                f"create secret docker-registry pull-secret --docker-server={advice.host} "
                "--docker-username=USER --docker-password=PASSWORD"
            )
            return Advice(f"{advice.step}:", about.kubectl(secret))
        case Cause.UNKNOWN:
            return Advice(f"{advice.step}. The job's images:", images_command(about))
        case Cause.UNREACHABLE | Cause.NOT_SAID:
            name = pod["pod"] if pod else about.runner_pod
            return Advice(f"{advice.step}:", about.kubectl(f"describe pod {name}"))


def images_command(about: About) -> str:
    """Return the command that prints the images of a job."""
    return about.kubectl(f"get daskjob {about.name} -o jsonpath='{{..image}}'")
