"""What the workers of a LocalCluster inherit from the script, as far as the run's workers lack it.

A LocalCluster starts its workers when the script makes it: they have the environment, ``sys.path``,
the working directory and Dask's configuration that the script has then. The run's workers start
before the script. ``Difference`` compares the process with the one that the run started; the run's
workers are made anew only if something that matters to them differs.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import sys
import warnings
from multiprocessing.process import ORIGINAL_DIR  # type: ignore[attr-defined]
from typing import Any

import dask

#: The folder of this file, which the run adds to the script's PYTHONPATH.
FOLDER = os.path.dirname(os.path.abspath(__file__))
#: Variables that are daskjob's own: workers have their own values.
OWN = ("DASKJOB_", "DASK_SCHEDULER_ADDRESS", "SPT_NOENV", "PYTHONPATH")
#: Variables that imports, shells and test runners set: alone, they are no reason for new workers.
SIDE_EFFECTS = (
    *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "CUDA_MODULE_LOADING", "QT_QPA_"),
    *("TF2_BEHAVIOR", "TF_CPP_MIN_LOG_LEVEL", "TPU_ML_PLATFORM"),
    *("PYTEST_", "COV_CORE_", "PYDEVD_"),
)
SHELL = {"_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"}
#: Folders that the import of a library appends to ``sys.path``.
APPENDED = (os.path.join("setuptools", "_vendor"),)
#: The variable by which a worker gets what no other variable expresses.
STATE_VARIABLE = "DASKJOB_INHERITED"
#: A variable has at most 128 KiB on Linux.
LIMIT = 120_000
OF_SCHEDULER = ("distributed", "scheduler")
#: A client sets these for its own process.
OF_CLIENT = (("scheduler",), ("shuffle",))
#: Parts of Dask's configuration that no worker reads.
NOT_OF_WORKERS = (
    ("scheduler-address",),
    ("visualization",),
    *(("distributed", part) for part in ("adaptive", "client", "dashboard", "deploy", "scheduler")),
)


#: Run by the scheduler, which imports the modules that a graph refers to.
FOR_SCHEDULER = """\
import os, sys
if state["prefix"] == sys.prefix:
    sys.path[:] = state["path"]
for name in state["unset"]:
    os.environ.pop(name, None)
os.environ.update(state["env"])
try:
    os.chdir(state["folder"])
except OSError:
    pass
