"""The workers of a pod, as its command line configures them."""

from __future__ import annotations

import math
import re

from daskjob.core.command_line import option, words
from daskjob.core.manifests import Manifest, mapping, whole_number
from daskjob.core.quantity import parse_bytes
from daskjob.core.spec.pod import PodTemplate

#: The resource name of the GPUs for which dask-cuda starts workers.
GPU = "nvidia.com/gpu"

_CUDA_WORKER = re.compile(r"\bdask(-cuda-| cuda )worker\b")


def threads(template: PodTemplate) -> int:
    """Return the threads of one worker (``--nthreads``, by default 1)."""
    return _number(template, "--nthreads")


def workers_per_pod(template: PodTemplate) -> int:
    """Return the number of workers that a pod starts (``--nworkers``, formerly ``--nprocs``).

    The default is 1. ``dask cuda worker`` starts one worker for each GPU of its container's limits.
    """
    gpus = sum(_gpus(container) for container in template.containers)
    return max(_number(template, "--nworkers"), _number(template, "--nprocs"), gpus, 1)


def resources(template: PodTemplate) -> dict[str, float]:
    """Return one worker's Dask resources, from ``--resources "GPU=1,MEMORY=32e9"``."""
    found: dict[str, float] = {}
    for part in _option(template, "--resources").replace(",", " ").split():
        key, _, amount = part.partition("=")
        try:
            number = float(amount)
        except ValueError:
            continue
        if math.isfinite(number):
            found[key] = number
    return found


def memory_limit_bytes(template: PodTemplate) -> int:
    """Return the memory limit of one worker: ``--memory-limit``, or its container's; 0: unknown.

    Workers of a script have the former; a share of the machine's memory is no number of bytes.
    """
    container = template.containers[0] if template.containers else {}
    limits = mapping(mapping(container.get("resources")).get("limits"))
    for text in (_option(template, "--memory-limit"), str(limits.get("memory") or "")):
        try:
            if text and float(parse_bytes(text)) > 1:
                return parse_bytes(text)
        except ValueError:
            continue
    return 0


def _gpus(container: Manifest) -> int:
    """Return how many GPU workers a dask-cuda container starts; 0 for other containers."""
    if not _CUDA_WORKER.search(" ".join(words(container))):
        return 0
    limits = mapping(mapping(container.get("resources")).get("limits"))
    return whole_number(str(limits.get(GPU))) or 0


def _number(template: PodTemplate, name: str) -> int:
    number = whole_number(_option(template, name))
    return 1 if number is None else number


def _option(template: PodTemplate, name: str) -> str:
    """Return the value of an option in the first container that sets it."""
    found = (option(words(container), name) for container in template.containers)
    return next(filter(None, found), "")
