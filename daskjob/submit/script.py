"""A script as a DaskJob manifest, for this machine or for a cluster. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daskjob.core import names
from daskjob.core.manifests import Manifest

#: Seconds between SIGTERM and SIGKILL for a script that is cancelled.
GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a retry: doubled from one to the next."""

    initial_seconds: int
    max_seconds: int


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """How a script is to be run; ``None`` leaves it to the default of DaskJobs."""

    workers: int
    threads: int
    #: Memory of one worker as Dask reads it; ``None``: what Dask finds where it runs.
    memory: str | None = None
    name: str = ""
    retries: int = 0
    timeout_seconds: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    #: What is put on the PYTHONPATH of workers, and of the scheduler, which unpickles graphs: the
    #: script's folder, as Python does for the script.
    python_path: str = ""
    #: The image of the runner, the scheduler and the workers; empty where none is pulled.
    image: str = ""
    backoff: Backoff | None = None
    #: How many infrastructure failures are retried without being counted.
    max_ignored: int | None = None


def script_job(command: Sequence[str], options: ScriptOptions, label: str) -> Manifest:
    """Return the DaskJob that runs a command against a cluster of its own.

    ``label`` names the job where the options do not; it may be any text.
    """
    generated = {"generateName": names.generated_prefix(label)}
    metadata = {"name": options.name} if options.name else generated
    env = [{"name": name, "value": _literal(value)} for name, value in options.env.items()]
    path = []
    if options.python_path and "PYTHONPATH" not in options.env:
        path = [{"name": "PYTHONPATH", "value": _literal(options.python_path)}]
    words = ["dask", "worker", "--nthreads", str(options.threads)]
    if options.memory:
        words += ["--memory-limit", options.memory]
    scheduler: Manifest = {"name": "scheduler", "args": ["dask", "scheduler"]}
    worker: Manifest = {"name": "worker", "args": words}
    runner: Manifest = {"name": "job-runner", "command": [_literal(word) for word in command]}
    for container, variables in ((scheduler, path), (worker, [*env, *path]), (runner, env)):
        container |= {"image": options.image} if options.image else {}
        container |= {"env": variables} if variables else {}
    spec: Manifest = {
        "backoffLimit": options.retries,
        "job": {
            "spec": {
                "restartPolicy": "OnFailure" if options.retries else "Never",
                "terminationGracePeriodSeconds": GRACE_SECONDS,
                "containers": [runner],
            }
        },
        "cluster": {
            "spec": {
                "scheduler": {"spec": {"containers": [scheduler]}},
                "worker": {
                    "replicas": options.workers,
                    "spec": {"containers": [worker]},
                },
            }
        },
    }
    if options.backoff:
        spec["backoff"] = {
            "initialSeconds": options.backoff.initial_seconds,
            "maxSeconds": options.backoff.max_seconds,
        }
    if options.max_ignored is not None:
        spec["failurePolicy"] = {"maxIgnored": options.max_ignored}
    if options.timeout_seconds:
        spec["activeDeadlineSeconds"] = options.timeout_seconds
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.JOB),
        "metadata": metadata,
        "spec": spec,
    }


def _literal(text: str) -> str:
    """Return a text that Kubernetes' ``$(VAR)`` expansion leaves as it is."""
    return text.replace("$", "$$")


def default_shape(cpus: int) -> tuple[int, int]:
    """Return workers and threads for a number of CPUs, as ``LocalCluster`` chooses them.

    Up to 4 CPUs a process each; above, about as many processes as threads in each.
    """
    if cpus <= 4:
        return max(cpus, 1), 1
    workers = next(n for n in range(1, cpus + 1) if n * n >= cpus and cpus % n == 0)
    return workers, cpus // workers
