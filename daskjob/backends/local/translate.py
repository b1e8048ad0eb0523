"""Translates a pod to processes of this machine: commands, environment, paths, unsupported fields.

Kubernetes' rules apply where a machine can follow them: ``$(VAR)`` is expanded, ``command`` and
``args`` are one command line, a later variable sees the earlier ones. Ports are loopback ports of
the run; paths of ConfigMaps and emptyDir volumes are folders of the run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.backends.local.config import Config, Facts, value_from, variables_from
from daskjob.core.command_line import has_option, option, without_options, words
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.names import ENV_WORKER_NAME
from daskjob.core.quantity import parse_bytes, parse_quantity
from daskjob.core.spec import DaskJob, PodTemplate

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
#: Address options of ``dask scheduler`` and ``dask worker``: replaced by the run's own.
_SCHEDULER_ADDRESSES = ("--host", "--port", "--interface", "--dashboard-address")
_WORKER_ADDRESSES = (
    "--host",
    "--interface",
    "--dashboard-address",
    "--worker-port",
    "--nanny-port",
    "--listen-address",
    "--contact-address",
)
_WORKER_FLAGS = ("--dashboard", "--no-dashboard")
#: Options that decide whether a worker has a nanny.
_NANNY_OPTIONS = ("--nanny", "--no-nanny", "--nworkers", "--nprocs", "--lifetime-restart")
#: What a nanny would set for its worker (distributed.nanny.pre-spawn-environ): otherwise threads of
#: libraries and of the worker would compete for the same CPUs.
_WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine provides to the processes of one run."""

    #: ``host:port`` of the run's scheduler, and of its dashboard.
    comm: str
    dashboard: str
    #: The environment that processes start from: the user's own.
    environment: Mapping[str, str]
    cwd: Path
    #: Memory of the machine and the number of workers that share it.
    memory_bytes: int
    workers: int
    #: A folder for temporary files.
    scratch: Path
    #: The values of variables that a container only names.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: The ConfigMaps and Secrets of the job's file.
    config: Config = field(default_factory=Config)
    #: The Python of scripts, and that of the scheduler and the workers.
    python: str = sys.executable
    dask_python: str = sys.executable


@dataclass(frozen=True, slots=True)
class ContainerProcess:
    """One container as a process."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    #: Resident bytes above which the process is killed, as a nanny would; 0: no limit.
    memory_limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Paths:
    """Folders of this machine that replace paths in a pod."""

    mounts: Mapping[str, Path] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """Return the text with every mount path replaced by its folder."""
        for mount in sorted(self.mounts, key=len, reverse=True):
            pattern = rf"(?<![\w./-]){re.escape(mount)}(?=[/:,;\s'\"]|$)"
            folder = str(self.mounts[mount]).replace("\\", r"\\")
            text = re.sub(pattern, folder, text)
        return text


def container_process(
    container: Manifest, pod: Manifest, machine: Machine, paths: Paths, message_file: Path
) -> ContainerProcess:
    """Return a container of a pod as a process of this machine."""
    message_path = str(container.get("terminationMessagePath") or "/dev/termination-log")
    paths = Paths({**paths.mounts, message_path: message_file})
    declared = declared_variables(container, pod, machine)
    env = {name: paths.here(value) for name, value in declared.items()}
    command_line = [paths.here(expanded(word, declared)) for word in words(container)]
    argv = _argv(command_line, container, pod, machine)
    without_nanny = command_line[:2] == ["dask", "worker"] and "--no-nanny" in argv
    working = container.get("workingDir")
    cwd = Path(working) if working and Path(working).is_dir() else machine.cwd
    return ContainerProcess(
        name=str(container["name"]),
        argv=tuple(argv),
        env={
            **(_WORKER_ENVIRONMENT if without_nanny else {}),
            **machine.environment,
            "PYTHONUNBUFFERED": "1",
            # setproctitle would erase the environment by which the run's processes are recognized.
            "SPT_NOENV": "1",
            "DASK_TEMPORARY_DIRECTORY": str(machine.scratch),
            **env,
        },
        cwd=cwd,
        memory_limit_bytes=_memory_limit(argv, machine) if without_nanny else 0,
    )


def declared_variables(container: Manifest, pod: Manifest, machine: Machine) -> dict[str, str]:
    """Return the container's own variables, each expanded by the preceding ones.

    Those with only a name get the values that the machine was given.
    """
    found = variables_from(container, machine.config)
    facts = Facts(machine.memory_bytes)
    for variable in container.get("env") or ():
        name = str(variable["name"])
        if name in machine.variables and "value" not in variable and "valueFrom" not in variable:
            found[name] = machine.variables[name]
            continue
        if variable.get("valueFrom") is None:
            found[name] = expanded(str(variable.get("value") or ""), found)
            continue
        value = value_from(variable["valueFrom"], container, pod, machine.config, facts)
        if value is not None:
            found[name] = value
    return found


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Expand ``$(NAME)`` as Kubernetes does: an unknown name stays, ``$$`` is a ``$``."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return variables.get(name, match.group(0))

    return _REFERENCE.sub(value, text)


def _argv(words: list[str], container: Manifest, pod: Manifest, machine: Machine) -> list[str]:
    if not words:
        return []
    if words[0] in ("python", "python3"):
        return [machine.python, *words[1:]]
    match words:
        case ["dask", "scheduler", *rest]:
            return _scheduler(rest, machine)
        case ["dask", "worker", *rest]:
            return _worker(rest, container, pod, machine)
        case ["dask", *rest]:
            return [machine.dask_python, "-m", "dask", *rest]
    return words


def _scheduler(options: Sequence[str], machine: Machine) -> list[str]:
    host, _, port = machine.comm.rpartition(":")
    return [
        *(machine.dask_python, "-m", "distributed.cli.dask_scheduler"),
        *without_options(options, _SCHEDULER_ADDRESSES),
        *("--host", host, "--port", port, "--dashboard-address", machine.dashboard),
    ]


def _worker(
    options: Sequence[str], container: Manifest, pod: Manifest, machine: Machine
) -> list[str]:
    kept = without_options(options, _WORKER_ADDRESSES)
    kept = [word for word in kept if word not in _WORKER_FLAGS]
    limits = (container.get("resources") or {}).get("limits") or {}
    added = ["--host", machine.comm.rpartition(":")[0], "--no-dashboard"]
    if not has_option(kept, "--name"):
        added += ["--name", _variable(container, ENV_WORKER_NAME) or str(metadata(pod)["name"])]
    if not has_option(kept, "--memory-limit"):
        given = limits.get("memory")
        size = parse_bytes(given) if given else machine.memory_bytes // max(machine.workers, 1)
        added += ["--memory-limit", str(size)]
    if not has_option(kept, "--nthreads") and limits.get("cpu"):
        added += ["--nthreads", str(max(1, round(parse_quantity(limits["cpu"]))))]
    if not any(has_option(kept, option) for option in _NANNY_OPTIONS):
        # A nanny is a second Python for every worker; its tasks, restarts and the memory limit, are
        # done by the local kubelet.
        added += ["--no-nanny"]
    if not has_option(kept, "--local-directory"):
        added += ["--local-directory", str(machine.scratch)]
    return [machine.dask_python, "-m", "distributed.cli.dask_worker", *kept, *added]


def _memory_limit(argv: Sequence[str], machine: Machine) -> int:
    """Return a worker's memory limit in bytes as Dask reads it; 0 for none, or an invalid one."""
    text = option(argv, "--memory-limit")
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if 0 < number <= 1:
        return int(number * machine.memory_bytes)
    try:
        return parse_bytes(text)
    except ValueError:
        return 0


