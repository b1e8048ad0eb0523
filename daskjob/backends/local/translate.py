"""Translates a pod to processes of this machine: commands, environment, paths, unsupported fields.

Kubernetes' rules apply where a machine can follow them: ``$(VAR)`` is expanded, ``command`` and
``args`` are one command line, a later variable sees the earlier ones. Ports are loopback ports of
the run; paths of ConfigMaps and emptyDir volumes are folders of the run.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.backends.local.config import Config, Facts, value_from, variables_from
from daskjob.backends.local.inherited import UNSET_VARIABLE
from daskjob.core import names
from daskjob.core.command_line import has_option, option, without_options, words
from daskjob.core.desired.agent import EXPECTED_VARIABLE
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
#: What a nanny sets before it starts a new Python, and what has no effect in a forked one.
NANNY_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONHASHSEED": "6640"}
#: What a nanny would set for its worker (distributed.nanny.pre-spawn-environ): otherwise threads of
#: libraries and of the worker would compete for the same CPUs.
_WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
#: Starts workers; run by path, since the job's Python may lack daskjob.
LAUNCHER = Path(__file__).with_name("worker_launcher.py")
#: Starts the scheduler; run by path too.
SCHEDULER_LAUNCHER = Path(__file__).with_name("scheduler_launcher.py")
#: Runs a module without the working directory on the path; run by path too.
MODULE_LAUNCHER = Path(__file__).with_name("module_launcher.py")
WORKER_MODULE = "distributed.cli.dask_worker"
#: As in the launcher of workers.
WITHOUT_CWD = "DASKJOB_WITHOUT_CWD"
#: The variable by which Dask is configured where its servers write.
TEMPORARY_DIRECTORY = "DASK_TEMPORARY_DIRECTORY"
#: Dask evaluates its variables as Python, which warns of a keyword after a digit: a job "a-13is".
_WARNED = re.compile(r"\d(and|else|for|if|in|is|not|or)")
_WARNING_FILTER = "ignore:invalid decimal literal::<unknown>"


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
    #: The number of workers for which the scheduler holds back its first clients.
    expected_workers: int = 0
    #: The values of variables that a container only names.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: The ConfigMaps and Secrets of the job's file.
    config: Config = field(default_factory=Config)
    #: The Python of scripts, and that of the scheduler and the workers.
    python: str = sys.executable
    dask_python: str = sys.executable
    #: The folder of the run's packages, before those of ``python``; ``None``: it has none.
    packages: Path | None = None
    #: The folder of the run's code, and the folders in it that are on PYTHONPATH.
    code: Path | None = None
    code_paths: tuple[str, ...] = ()
    #: Whether the job is a script, whose folder is in the PYTHONPATH of its servers. They do not
    #: import modules of the working directory: the script does not.
    is_script: bool = False

    def places(self) -> dict[str, Path]:
        """Return the folders of packages and code by their paths in pods."""
        found = {names.PACKAGES_PATH: self.packages, names.CODE_PATH: self.code}
        return {path: folder for path, folder in found.items() if folder is not None}


@dataclass(frozen=True, slots=True)
class ContainerProcess:
    """One container as a process."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    #: Resident bytes above which the process is killed, as a nanny would; 0: no limit.
    memory_limit_bytes: int = 0
    #: Programs to write before the start, by their path: what a shell finds as ``dask``.
    programs: Mapping[Path, str] = field(default_factory=dict)


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
    paths = Paths({**machine.places(), **paths.mounts, message_path: message_file})
    declared = declared_variables(container, pod, machine)
    env = {name: paths.here(value) for name, value in declared.items()}
    command_line = [paths.here(expanded(word, declared)) for word in words(container)]
    given = {**machine.environment, **env}
    commands = _Commands(
        container, pod, machine, deaths_file(message_file), _scratch(given, machine)
    )
    command = dask_command(command_line)
    programs: dict[Path, str] = {}
    if command is not None:
        argv = commands.argv(*command)
    elif command_line[:1] in (["python"], ["python3"]):
        argv = [machine.python, *command_line[1:]]
    elif commands.component is None:
        argv = command_line
    else:
        folder = message_file.parent / "bin"
        programs = {folder / name: text for name, text in commands.programs().items()}
        argv = with_programs(command_line, folder)
        env["PATH"] = f"{folder}:{given.get('PATH', '')}"
    worker = commands.component == names.Component.WORKER
    without_nanny = command is not None and command[0] == "worker" and "--no-nanny" in argv
    with_nanny = NANNY_ENVIRONMENT if worker else {}
    defaults = _WORKER_ENVIRONMENT if without_nanny else with_nanny
    expected = {}
    if commands.component == names.Component.SCHEDULER and machine.expected_workers:
        expected = {EXPECTED_VARIABLE: str(machine.expected_workers)}
    cwd = _working_directory(container, commands.component is None, machine, paths)
    env = {
        TEMPORARY_DIRECTORY: str(machine.scratch),
        **defaults,
        **machine.environment,
        "PYTHONUNBUFFERED": "1",
        # setproctitle would erase the environment by which the run's processes are recognized.
        "SPT_NOENV": "1",
        **expected,
        **({WITHOUT_CWD: "1"} if commands.component and machine.is_script else {}),
        **env,
        # Inside the folder that the user names, so that it can be removed as a whole.
        **({TEMPORARY_DIRECTORY: str(commands.scratch)} if commands.component else {}),
    }
    env |= _search_paths(env, commands.component, machine)
    unset = env.pop(UNSET_VARIABLE, "").split("\n")
    env = {name: value for name, value in env.items() if name not in unset}
    return ContainerProcess(
        name=str(container["name"]),
        argv=tuple(argv),
        env={**env, **_warnings(env)},
        cwd=cwd,
        memory_limit_bytes=_memory_limit(argv, machine) if without_nanny else 0,
        programs=programs,
    )


