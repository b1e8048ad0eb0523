"""The packages and the code of a run: ``spec.environment`` and ``spec.code`` on this machine.

Packages are in an overlay of the cache, the same for all processes of the run and for later runs
with the same requirements; so is a commit of a repository. An archive in ConfigMaps is unpacked for
each run.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daskjob.backends.local.config import Config
from daskjob.backends.local.full_disk import NO_SPACE
from daskjob.backends.local.installer import NEVER, Installation, NotInstalled
from daskjob.backends.local.overlays import (
    Building,
    Cancelled,
    Overlay,
    overlay,
    overlay_key,
    overlays_root,
)
from daskjob.backends.local.python_facts import NoFacts, PythonFacts, python_facts
from daskjob.core import names
from daskjob.core.spec import DaskJob

_PINNED = re.compile(r"([-\w.]+)(?:\[[^\]]*\])? ?={2,3} ?([^\s,;*]+)\s*(?:;|--hash|$)")
_DASK = ("dask", "distributed")
#: The exit code of a process that SIGKILL has ended.
KILLED = 137


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job's processes get beside what their Python has."""

    requirements: tuple[str, ...] = ()
    requires_python: str = ""
    index_urls: tuple[str, ...] = ()
    find_links: str = ""
    #: The fields of the Secret with the login for the indexes.
    login: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the installer."""
        return {
            "requirements": list(self.requirements),
            "requiresPython": self.requires_python,
            "indexURLs": list(self.index_urls),
            "findLinks": self.find_links,
        }


def wanted_by(job: DaskJob, config: Config) -> Wanted:
    """Return the packages of a job's spec."""
    found = job.environment
    return Wanted(
        found.requirements,
        found.requires_python,
        found.index_urls,
        found.find_links,
        dict(config.get("Secret", found.secret_name) or {}) if found.secret_name else {},
    )


def packages_key(wanted: Wanted, facts: PythonFacts) -> str:
    """Return the name of the overlay of packages for a Python.

    Installed versions count where they decide what is installed: those of Dask, of the locked
    packages, and all of them where versions are open.
    """
    pins = [_PINNED.match(" ".join(line.split())) for line in wanted.requirements]
    locked = {_plain(pin.group(1)) for pin in pins if pin}
    installed = {_plain(name): version for name, version in facts.installed.items()}
    if all(pins):
        installed = {n: v for n, v in installed.items() if n in locked or n in _DASK}
    have = [f"{name}=={version}" for name, version in sorted(installed.items())]
    where = [*wanted.index_urls, wanted.find_links, wanted.requires_python]
    return overlay_key([*wanted.requirements, "", *where, "", *facts.identity, "", *have])


def count_of(wanted: Wanted, facts: PythonFacts) -> int:
    """Return the number of packages to install, as far as it is known before."""
    installed = {_plain(name): version for name, version in facts.installed.items()}
    pins = [_PINNED.match(" ".join(line.split())) for line in wanted.requirements]
    return sum(1 for pin in pins if not pin or installed.get(_plain(pin.group(1))) != pin.group(2))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Packages:
    """The packages of a run, installed when they are first needed."""

    def __init__(
        self,
        wanted: Wanted,
        *,
        python: str,
        environment: Mapping[str, str],
        root: Path | None = None,
    ) -> None:
        self._wanted = wanted
        self._python = python
        self._environment = environment
        self._root = root or overlays_root()
        self._found: Overlay | None = None
        self._facts: PythonFacts | None = None
        #: Set when the run is cancelled.
        self.cancelled = threading.Event()
        #: What happens at the moment, for display; empty: nothing.
        self.activity = ""
        #: What has happened so far.
        self.activities: list[str] = []
        #: Called when that changes, maybe in another thread.
        self.on_activity: Callable[[], None] = lambda: None

    @property
    def folder(self) -> Path | None:
        """The folder of the packages; ``None``: they are not installed, or there are none."""
        return self._found.folder if self._found else None

    @property
    def note(self) -> str:
        """What the user should know about the cache; empty: nothing."""
        return self._found.note if self._found else ""

    def install(self) -> None:
        """Install the packages, unless they are there; it may take minutes.

        Raises
        ------
        NotInstalled
            They cannot be installed.
        Cancelled
            The run was cancelled.
        """
        if self._found is not None or not self._wanted.requirements:
            if not self._wanted.requirements and self._wanted.requires_python:
                self._check_python()
            return
        try:
            facts = python_facts(self._python, self._environment)
        except NoFacts as error:
            raise NotInstalled(NEVER, str(error)) from error
        key = packages_key(self._wanted, facts)
        try:
            self._found = overlay(self._root, key, self._building(facts))
        except OSError as error:
            full = f"no space is left in {self._root} for the packages: free some, or name a folder"
            why = f"the cache of packages {self._root} cannot be used: {error.strerror or error}"
            where = f"{full} on another disk: XDG_CACHE_HOME=FOLDER"
            raise NotInstalled(NEVER, where if error.errno in NO_SPACE else why) from error
        finally:
            self._act("")

    def _building(self, facts: PythonFacts) -> Building:
        installation = Installation(
            self._python,
            self._environment,
            self._wanted.settings,
            {"index": self._wanted.login} if self._wanted.login else {},
        )
        count = count_of(self._wanted, facts)

        def install(folder: Path) -> None:
            self._act(f"installing {count} package{'' if count == 1 else 's'}")
            installation.into(folder, self.cancelled)

        def wait() -> None:
            self._act("waiting for another run that installs the same packages")

        return Building(install, wait, self.cancelled)

    def _check_python(self) -> None:
        """Check the Python alone: an installer of nothing."""
        import tempfile

        installation = Installation(self._python, self._environment, self._wanted.settings)
        with tempfile.TemporaryDirectory(prefix="daskjob-") as folder:
            installation.into(Path(folder), self.cancelled)

    def _act(self, activity: str) -> None:
        self.activity = activity
        if activity:
            self.activities.append(activity)
        self.on_activity()

    def close(self) -> None:
        """Let the overlay be pruned."""
        if self._found is not None:
            self._found.close()
            self._found = None


