"""Resources of containers, and the limits of Dask that must agree with them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from daskjob.core.manifests import Manifest, mapping
from daskjob.core.quantity import parse_bytes
from daskjob.submit.cluster_job.parts import Part, Role
from daskjob.submit.settings.kinds import whole_cpus
from daskjob.submit.settings.sources import WrongSettings
from daskjob.submit.settings.table import Settings, WorkerSettings

AnySettings = TypeVar("AnySettings", bound=WorkerSettings)

#: What a worker's pod needs beside the worker: its nanny and the resource tracker have 75 MiB. The
#: nanny restarts a worker at 95 % of Dask's limit, before the kernel ends the container.
BESIDE_WORKER = 128 * 2**20
#: CPUs of a script and of a scheduler: they wait most of the time, and use more for short times.
_SMALL = {"requests": "500m", "limits": "2"}
_WORKER_COMMAND = "dask worker"
_SHELL_CHARACTERS = ";|&<>"


def completed(settings: AnySettings, cpu: str | None = None) -> AnySettings:
    """Return settings in which threads and CPUs of the workers agree."""
    if settings.threads and not settings.cpu:
        return replace(settings, cpu=str(settings.threads))
    cpu = settings.cpu or cpu
    if cpu and not settings.threads:
        return replace(settings, cpu=cpu, threads=whole_cpus(cpu))
    return settings


def add_resources(part: Part, settings: Settings, *, complete: bool) -> None:
    """Set the resources of a part's main container, in place.

    ``complete``: a container without any gets defaults.
    """
    cpu, memory, gpu = {
        Role.WORKER: (settings.cpu, settings.memory, settings.gpu),
        Role.RUNNER: (settings.runner_cpu, settings.runner_memory, settings.runner_gpu),
        Role.SCHEDULER: (settings.scheduler_cpu, settings.scheduler_memory, None),
    }[part.role]
    found = mapping(part.container.get("resources"))
    for kind in ("requests", "limits"):
        values = dict(mapping(found.get(kind)))
        default = _SMALL[kind] if complete else None
        wanted = {"cpu": cpu or default, "memory": memory}
        values |= {name: value for name, value in wanted.items() if value}
        if gpu is not None:
            values |= {settings.gpu_resource or "nvidia.com/gpu": str(gpu)}
            values = {name: value for name, value in values.items() if value != "0"}
        if values:
            found = {**found, kind: values}
    if found:
        part.container["resources"] = found


def add_worker_command(part: Part, settings: Settings) -> None:
    """Set the command of the workers, with the threads and the memory that they may use.

    Raises
    ------
    WrongSettings
        The workers of a manifest run a command whose options are not Dask's.
    """
    container = part.container
    key = "command" if container.get("command") else "args"
    words = [str(word) for word in container.get(key) or []]
    if settings.worker_command:
        words = _words(settings.worker_command)
        container.pop("command", None)
        key = "args"
    options = _options(words, settings)
    if settings.worker_command and not _is_worker(words):
        options = {}  # its own options are part of it
    if options and not _is_worker(words):
        command = " ".join(words) or "their image's command"
        raise WrongSettings(
            f"{', '.join(options)} cannot be set: the workers run {command}, not 'dask worker'; "
            "set it in their command"
        )
    for name, value in options.items():
        words = _with_option(words, name, value)
    if words:
        container[key] = words


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WrongSettings(f"--worker-command {command!r}: {error}") from error
    if any(character in command for character in _SHELL_CHARACTERS):
        raise WrongSettings(
            f"--worker-command {command!r}: no shell reads it; write sh -c '…' for one"
        )
    return [word.replace("$", "$$") for word in words]


def _is_worker(words: Sequence[str]) -> bool:
    return " ".join(words).startswith(
        (_WORKER_COMMAND, "dask-worker", "dask cuda worker", "dask-cuda-worker")
    )


def _options(words: Sequence[str], settings: Settings) -> dict[str, str]:
    found: dict[str, str] = {}
    if settings.threads:
        found["--nthreads"] = str(settings.threads)
    if settings.memory:
        each = settings.gpu if settings.gpu and "cuda" in " ".join(words[:2]) else 1
        found["--memory-limit"] = dask_limit(settings.memory, each)
    return found


def dask_limit(memory: str, workers: int = 1) -> str:
    """Return Dask's own limit of a worker whose container has this memory."""
    size = (parse_bytes(memory) - BESIDE_WORKER) // max(workers, 1)
    return f"{size // 2**20}MiB" if size % 2**20 == 0 else str(size)


def _with_option(words: Sequence[str], name: str, value: str) -> list[str]:
    """Return a command with an option, in the place of an older one."""
    for index, word in enumerate(words):
        if word == name:
            return [*words[: index + 1], value, *words[index + 2 :]]
        if word.startswith(f"{name}="):
            return [*words[:index], f"{name}={value}", *words[index + 1 :]]
    return [*words, name, value]


def add_count(group: Manifest, settings: WorkerSettings) -> None:
    """Set the number of workers of a group, or its bounds, in place."""
    if settings.adapt:
        bounds = settings.adapt
        group["autoscaling"] = {"minimum": bounds.minimum, "maximum": bounds.maximum}
        group["replicas"] = bounds.minimum if settings.workers is None else settings.workers
    elif settings.workers is not None:
        group["replicas"] = settings.workers
        group.pop("autoscaling", None)