def _working_directory(
    container: Manifest, is_runner: bool, machine: Machine, paths: Paths
) -> Path:
    """Return where a container starts: the runner with the job's code, if it sets nothing."""
    working = container.get("workingDir")
    if working:
        folder = Path(paths.here(str(working)))
        return folder if folder.is_dir() else machine.cwd
    return machine.code if machine.code and is_runner else machine.cwd


def _search_paths(
    env: Mapping[str, str], component: str | None, machine: Machine
) -> dict[str, str]:
    """Return the variables by which a process finds the run's packages and code."""
    # A scheduler of another Python than the script's has no use for packages of that one.
    is_other = component is not None and machine.dask_python != machine.python
    packages = None if is_other else machine.packages
    if packages is None and machine.code is None:
        return {}
    inherited = machine.environment.get("PYTHONPATH", "")
    before = env.get("PYTHONPATH", "")
    found = {
        "PYTHONPATH": python_path(machine.code, machine.code_paths, packages, before, inherited)
    }
    if packages is not None and (packages / "bin").is_dir():
        found["PATH"] = os.pathsep.join([str(packages / "bin"), env.get("PATH", os.defpath)])
    return found


def python_path(
    code: Path | None, paths: Sequence[str], packages: Path | None, before: str, inherited: str
) -> str:
    """Return the PYTHONPATH of a process: its own folders, the code, the packages, what was there.

    ``before`` is what its container declares, which ends with what was inherited.
    """
    own = before.removesuffix(inherited) if inherited else before
    found = [str(code / path) for path in paths] if code else []
    parts = [*own.split(os.pathsep), *found, str(packages or ""), *inherited.split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(filter(None, parts)))


def _warnings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that silences Python's warnings of Dask's variables, where it is needed.

    It concerns text without a file only: no warning of a module is lost.
    """
    if not any(k.startswith("DASK_") and _WARNED.search(v) for k, v in environment.items()):
        return {}
    given = environment.get("PYTHONWARNINGS")
    return {"PYTHONWARNINGS": f"{given},{_WARNING_FILTER}" if given else _WARNING_FILTER}


def deaths_file(message_file: Path) -> Path:
    """Return the file to which nannies report deaths of workers, from the message's file."""
    return message_file.with_suffix(".deaths")


def _scratch(environment: Mapping[str, str], machine: Machine) -> Path:
    """Return where a container's servers write.

    That is the run's own folder, or one of the same name in another folder that its user names.
    """
    named = environment.get(TEMPORARY_DIRECTORY)
    if not named or machine.cwd / named == machine.scratch.parent:
        return machine.scratch
    return machine.cwd / named / machine.scratch.name


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


#: How a command line may start ``dask scheduler`` or ``dask worker``, beside these words.
_DASK_SCRIPT = re.compile(r"(?:.*/)?dask-(scheduler|worker)")
_DASK_MODULE = re.compile(r"distributed\.cli\.dask_(scheduler|worker)")
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*")
#: The same in the text of a shell.
_DASK_IN_TEXT = re.compile(
    r"(?<![\w./$-])(?:\S*/)?(?:"
    r"dask(?:-|\s+)(?P<command>scheduler|worker)"
    r"|python[\d.]*\s+-m\s+dask\s+(?P<sub>scheduler|worker)"
    r"|python[\d.]*\s+-m\s+distributed\.cli\.dask_(?P<module>scheduler|worker)"
    r")(?![\w./-])"
)