def code_settings(job: DaskJob, config: Config, folder: Path) -> dict[str, Any]:
    """Return how the installer gets the code of a job; empty where it has none here.

    The parts of an archive are written below a folder.
    """
    code = job.code
    if code is None:
        return {}
    if code.config_maps:
        parts = []
        for number, name in enumerate(code.config_maps):
            part = folder / f"part-{number}"
            part.write_bytes((config.get("ConfigMap", name) or {}).get(names.CODE_PART, b""))
            parts.append(str(part))
        return {"parts": parts}
    if code.git is not None:
        return {"git": {"url": code.git.url, "commit": code.git.commit}}
    return {}


class RunCode:
    """The code of a run that is no file of this machine."""

    def __init__(
        self, job: DaskJob, config: Config, *, environment: Mapping[str, str], scratch: Path
    ) -> None:
        self._job = job
        self._config = config
        self._environment = environment
        self._scratch = scratch
        self._held: Overlay | None = None
        self.cancelled = threading.Event()
        #: The folder of the code, once it is there.
        self.folder: Path | None = None

    def fetch(self) -> None:
        """Unpack or fetch the code, unless it is there.

        Raises
        ------
        NotInstalled
            It is damaged, or cannot be fetched.
        Cancelled
            The run was cancelled.
        """
        code = self._job.code
        if self.folder is not None or code is None:
            return
        work = self._scratch / "daskjob-code"
        work.mkdir(exist_ok=True)
        settings = code_settings(self._job, self._config, work)
        if not settings:
            return
        secret = code.git.secret_name if code.git else ""
        login = dict(self._config.get("Secret", secret) or {}) if secret else {}
        logins = {"git": login} if login else {}
        installation = Installation(sys.executable, self._environment, {"code": settings}, logins)
        if code.git is None:
            folder = work / "code"
            folder.mkdir(exist_ok=True)
            installation.into(folder, self.cancelled)
            self.folder = folder
            return
        key = overlay_key([code.git.url, code.git.commit])
        building = Building(lambda folder: installation.into(folder, self.cancelled))
        self._held = overlay(overlays_root().with_name("code"), key, building)
        self.folder = self._held.folder

    def close(self) -> None:
        """Let the code of a commit be pruned."""
        if self._held is not None:
            self._held.close()


class RunEnvironment:
    """The packages and the code of one run, prepared once for all of its pods."""

    def __init__(self, packages: Packages, code: RunCode) -> None:
        self._packages = packages
        self._code = code
        # Where they were installed before, that was reported before.
        self._reports = packages.folder is None
        self._preparing: asyncio.Future[None] | None = None
        self._lock = asyncio.Lock()
        self._is_ready = False

    @property
    def activities(self) -> tuple[str, ...]:
        """What has happened so far, for display."""
        return tuple(self._packages.activities) if self._reports else ()

    @property
    def note(self) -> str:
        """What the user should know about the cache; empty: nothing."""
        return self._packages.note

    @property
    def packages(self) -> Path | None:
        """The folder of the packages, once they are installed; ``None``: there are none."""
        return self._packages.folder

    @property
    def code(self) -> Path | None:
        """The folder of the code, once it is there; ``None``: there is none."""
        return self._code.folder

    async def prepare(self) -> tuple[int, str]:
        """Prepare what pods need; return the exit code of a container that does so, and why."""
        async with self._lock:
            if self._is_ready:
                return 0, ""
            self._preparing = asyncio.get_running_loop().run_in_executor(None, self._prepare)
            try:
                await asyncio.shield(self._preparing)
            except NotInstalled as error:
                return error.code, error.message
            except Cancelled:
                return KILLED, "the run was cancelled"
            except OSError as error:
                return NEVER, f"this machine cannot prepare the job: {error}"
            self._is_ready = True
            return 0, ""

    def _prepare(self) -> None:
        self._packages.install()
        self._code.fetch()

    def cancel(self) -> None:
        """End an installation that runs."""
        self._packages.cancelled.set()
        self._code.cancelled.set()

    async def close(self) -> None:
        """End an installation that runs, and release what was held."""
        self.cancel()
        if self._preparing is not None:
            await asyncio.gather(self._preparing, return_exceptions=True)
        self._packages.close()
        self._code.close()
