"""What the command of a worker's pod says of the workers in it. No I/O here."""

from __future__ import annotations

import math

from daskjob.core.manifests import whole_number
from daskjob.core.spec.pod import PodTemplate


def threads(template: PodTemplate) -> int:
    """Return the threads of one worker (``--nthreads``); 1 where it does not say."""
    return _number(template, "--nthreads")


def workers_per_pod(template: PodTemplate) -> int:
    """Return how many workers a pod starts (``--nworkers``, once ``--nprocs``); 1 if unsaid."""
    return max(_number(template, "--nworkers"), _number(template, "--nprocs"), 1)


def resources(template: PodTemplate) -> dict[str, float]:
    """Return Dask's resources of one worker from ``--resources "GPU=1,MEMORY=32e9"``."""
    found: dict[str, float] = {}
    for part in _text(template, "--resources").replace(",", " ").split():
        key, _, amount = part.partition("=")
        try:
            number = float(amount)
        except ValueError:
            continue
        if math.isfinite(number):
            found[key] = number
    return found


def _words(template: PodTemplate) -> list[str]:
    """Return the words of all containers; what is no list of strings is somebody else's mistake."""
    lists = [c.get(key) for c in template.containers for key in ("command", "args")]
    return [w for words in lists if isinstance(words, list) for w in words if isinstance(w, str)]


def _number(template: PodTemplate, name: str) -> int:
    number = whole_number(_text(template, name))
    return 1 if number is None else number


def _text(template: PodTemplate, name: str) -> str:
    words = _words(template)
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == name:
            return following
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return ""
