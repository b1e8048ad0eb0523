"""Whether a job's containers can start on this machine, known before anything starts."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from daskjob.backends.local.config import Config, Missing, missing
from daskjob.core.command_line import words
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest, mappings
from daskjob.core.names import CODE_PART
from daskjob.core.spec import DaskJob, PodTemplate

#: What daskjob runs by the chosen Python, wherever it is, and the names that Dask had before.
_PROVIDED = ("python", "python3", "dask", "dask-scheduler", "dask-worker")
#: Options of Python that are followed by no script.
_NO_SCRIPT = ("-c", "-m")


def check_startable(job: DaskJob, config: Config, environment: Mapping[str, str]) -> None:
    """Raise ``Invalid`` for a job with a container that can never start here.

    The program of the runner is left to the attempt, which ends with 127: as in a shell.
    """
    errors: list[FieldError] = [*_missing_for_preparation(job, config)]
    brings_programs = bool(job.environment.requirements or job.code)
    for role, path, template in _templates(job):
        errors += missing(template.spec, path, config)
        main = template.main_container(*_MAIN[role])
        for kind in ("initContainers", "containers"):
            for index, container in enumerate(mappings(template.spec.get(kind))):
                where = f"{path}.{kind}[{index}]"
                if not words(container):
                    if kind == "initContainers" or container.get("name") == main:
                        errors.append(_without_command(container, where))
                elif brings_programs:
                    continue  # known only when they are there
                elif role != "runner" and not _has_program(container, environment):
                    errors.append(_without_program(container, where))
    if errors:
        raise Invalid(f"DaskJob {job.meta.name}", errors)


#: Names of main containers by role.
_MAIN = {"runner": ("job-runner", "job"), "scheduler": ("scheduler",), "worker": ("worker",)}


def _templates(job: DaskJob) -> Iterator[tuple[str, str, PodTemplate]]:
    """Yield role, path and template of every pod of a job."""
    yield "runner", "spec.job.spec", job.runner
    if job.cluster is None:
        return
    yield "scheduler", "spec.cluster.spec.scheduler.spec", job.cluster.scheduler
    for index, group in enumerate(job.cluster.all_groups):
        place = "worker" if index == 0 else f"workerGroups[{index - 1}]"
        yield "worker", f"spec.cluster.spec.{place}.spec", group.template


def _missing_for_preparation(job: DaskJob, config: Config) -> Iterator[Missing]:
    """Yield the ConfigMaps and Secrets of packages and code that the file does not have."""
    wanted = [("spec.environment.secretName", "Secret", job.environment.secret_name)]
    if job.code is not None:
        parts = enumerate(job.code.config_maps)
        wanted += [(f"spec.code.configMaps[{i}]", "ConfigMap", name) for i, name in parts]
        if job.code.git is not None:
            wanted.append(("spec.code.git.secretName", "Secret", job.code.git.secret_name))
    for path, kind, name in wanted:
        data = config.get(kind, name) if name else {}
        if data is None:
            add = f"add it to the file as a document of its own (kind: {kind})"
            yield Missing(path, name, f"there is no {kind} {name!r} in the file; {add}")
        elif kind == "ConfigMap" and CODE_PART not in data:
            yield Missing(path, name, f"the ConfigMap {name!r} has no key {CODE_PART!r}")


def _without_command(container: Manifest, where: str) -> FieldError:
    others = [str(key) for key in container if key not in ("args", "command", "name", "image")]
    similar = difflib.get_close_matches("args", others, n=1)
    hint = f" (did you mean args instead of {similar[0]}?)" if similar else ""
    allowed = f"write a command or args{hint}; images, whose command would run, are not used here"
    return FieldError(f"{where}.args", None, allowed)


def _has_program(container: Manifest, environment: Mapping[str, str]) -> bool:
    program = words(container)[0]
    if program in _PROVIDED or "$(" in program:
        return True
    mounts = [str(m.get("mountPath")) for m in mappings(container.get("volumeMounts"))]
    if any(program.startswith(mount.rstrip("/") + "/") for mount in mounts):
        return True
    own = [v for v in mappings(container.get("env")) if v.get("name") == "PATH"]
    if own or container.get("envFrom") or container.get("workingDir"):
        return True  # known only when it starts
    return shutil.which(program, path=environment.get("PATH")) is not None


def _without_program(container: Manifest, where: str) -> FieldError:
    key = "command" if container.get("command") else "args"
    program = words(container)[0]
    near = difflib.get_close_matches(program, [*_PROVIDED, "bash", "sh", "uv"], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    allowed = f"{hint}there is no such program on this machine"
    return FieldError(f"{where}.{key}[0]", program, allowed)


def absent_scripts(job: DaskJob, cwd: Path) -> list[str]:
    """Return a note on each script of the runner that does not exist: Python would exit with 2."""
    notes: list[str] = []
    if job.code is not None:
        return notes  # known only when it is there
    for container in job.runner.containers:
        script = _script(words(container))
        if not script or "$(" in script:
            continue
        mounts = [str(m.get("mountPath")) for m in mappings(container.get("volumeMounts"))]
        if any(script.startswith(mount.rstrip("/") + "/") for mount in mounts):
            continue
        working = str(container.get("workingDir") or "")
        folder = Path(working) if working and Path(working).is_dir() else cwd
        if not os.path.exists(folder / script):
            place = f"{folder}" if not Path(script).is_absolute() else "this machine"
            notes.append(
                f"the script {script} of container {container.get('name')} does not exist "
                f"{'on' if Path(script).is_absolute() else 'in'} {place}"
            )
    return notes


def _script(command: list[str]) -> str:
    """Return the script of a command line ``python … script.py``; empty if it has none."""
    if not command or command[0] not in ("python", "python3"):
        return ""
    for index, word in enumerate(command[1:], start=1):
        if word in _NO_SCRIPT or word == "-":
            return ""
        if word in ("-W", "-X"):
            continue
        if not word.startswith("-") and command[index - 1] not in ("-W", "-X"):
            return word
    return ""