def dask_command(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the command of Dask that these words are, with its options; ``None``: another one."""
    match words:
        case [program, "-m", "dask", command, *rest] if _PYTHON.fullmatch(program):
            return command, rest
        case [program, "-m", module, *rest] if _PYTHON.fullmatch(program):
            found = _DASK_MODULE.fullmatch(module)
            return (found.group(1), rest) if found else None
        case [program, command, *rest] if program.rpartition("/")[2] == "dask":
            return command, rest
        case [program, *rest]:
            found = _DASK_SCRIPT.fullmatch(program)
            return (found.group(1), rest) if found else None
    return None


def with_programs(words: Sequence[str], folder: Path) -> list[str]:
    """Return words that a shell, or another program, runs with the ``dask`` of this folder.

    A shell would find it in PATH too, unless it is a login shell or the text has a path.
    """

    def ours(match: re.Match[str]) -> str:
        command = match["command"] or match["sub"] or match["module"]
        return f"{shlex.quote(str(folder / 'dask'))} {command}"

    return [_DASK_IN_TEXT.sub(ours, word) for word in words]


@dataclass(frozen=True, slots=True)
class _Commands:
    """The command lines of Dask's servers in a container."""

    container: Manifest
    pod: Manifest
    machine: Machine
    #: The file to which nannies report deaths of workers.
    deaths: Path
    scratch: Path

    @property
    def component(self) -> str | None:
        """Which server the pod is; ``None``: it is the runner."""
        label = (metadata(self.pod).get("labels") or {}).get(names.LABEL_COMPONENT)
        return label if label in (names.Component.SCHEDULER, names.Component.WORKER) else None

    def argv(self, command: str, options: Sequence[str]) -> list[str]:
        """Return a command of Dask with options."""
        if command == "scheduler":
            kept = without_options(options, _SCHEDULER_ADDRESSES)
            return [*self._scheduler(), *kept, *self._scheduler_addresses()]
        if command == "worker":
            kept = without_options(options, _WORKER_ADDRESSES)
            kept = [word for word in kept if word not in _WORKER_FLAGS]
            return [*self._worker("--no-nanny" not in kept), *kept, *self._worker_options(kept)]
        return [self.machine.dask_python, "-m", "dask", command, *options]

    def programs(self) -> dict[str, str]:
        """Return the programs for a container that starts its server by other programs.

        They put our options last, or, where the user's win, first: the last of several counts.
        """
        scheduler = [*self._scheduler(), *_USERS, *self._scheduler_addresses()]
        added = self._worker_options(())
        at = added.index("--no-dashboard") + 1
        worker = [*self._worker(nanny=True), *added[at:], *_USERS, *added[:at]]
        other = [self.machine.dask_python, "-m", "dask", *_USERS]
        cases = [("scheduler", scheduler), ("worker", worker)]
        lines = [f"{name}) shift; {_exec(argv)} ;;" for name, argv in cases]
        dask = "\n".join(["#!/bin/sh", 'case "$1" in', *lines, "esac", _exec(other), ""])
        texts = {"dask": dask}
        for name, argv in cases:
            texts[f"dask-{name}"] = f"#!/bin/sh\n{_exec(argv)}\n"
        return texts

    def _scheduler(self) -> list[str]:
        return [self.machine.dask_python, str(SCHEDULER_LAUNCHER)]

    def _module(self, name: str) -> list[str]:
        how = str(MODULE_LAUNCHER) if self.machine.is_script else "-m"
        return [self.machine.dask_python, how, name]

    def _scheduler_addresses(self) -> list[str]:
        host, _, port = self.machine.comm.rpartition(":")
        addresses = ["--host", host, "--port", port]
        return [*addresses, "--dashboard-address", self.machine.dashboard]

    def _worker(self, nanny: bool) -> list[str]:
        if nanny:
            return [self.machine.dask_python, str(LAUNCHER), str(self.deaths)]
        return self._module(WORKER_MODULE)

    def _worker_options(self, kept: Sequence[str]) -> list[str]:
        """Return the options of a worker: our own, then those that its user's would replace."""
        host = self.machine.comm.rpartition(":")[0]
        limits = (self.container.get("resources") or {}).get("limits") or {}
        # Without an address, some versions listen on all of the machine's.
        added = ["--host", host, "--dashboard-address", f"{host}:0", "--no-dashboard"]
        if not has_option(kept, "--name"):
            name = _variable(self.container, ENV_WORKER_NAME) or str(metadata(self.pod)["name"])
            added += ["--name", name]
        if not has_option(kept, "--memory-limit"):
            given, machine = limits.get("memory"), self.machine
            size = parse_bytes(given) if given else machine.memory_bytes // max(machine.workers, 1)
            added += ["--memory-limit", str(size)]
        if not has_option(kept, "--nthreads") and limits.get("cpu"):
            added += ["--nthreads", str(max(1, round(parse_quantity(limits["cpu"]))))]
        if not has_option(kept, "--local-directory"):
            added += ["--local-directory", str(self.scratch)]
        return added


#: The place of the user's own words in the command line of a program.
_USERS = ('"$@"',)


def _exec(argv: Sequence[str]) -> str:
    """Return a line of a shell that runs this command."""
    return " ".join(["exec", *(word if word in _USERS else shlex.quote(word) for word in argv)])


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
    return [*things, *_unsupported_code(job)]


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


def _unsupported_code(job: DaskJob) -> list[str]:
    own = f"({names.CODE_PATH} is this machine's own)"
    if job.code and job.code.claim:
        return [f"the code of the PersistentVolumeClaim {job.code.claim.claim_name} {own}"]
    return [f"the code of the image {job.code.image} {own}"] if job.code and job.code.image else []


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
