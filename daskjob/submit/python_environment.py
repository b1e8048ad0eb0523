"""Which Python runs the script: that of the active environment, as for ``python my_script.py``."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daskjob.core.errors import DaskJobError
from daskjob.core.messages import cut
from daskjob.submit.inline_metadata import Declared

#: The variables by which environments are activated: of venv, virtualenv and uv; of conda and pixi.
_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")
#: How long a Python may take to report its version: a first start on a network disk is slow.
PROBE_SECONDS = 60
_PROBE = """\
import json, sys
if sys.version_info < (3, 8):
    sys.exit("it is Python %d.%d, and 3.8 or newer is needed" % sys.version_info[:2])
from importlib import util
sys.path[:] = [folder for folder in sys.path if folder]
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "has_dask": all(util.find_spec(name) for name in ("dask", "distributed")),
}))
"""


class NoPython(DaskJobError):
    """The chosen Python cannot run the job; nothing was started."""


@dataclass(frozen=True, slots=True)
class Python:
    """A Python that runs scripts."""

    path: str
    #: Why it was chosen: ``--python``, or the name of a variable; empty for daskjob's own.
    origin: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it is the one that runs daskjob."""
        return not self.origin

    @property
    def install(self) -> str:
        """The command that installs packages for it."""
        return f"{self.path} -m pip install"


@dataclass(frozen=True, slots=True)
class Examined:
    """What a Python reports about itself."""

    version: str
    has_dask: bool


@dataclass(frozen=True, slots=True)
class Pythons:
    """The Pythons of a run."""

    #: Runs the script.
    script: str = sys.executable
    #: Runs the scheduler and the workers.
    dask: str = sys.executable


@dataclass(frozen=True, slots=True)
class Needs:
    """What a script or a manifest needs of its Python."""

    #: What messages call it.
    subject: str
    #: Whether workers were asked for.
    workers: bool
    #: Whether it may use Dask.
    uses_dask: bool
    #: What it declares; ``None`` without a declaration.
    declared: Declared | None = None
    #: Whether it was asked to run without workers.
    may_lack_dask: bool = False


def chosen_python(
    given: str, environ: Mapping[str, str], origin: str = "--python"
) -> tuple[Python, list[str]]:
    """Return the given Python, else that of the active environment, else daskjob's; and notes.

    ``origin`` is what messages call the place where one was given.

    Raises
    ------
    NoPython
        The given text names none.
    """
    if given:
        return _or_own(_named(given, environ, origin), origin), []
    notes: list[str] = []
    for variable in _by_path(environ):
        folder = environ.get(variable, "")
        if not folder:
            continue
        path = _python_in(Path(folder))
        if path:
            return _or_own(path, variable), notes
        notes.append(f"{variable} names {folder}, which has no Python")
    return Python(sys.executable), notes


def _named(given: str, environ: Mapping[str, str], origin: str) -> str:
    """Return the program that ``--python`` names: a path, an environment, a program, a version."""
    where = f"--python {given}" if origin == "--python" else given
    folder = Path(given).expanduser()
    if folder.is_dir():
        found = _python_in(folder) or (_python_in(folder.parent) if folder.name == "bin" else "")
        if not found:
            raise NoPython(f"{where}: this folder has no bin/python; name an environment's folder")
        return found
    name = f"python{given}" if re.fullmatch(r"\d+(\.\d+)*", given) else str(folder)
    program = shutil.which(name, path=environ.get("PATH"))
    if program is None:
        raise NoPython(f"{where}: there is no such program, nor an environment")
    return os.path.abspath(program)


def _python_in(environment: Path) -> str:
    for name in ("bin/python", "bin/python3"):
        path = environment.absolute() / name
        if os.access(path, os.X_OK):
            return str(path)
    return ""


def _by_path(environ: Mapping[str, str]) -> list[str]:
    """Return the variables of active environments, first the one whose Python is first in PATH."""
    program = shutil.which("python", path=environ.get("PATH")) or ""

    def is_later(variable: str) -> bool:
        return not (environ.get(variable) and program.startswith(environ[variable] + os.sep))

    return sorted(_ACTIVE, key=is_later)


def _or_own(path: str, origin: str) -> Python:
    """Return the Python at a path; daskjob's own if it is the same environment."""
    environment = os.path.realpath(Path(path).parent.parent)
    same = environment == os.path.realpath(sys.prefix) or path == sys.executable
    return Python(sys.executable) if same else Python(path, origin)


def examined(python: Python, environ: Mapping[str, str]) -> Examined:
    """Return what a Python reports about itself.

    Raises
    ------
    NoPython
        The program is no Python.
    """
    command = [python.path, "-c", _PROBE]
    try:
        done = subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
        return Examined(found["version"], bool(found["has_dask"]))
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise NoPython(f"{python.path} is no working Python: {cut(lines[-1], 200)}") from error


def chosen_pythons(
    python: Python, needs: Needs, *, environ: Mapping[str, str]
) -> tuple[Pythons, bool, list[str]]:
    """Return the Pythons of a run, whether there may be workers, and notes for the user.

    A Python without Dask runs a script that uses none; the scheduler is then daskjob's own.

    Raises
    ------
    NoPython
        The chosen Python has no Dask, which workers need.
    """
    wanted = needs.declared
    if python.is_own and wanted is None:
        return Pythons(), True, []
    found = examined(python, environ)
    notes = [] if python.is_own else [f"runs with {python.path} ({python.origin}, {found.version})"]
    notes += _lacking(needs.subject, wanted, python, environ) if wanted else []
    if found.has_dask:
        return Pythons(python.path, python.path), True, notes
    if not needs.may_lack_dask and (needs.workers or needs.uses_dask):
        raise NoPython(
            f"{python.path} ({python.origin}) has no dask and distributed, which its workers need. "
            f"Install them: {python.install} distributed; choose another Python: --python PATH; "
            "or run without workers: -w 0"
        )
    if needs.uses_dask or not needs.may_lack_dask:
        notes.append(f"no workers: it has no distributed ({python.install} distributed)")
    return Pythons(script=python.path), False, notes


def _lacking(
    subject: str, wanted: Declared, python: Python, environ: Mapping[str, str]
) -> list[str]:
    """Return one sentence about declared packages, or a version, that the Python lacks."""
    from daskjob.submit.environment.installed import installed_in
    from daskjob.submit.environment.python_version import check_python
    from daskjob.submit.environment.wanted import UnfitEnvironment

    if wanted.problem:
        return [f"{subject}: {wanted.problem}"]
    there = installed_in(python.path, wanted.requirements, environ)
    try:
        check_python(wanted.requires_python, subject, there.target)
    except UnfitEnvironment as error:
        return [str(error)]
    unmet = {text: shown for text in wanted.requirements if (shown := there.unmet(text))}
    if not unmet:
        return []
    requirements = shlex.join(text.strip() for text in unmet)
    return [
        f"{subject} declares {', '.join(unmet.values())}, which {python.path} lacks; "
        f"install: {python.install} {requirements}"
    ]


def environment_of(python: Python, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of processes: programs of the chosen Python come first in PATH."""
    found = dict(environ)
    if python.is_own:
        return found
    folder = Path(python.path).parent
    if found.get("PATH", "").split(os.pathsep)[0] != str(folder):
        found["PATH"] = os.pathsep.join(filter(None, [str(folder), found.get("PATH", "")]))
    if (folder.parent / "pyvenv.cfg").exists():
        found["VIRTUAL_ENV"] = str(folder.parent)
    return found
