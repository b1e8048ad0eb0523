"""The job of a call: for a cluster, with settings; for this machine."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskjob.core.errors import UnknownArgument, WrongArgument
from daskjob.core.manifests import Manifest
from daskjob.submit.functions.call import Call
from daskjob.submit.settings.nearest import did_you_mean
from daskjob.submit.settings.table import SETTINGS

if TYPE_CHECKING:
    from daskjob.submit.environment.wanted import Given
    from daskjob.submit.inline_metadata import ScriptText
    from daskjob.submit.local_packages import Found

#: The settings of a job on this machine.
LOCAL = ("workers", "threads", "memory", "name", "retries", "deadline", "env", "env-file")
#: Those about packages, which are installed into the cache.
LOCAL_PACKAGES = ("packages", "requirements")


@dataclass(frozen=True, slots=True)
class LocalCall:
    """The job of a call on this machine."""

    manifest: Manifest
    #: The Secret with the variables of a file, if there is one.
    owned: tuple[Manifest, ...] = ()
    notes: tuple[str, ...] = ()


def settings_by_key(given: Mapping[str, Any]) -> dict[str, object]:
    """Return settings by their keys: Python's names have no hyphens.

    Raises
    ------
    UnknownArgument
        There is no such setting.
    """
    found: dict[str, object] = {}
    for name, value in given.items():
        key = name.rstrip("_").replace("_", "-")
        if key not in SETTINGS:
            known = [key.replace("-", "_") for key in SETTINGS]
            raise UnknownArgument(f"there is no setting {name!r}; {did_you_mean(name, known)}")
        if value is not None:
            found[key] = value
    return found


def cluster_submission(call: Call, given: Mapping[str, object]) -> Any:
    """Return the submission of a call to a cluster: its job, and what belongs to it.

    Raises
    ------
    WrongArgument
        A setting is wrong, or the code cannot be sent.
    """
    # Not needed by jobs of this machine.
    from daskjob.core.errors import Invalid
    from daskjob.submit.cluster_job.archive import UnfitCode
    from daskjob.submit.cluster_job.doubts import active_environment, program_doubts
    from daskjob.submit.cluster_job.environment import script_environment
    from daskjob.submit.cluster_job.image import NoImage, environment_versions
    from daskjob.submit.cluster_job.submission import script_submission, with_image
    from daskjob.submit.environment.wanted import UnfitEnvironment
    from daskjob.submit.functions.program import function_program
    from daskjob.submit.settings.merge import merged
    from daskjob.submit.settings.sources import WrongSettings, default_layer, flags_layer
    from daskjob.submit.settings_places import script_places

    script = _script_of(call)
    try:
        flags = {"token": secrets.token_hex(16), **given}
        layers = script_places(script, os.environ).layers()
        settings = merged([default_layer(), *layers, flags_layer(flags)])
        versions = environment_versions(os.environ)
        settings = with_image(settings, versions)
        packages = script_environment(
            script.text, script.subject, script.folder, settings.settings, os.environ
        )
        code = settings.settings.code or ""
        program = function_program(call, settings.settings.files, code)
        doubts = program_doubts(
            program, packages, active_environment(os.environ), is_whole=bool(code)
        )
        notes = (*program.notes, *packages.notes, *doubts)
        program = replace(program, notes=notes, environment=packages.manifest())
        variables = _variables(settings.settings.env_file)
        return script_submission(program, settings, versions=versions, env_file=variables or None)
    except (WrongSettings, UnfitCode, UnfitEnvironment, NoImage, Invalid) as error:
        raise WrongArgument(str(error)) from error


def local_job(call: Call, given: Mapping[str, object]) -> LocalCall:
    """Return the job of a call on this machine.

    Raises
    ------
    WrongArgument
        A setting is wrong, or is one of clusters only; or the packages do not go together.
    NotResolved
        There is no answer from the index of packages, or no uv.
    """
    from daskjob.submit.cluster_job.fields import set_fields
    from daskjob.submit.environment.wanted import UnfitEnvironment
    from daskjob.submit.local import local_script_job
    from daskjob.submit.local_settings import add_settings, settings_here
    from daskjob.submit.script import ScriptOptions, default_shape
    from daskjob.submit.settings.sources import WrongSettings

    known = (*LOCAL, *LOCAL_PACKAGES)
    others = [key for key in given if key not in known]
    if others:
        raise WrongArgument(f"{', '.join(others)}: jobs of this machine have {', '.join(known)}")
    try:
        script = _script_of(call)
        found = settings_here(script, given, environ=os.environ)
        packages = _local_packages(script, found.given)
        variables = _variables(found.settings.env_file)
    except (WrongSettings, UnfitEnvironment) as error:
        raise WrongArgument(str(error)) from error
    settings, processors = found.settings, os.cpu_count() or 1
    workers, threads = default_shape(processors)
    options = ScriptOptions(
        workers=workers if settings.workers is None else settings.workers,
        threads=settings.threads or threads,
        memory=str(settings.memory) if settings.memory else None,
        name=settings.name or "",
        retries=settings.retries or 0,
        timeout_seconds=settings.deadline,
        env=dict(settings.env),
        python_path=os.pathsep.join(_python_path(call)),
        path_for_script=True,
    )
    words = [*call.words(), *([str(call.file)] if call.is_script else [])]
    job = local_script_job([sys.executable, *words[1:]], options, call.name)
    add_settings(job, settings, processors)
    try:
        set_fields(job, settings.set)
    except WrongSettings as error:
        raise WrongArgument(str(error)) from error
    if packages.environment:
        job["spec"]["environment"] = packages.environment
    owned = [_from_secret(job, call.name, variables)] if variables else []
    return LocalCall(job, tuple(owned), (*found.notes, *packages.notes))


def _script_of(call: Call) -> ScriptText:
    """Return the file of a function, whose block says what the function needs."""
    from daskjob.submit.inline_metadata import ScriptText
    from daskjob.submit.source_text import readable_text

    return ScriptText(readable_text(call.file.read_bytes()), str(call.file), call.file.parent)


def _variables(file: str | None) -> Mapping[str, str]:
    """Return the variables of a file."""
    from daskjob.submit.cluster_job.variables import read_env_file

    return read_env_file(file, os.environ) if file else {}


def _from_secret(job: Manifest, name: str, variables: Mapping[str, str]) -> Manifest:
    """Give variables to the runner and the workers, in place; return the Secret that has them."""
    from daskjob.submit.cluster_job.variables import env_secret, env_secret_name

    secret = env_secret(env_secret_name(name), variables)
    reference = {"secretRef": {"name": secret["metadata"]["name"]}}
    spec = job["spec"]
    for part in (spec["job"], spec["cluster"]["spec"]["worker"]):
        part["spec"]["containers"][0]["envFrom"] = [reference]
    return secret


def _local_packages(script: ScriptText, given: Given) -> Found:
    """Return what the call's script declares and this Python lacks."""
    from daskjob.submit.local_packages import Found, packages_of
    from daskjob.submit.package_hints import may_want_packages

    if given.is_empty and not may_want_packages(script.text, script.folder):
        return Found()
    from daskjob.submit.python_environment import Python

    return packages_of(script, given, Python(sys.executable), os.environ)


def _python_path(call: Call) -> list[str]:
    """Return where this process finds modules, for the processes of the job."""
    found = [str(call.root), *(os.path.abspath(place) for place in sys.path)]
    own = [str(Path(sys.prefix).absolute()), str(Path(sys.base_prefix).absolute())]
    kept = [place for place in found if not any(Path(place).is_relative_to(p) for p in own)]
    return list(dict.fromkeys(kept))
