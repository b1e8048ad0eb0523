"""What to do about an image that cannot be pulled, from the message of the container runtime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from daskjob.core.wording import OF_MANIFESTS, Words

_IMAGE = re.compile(r'image "(?P<image>[^"\s]+)"')
#: The last part of a message may be this, and nothing else.
_BACK_OFF = re.compile(r'(.*: )?Back-off pulling image "[^"]+"\.?')
_DENIED = re.compile(
    r"\b(401|403)\b|unauthorized|denied|authoriz|no basic auth|authentication", re.IGNORECASE
)
_UNKNOWN = re.compile(
    r"not ?found|manifest unknown|does not exist|ErrImageNeverPull", re.IGNORECASE
)


class Cause(Enum):
    """Why it cannot be pulled."""

    DENIED = auto()
    UNKNOWN = auto()
    #: The registry does not respond, or fails.
    UNREACHABLE = auto()
    #: An older kubelet does not repeat the error between two tries.
    NOT_SAID = auto()


@dataclass(frozen=True, slots=True)
class ImageAdvice:
    """The cause, and the next step without its full stop."""

    cause: Cause
    host: str
    step: str


def image_advice(message: str, words: Words = OF_MANIFESTS) -> ImageAdvice:
    """Return the advice about the image that a message names."""
    found = _IMAGE.search(message)
    image = found["image"] if found else "the image"
    first = image.split("/")[0]
    host = first if "/" in image and "." in first else "docker.io"
    if _DENIED.search(message):
        how = "name it in imagePullSecrets of the pod specs"
        if words.is_script:
            how = "submit it with --image-pull-secret"
        return ImageAdvice(Cause.DENIED, host, f"Create a pull secret for {host}, and {how}")
    if _UNKNOWN.search(message):
        step = f"Correct the name or the tag of {image}, or push it"
        return ImageAdvice(Cause.UNKNOWN, host, step)
    if not message or _BACK_OFF.fullmatch(message):
        step = f"Check the name of {image} and the imagePullSecrets"
        return ImageAdvice(Cause.NOT_SAID, host, step)
    return ImageAdvice(Cause.UNREACHABLE, host, f"Check that the nodes reach {host}")
