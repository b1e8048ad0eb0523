"""The packages of a script on this machine: what its Python lacks is installed beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from daskjob.backends.local.installer import NotInstalled
from daskjob.backends.local.python_facts import PythonFacts, python_facts
from daskjob.backends.local.run_environment import Packages, Wanted, count_of
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest
from daskjob.submit.environment.given import given_by
from daskjob.submit.environment.python_version import check_python
from daskjob.submit.environment.requirement_lines import normalised
from daskjob.submit.environment.script import environment_of_script
from daskjob.submit.environment.wanted import (
    Given,
    NotResolved,
    Target,
    UnfitEnvironment,
)
from daskjob.submit.inline_metadata import declared
from daskjob.submit.package_hints import has_lock
from daskjob.submit.python_environment import Python
from daskjob.submit.settings.declaration import Topic
from daskjob.submit.settings.merge import merged
from daskjob.submit.settings.sources import (
    Layer,
    Places,
    flags_layer,
    project_layer,
    script_layer,
)
from daskjob.submit.settings.table import SETTINGS


class EnvironmentFailed(DaskJobError):
    """The packages of a script cannot be installed; nothing was started."""


@dataclass(frozen=True, slots=True)
class ScriptText:
    """A script by its text."""

    text: str
    #: What messages call it.
    subject: str
    #: Where its project is looked for.
    folder: Path


@dataclass(frozen=True, slots=True)
class Found:
    """The packages that a run needs beside those of its Python."""

    #: ``spec.environment``; empty: its Python has all.
    environment: Manifest = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def settings_of(script: ScriptText, flags: Mapping[str, object]) -> Given:
    """Return what flags, the script's own table and the project say about packages.

    Raises
    ------
    WrongSettings
        One of these is wrong.
    """
    found = declared(script.text) if "# /// script" in script.text else None
    places = Places(
        script=script_layer(found.settings, script.subject) if found else None,
        project=project_layer(script.folder),
    )
    layers = [_of_packages(layer) for layer in (*places.layers(), flags_layer(flags))]
    # The pods' Secret; here, uv and pip have the user's own login.
    given = given_by(merged(layers).settings)
    return replace(given, indexes=replace(given.indexes, secret=""))


def _of_packages(layer: Layer) -> Layer:
    """Return a layer with its settings of packages: a run has its own for all else."""
    ours = {key for key, setting in SETTINGS.items() if setting.topic == Topic.PACKAGES}
    return replace(layer, values={k: v for k, v in layer.values.items() if k in ours})


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
    block = declared(script.text) if "# /// script" in script.text else None
    is_asked = bool(block or given.packages or given.requirements)
    if not is_asked and not has_lock(script.folder):
        return Found()
    facts = python_facts(python.path, environ)
    target = _target(python, facts)
    if not given.requirements and block and not block.problem:
        check_python(block.requires_python, script.subject, target)
        if has_all([*block.requirements, *given.packages], facts):
            return Found()
    try:
        found = environment_of_script(
            script.text, script.subject, script.folder, given=given, target=target, environ=environ
        )
    except (UnfitEnvironment, NotResolved) as error:
        if is_asked:
            raise
        # The project's own environment is active: it has been made of this lock.
        return Found(notes=(f"the lock of the project is not used: {error}",))
    if count_of(Wanted(found.requirements), facts) == 0:
        return Found(notes=found.notes)
    return Found(found.manifest(), found.notes)


def _target(python: Python, facts: PythonFacts) -> Target:
    versions = {normalised(name): version for name, version in facts.installed.items()}
    return Target(
        python.path,
        facts.version,
        versions.get("dask", ""),
        versions.get("distributed", ""),
        other="choose another Python: --python PYTHON",
    )


def has_all(requirements: Sequence[str], facts: PythonFacts) -> bool:
    """Return whether a Python has distributions for all requirements, in allowed versions."""
    try:
        return all(_has(Requirement(text), facts, frozenset()) for text in requirements)
    except InvalidRequirement:
        return False


def _has(wanted: Requirement, facts: PythonFacts, above: frozenset[str], extra: str = "") -> bool:
    """Return whether it has one requirement; ``above`` are those whose extras need it."""
    values = {**_marker_values(facts), "extra": extra}
    if str(wanted) in above or (wanted.marker and not wanted.marker.evaluate(values)):
        return True
    name = normalised(wanted.name)
    have = {normalised(name): version for name, version in facts.installed.items()}.get(name, "")
    if wanted.url or not have or not wanted.specifier.contains(have, prereleases=True):
        return False
    needs = {normalised(name): texts for name, texts in facts.extras.items()}.get(name, ())
    below = above | {str(wanted)}
    return all(
        _has(Requirement(text), facts, below, extra) for extra in wanted.extras for text in needs
    )


def _marker_values(facts: PythonFacts) -> dict[str, str]:
    """Return the markers in which two Pythons of one machine differ."""
    minor = ".".join(facts.version.split(".")[:2])
    return {"python_version": minor, "python_full_version": facts.version}


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