def _variable(container: Manifest, name: str) -> str:
    for variable in container.get("env") or ():
        if variable.get("name") == name:
            return str(variable.get("value") or "")
    return ""


def unsupported(job: DaskJob) -> list[str]:
    """Return the features of the job that this machine cannot provide, each once."""
    templates = {"runner": job.runner}
    if job.cluster is not None:
        templates["scheduler"] = job.cluster.scheduler
        for group in job.cluster.all_groups:
            name = "worker" if group.name == "default" else f"worker group {group.name}"
            templates[name] = group.template
    images = {str(c["image"]) for t in templates.values() for c in t.containers if c.get("image")}
    things = [f"image {image} (this Python runs instead)" for image in sorted(images)]
    for role, template in templates.items():
        things += [thing for thing in _unsupported(role, template) if thing not in things]
    return things


_POD_FIELDS = {
    "nodeSelector": "node selector",
    "affinity": "affinity",
    "tolerations": "tolerations",
    "serviceAccountName": "service account",
    "runtimeClassName": "runtime class",
    "priorityClassName": "priority class",
}


#: The kinds of volumes that are folders of the run.
_VOLUMES = ("configMap", "emptyDir", "secret", "projected", "downwardAPI")


def _unsupported(role: str, template: PodTemplate) -> list[str]:
    spec = template.spec
    things = [f"{name} of the {role}" for key, name in _POD_FIELDS.items() if spec.get(key)]
    folders = []
    for volume in spec.get("volumes") or ():
        kind = next((key for key in volume if key not in ("name", *_VOLUMES)), None)
        folders += [] if kind else [volume.get("name")]
        if kind:
            things.append(f"volume {volume.get('name')} ({kind}; its path is this machine's own)")
        for source in mappings(mapping(volume.get("projected")).get("sources")):
            if not {"configMap", "secret", "downwardAPI"} & set(source):
                things.append(f"{next(iter(source), 'source')} in volume {volume.get('name')}")
    for container in template.containers:
        things += _unadapted_paths(role, container, folders)
        limits = (container.get("resources") or {}).get("limits") or {}
        things += [f"{name} for the {role}" for name in limits if "/" in name]
    return things


def _unadapted_paths(role: str, container: Manifest, volumes: Container[object]) -> list[str]:
    """Return the mounts that no word of a container names, so that its program may open them."""
    values = [str(variable.get("value")) for variable in mappings(container.get("env"))]
    named = "\n".join([*words(container), *values])
    return [
        f"path {mount.get('mountPath')} of the {role} (its volume is a folder of the run; "
        "only commands and variables are adapted to it)"
        for mount in mappings(container.get("volumeMounts"))
        if mount.get("name") in volumes and str(mount.get("mountPath")).rstrip("/") not in named
    ]
