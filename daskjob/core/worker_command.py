"""What the command of a worker's pod says of the workers in it. No I/O here."""

from __future__ import annotations

import math
import re

from daskjob.core.manifests import Manifest, whole_number
from daskjob.core.spec.pod import PodTemplate

#: Kubernetes' name, as a resource, of what dask-cuda makes a worker of.
GPU = "nvidia.com/gpu"

_CUDA_WORKER = re.compile(r"\bdask(-cuda-| cuda )worker\b")


def threads(template: PodTemplate) -> int:
    """Return the threads of one worker (``--nthreads``); 1 where it does not say."""
    return _number(template, "--nthreads")


def workers_per_pod(template: PodTemplate) -> int:
    """Return how many workers a pod starts (``--nworkers``, once ``--nprocs``); 1 if unsaid.

    ``dask cuda worker`` starts one for each GPU that it sees: those of its container's limits.
    """
    gpus = sum(_gpus(container) for container in template.containers)
    return max(_number(template, "--nworkers"), _number(template, "--nprocs"), gpus, 1)


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


def _gpus(container: Manifest) -> int:
    """Return of how many GPUs a container of dask-cuda is to make workers; 0 of any other."""
    if not _CUDA_WORKER.search(" ".join(_words_of(container))):
        return 0
    resources = container.get("resources")
    limits = resources.get("limits") if isinstance(resources, dict) else None
    return (whole_number(str(limits.get(GPU))) or 0) if isinstance(limits, dict) else 0


def _words(template: PodTemplate) -> list[str]:
    return [word for container in template.containers for word in _words_of(container)]


def _words_of(container: Manifest) -> list[str]:
    """Return a container's words; what is no list of strings is somebody else's mistake."""
    lists = [container.get(key) for key in ("command", "args")]
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
