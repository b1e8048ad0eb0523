"""The packages of a script on this machine: what its Python lacks is installed beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from daskjob.backends.local.installer import NotInstalled
from daskjob.backends.local.run_environment import Packages, Wanted
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest
from daskjob.submit.environment.local import environment_of_run
from daskjob.submit.environment.wanted import Given
from daskjob.submit.inline_metadata import ScriptText
from daskjob.submit.python_environment import Python


class EnvironmentFailed(DaskJobError):
    """The packages of a script cannot be installed; nothing was started."""


@dataclass(frozen=True, slots=True)
class Found:
    """The packages that a run needs beside those of its Python."""

    #: ``spec.environment``; empty: its Python has all.
    environment: Manifest = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def packages_of(
    script: ScriptText, given: Given, python: Python, environ: Mapping[str, str]
) -> Found:
    """Return what a run of a script installs: nothing, if its Python has what is wanted.

    Raises
    ------
    UnfitEnvironment
        The packages do not go together, or not with this Python.
    NotResolved
        There is no answer from the index, or no uv.
    """
    found = environment_of_run(
        script.text,
        script.subject,
        script.folder,
        given=given,
        python=python.path,
        environ=environ,
    )
    environment = found.manifest() if found.requirements else {}
    return Found(environment, found.notes)


def installed(
    environment: Manifest,
    python: Python,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> Packages:
    """Return the packages of a run, installed before anything is started.

    Raises
    ------
    EnvironmentFailed
        They cannot be installed.
    """
    wanted = Wanted(
        tuple(environment.get("requirements") or ()),
        str(environment.get("requiresPython") or ""),
        tuple(environment.get("indexURLs") or ()),
        str(environment.get("findLinks") or ""),
    )
    packages = Packages(wanted, python=python.path, environment=environ)
    packages.on_activity = lambda: say(packages.activity)
    try:
        packages.install()
    except NotInstalled as error:
        raise EnvironmentFailed(f"the packages cannot be installed: {error.message}") from error
    return packages
