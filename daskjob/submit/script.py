"""A script as a DaskJob manifest, for this machine or for a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daskjob.core import names
from daskjob.core.manifests import Manifest

#: Seconds between SIGTERM and SIGKILL when a script is cancelled.
GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before a retry; it doubles from one retry to the next."""

    initial_seconds: int
    max_seconds: int


@dataclass(frozen=True, slots=True)
class ScriptOptions:
    """How to run a script; ``None`` means the default of DaskJobs."""

    workers: int
    threads: int
    #: Memory limit of one worker in Dask's syntax; ``None``: Dask detects it.
    memory: str | None = None
    name: str = ""
    retries: int = 0
    timeout_seconds: int | None = None
    #: ``None``: the place has the value, which is not part of the manifest.
    env: Mapping[str, str | None] = field(default_factory=dict)
    #: PYTHONPATH of the workers, and of the scheduler, which unpickles graphs: the script's folder,
    #: which Python itself adds for the script.
    python_path: str = ""
    #: Whether the script gets this path too.
    path_for_script: bool = False
    #: Otherwise the script's PYTHONPATH; empty: what it inherits.
    script_path: str = ""
    #: The working directory of all containers; empty for the default.
    folder: str = ""
    #: The image of the runner, the scheduler and the workers; empty if none is pulled.
    image: str = ""
    backoff: Backoff | None = None
    #: The number of infrastructure failures that are retried without being counted.
    max_ignored: int | None = None
    #: Which of workers, threads and memory the script itself may set (``Client(n_workers=3)``);
    #: ``None``: the job runs where no script can.
    open_to_script: tuple[str, ...] | None = None


def script_job(command: Sequence[str], options: ScriptOptions, label: str) -> Manifest:
    """Return the DaskJob that runs a command against a cluster of its own.

    ``label`` names the job if the options do not; it may be any text.
    """
    generated = {"generateName": names.generated_prefix(label)}
    metadata: Manifest = {"name": options.name} if options.name else generated
    annotations = {names.ANNOTATION_SCRIPT: "true"}
    if options.open_to_script is not None:
        annotations[names.ANNOTATION_OPEN_TO_SCRIPT] = ",".join(options.open_to_script)
    metadata = {**metadata, "annotations": annotations}
    env = [variable(name, value) for name, value in options.env.items()]
    path = _path(options.python_path, env)
    worker_args = ["dask", "worker", "--nthreads", str(options.threads)]
    if options.memory:
        worker_args += ["--memory-limit", options.memory]
    scheduler: Manifest = {"name": "scheduler", "args": ["dask", "scheduler"]}
    worker: Manifest = {"name": "worker", "args": worker_args}
    runner: Manifest = {"name": "job-runner", "command": [_literal(word) for word in command]}
    runner_env = [*env, *(path if options.path_for_script else _path(options.script_path, env))]
    settings = [v for v in env if _is_setting_of_scheduler(str(v["name"]))]
    for container, variables in (
        (scheduler, [*settings, *path]),
        (worker, [*env, *path]),
        (runner, runner_env),
    ):
        container |= {"workingDir": options.folder} if options.folder else {}
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


def _path(value: str, env: Iterable[Manifest]) -> list[Manifest]:
    """Return the variable with a path for modules, unless the user's variables have one."""
    if not value or any(item["name"] == "PYTHONPATH" for item in env):
        return []
    return [{"name": "PYTHONPATH", "value": _literal(value)}]


def _is_setting_of_scheduler(name: str) -> bool:
    """Return whether a variable configures the scheduler, whose preloads are daskjob's."""
    prefix = "DASK_DISTRIBUTED__"
    return name.startswith(prefix) and not name.startswith(f"{prefix}SCHEDULER__PRELOAD")


def with_variables(own: Iterable[Manifest], given: Iterable[Manifest]) -> list[Manifest]:
    """Return a container's variables with the given ones, in the places of older ones.

    The order matters: a value may refer to the variables before it.
    """
    new = {item["name"]: item for item in given}
    kept = [new.pop(str(item.get("name") or ""), item) for item in own]
    return [*kept, *new.values()]


def variable(name: str, value: str | None) -> Manifest:
    """Return an environment variable of a container; without a value, only its name."""
    return {"name": name} if value is None else {"name": name, "value": _literal(value)}


def _literal(text: str) -> str:
    """Escape a text so that Kubernetes' ``$(VAR)`` expansion leaves it unchanged."""
    return text.replace("$", "$$")


def default_shape(cpus: int) -> tuple[int, int]:
    """Return workers and threads per worker for a number of CPUs, like ``LocalCluster``.

    Up to 4 CPUs: one process per CPU; above: about as many processes as threads in each.
    """
    if cpus <= 4:
        return max(cpus, 1), 1
    workers = next(n for n in range(1, cpus + 1) if n * n >= cpus and cpus % n == 0)
    return workers, cpus // workers