"""


class Difference:
    """What the script's process has and the run's workers lack."""

    def __init__(self, start: dict[str, Any], path_at_start: Any):
        """Compare with what the run's workers started with.

        ``start`` comes from the run (``daskjob.backends.local.inherited``); ``path_at_start`` is
        ``sys.path`` before Python put the script's folder into it.
        """
        known = start["env"]
        now = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        self.env = {name: value for name, value in now.items() if known.get(name) != digest(value)}
        self.unset = [n for n in known if n not in now and not n.startswith(OWN)]
        counted = [n for n in (*self.env, *self.unset) if counts(n, self.env.get(n, ""))]
        python_path = without_folder(os.environ.get("PYTHONPATH", ""))
        has_path = digest(python_path) != start["python_path"]
        self.process = {k: value for k, value in process_state().items() if start[k] != value}
        changes = changed_config()
        self.config = [change for change in changes if is_of_workers(change[0])]
        #: The changed settings of the scheduler, which has started already.
        self.of_scheduler = [".".join(path) for path, _ in changes if path[:2] == OF_SCHEDULER]
        #: Whether the configuration does not fit into a variable: workers do without it.
        self.too_large = False
        self.folder = working_directory()
        has_folder = self.folder is not None and self.folder != start["folder"]
        self.matters = bool(counted or has_path or self.process or self.config or has_folder)
        self.matters = self.matters or has_other_path(start["path"], path_at_start)
        if python_path:
            self.env["PYTHONPATH"] = python_path
        else:
            self.unset.append("PYTHONPATH")

    @property
    def temporary_directory(self) -> Any:
        """The folder for temporary files, if Dask's configuration names another one."""
        return dict(self.config).get(("temporary-directory",))

    def request(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what the run is asked to start workers with.

        ``options`` are further arguments of the nannies.
        """
        state = {"path": self._path(), "prefix": sys.prefix, "config": self.config, **self.process}
        state["options"] = pickle.dumps(options, protocol=4) if options else b""
        text = encoded(state)
        if len(text) > LIMIT:
            self.too_large = True
            text = encoded({**state, "config": []})
        env = {**self.env, STATE_VARIABLE: text}
        return {"env": env, "unset": self.unset, "folder": self.folder}

    def for_scheduler(self) -> tuple[str, dict[str, Any]]:
        """Return a program, and its variables, for the scheduler: that of a script is in it."""
        state = {"path": self._path(), "prefix": sys.prefix, "env": self.env, "unset": self.unset}
        return FOR_SCHEDULER, {"state": {**state, "folder": self.folder or os.sep}}

    def _path(self) -> list[str]:
        return [place or ORIGINAL_DIR for place in sys.path if isinstance(place, str)]


def digest(value: str) -> str:
    """Return a text by which values are compared, as the run does."""
    data = value.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def counts(name: str, value: str) -> bool:
    """Return whether a changed variable is a reason for new workers."""
    if name == "LC_CTYPE" and value.upper().replace("-", "").endswith("UTF8"):
        # Python itself sets it in the C locale.
        return False
    return name not in SHELL and not name.startswith(SIDE_EFFECTS)


def without_folder(path: str) -> str:
    """Return a value of PYTHONPATH without the folder that the run added."""
    return os.pathsep.join(part for part in path.split(os.pathsep) if part != FOLDER)


def working_directory() -> str | None:
    """Return the working directory; ``None`` if it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def has_other_path(known: list[str], at_start: Any) -> bool:
    """Return whether modules may be found elsewhere than at the start.

    Python puts the script's folder first, once ``at_start`` was recorded; workers know it.
    """
    now = [place for place in sys.path if isinstance(place, str) and not place.endswith(APPENDED)]
    before = [place for place in at_start if not place.endswith(APPENDED)]
    if now == before:
        return False
    return now[1:] != before or os.path.abspath(now[0]) not in known


# Dask's configuration


def changed_config() -> list[tuple[tuple[str, ...], Any]]:
    """Return the values that differ from files and variables, by path."""
    plain: dict[str, Any] = {}
    with warnings.catch_warnings():
        # They were shown when dask was imported.
        warnings.simplefilter("ignore")
        dask.config.refresh(config=plain)
    return list(leaves(dask.config.config, plain, ()))


def dashed(settings: dict[Any, Any]) -> dict[Any, Any]:
    """Return settings with names as the documentation has them.

    For Dask, ``_`` and ``-`` are the same: which of them is there depends on what came first.
    """
    return {k.replace("_", "-") if isinstance(k, str) else k: v for k, v in settings.items()}


def is_of_workers(path: tuple[str, ...]) -> bool:
    """Return whether workers read a setting."""
    if path in OF_CLIENT and has_default_client():
        return False
    return not any(path[: len(part)] == part for part in NOT_OF_WORKERS)


def has_default_client() -> bool:
    """Return whether the script has a client already."""
    from distributed import default_client

    try:
        default_client()
    except ValueError:
        return False
    return True


def leaves(now: dict[str, Any], plain: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Yield (path, value) of each difference; a value that is gone is ``None``.

    A worker keeps what only its files and variables have, beside what it inherits.
    """
    now, plain = dashed(now), dashed(plain)
    for key in {**plain, **now}:
        one, two = now.get(key), plain.get(key)
        if isinstance(one, dict) and isinstance(two, dict) and one and two:
            yield from leaves(one, two, (*path, key))
        elif not same(one, two) and (path or key in now):
            yield (*path, key), one


def same(one: Any, two: Any) -> bool:
    """Return whether two values are equal; arrays and the like are not."""
    try:
        return type(one) is type(two) and bool(one == two)
    except Exception:
        return False


# The process


def process_state() -> dict[str, Any]:
    """Return what a process inherits besides: umask, priority, limits, processors."""
    import resource

    limits = {n: list(resource.getrlimit(getattr(resource, n))) for n in dir(resource) if limit(n)}
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return {"umask": umask(), "nice": nice, "limits": limits, "affinity": affinity}


def limit(name: str) -> bool:
    """Return whether a name of ``resource`` is that of a limit."""
    return name.startswith("RLIMIT_")


def umask() -> int:
    """Return the mask of new files' permissions."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# For the worker


def encoded(state: dict[str, Any]) -> str:
    """Return what a worker applies at its start, as the value of a variable.

    A value of the configuration that cannot be pickled is left out. The others are pickled each: a
    class may be found by the script's path only, which the worker sets first.
    """
    config = []
    for path, value in state["config"]:
        try:
            config.append((path, pickle.dumps(value, protocol=4)))
        except Exception:
            continue
    return base64.b85encode(pickle.dumps({**state, "config": config}, protocol=4)).decode()
