"""What a script's workers inherit of it: what ``in_script`` compares with, and what it asks for.

``daskjob/in_script/inheritance.py`` is the other side, in the script's process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daskjob.core.manifests import Manifest

#: A variable of a worker's container: names of variables that its process does not have.
UNSET_VARIABLE = "DASKJOB_UNSET"


@dataclass(frozen=True, slots=True)
class Inherited:
    """What workers have beside what the run gives them: the script changed it before."""

    env: tuple[tuple[str, str], ...] = ()
    unset: tuple[str, ...] = ()
    folder: str = ""

    def container(self, container: Manifest) -> Manifest:
        """Return a worker's container that starts with it."""
        env = [{"name": name, "value": value.replace("$", "$$")} for name, value in self.env]
        if self.unset:
            env.append({"name": UNSET_VARIABLE, "value": "\n".join(self.unset)})
        folder = {"workingDir": self.folder} if self.folder else {}
        return {**container, **folder, "env": [*(container.get("env") or ()), *env]}


def inherited_from(raw: object) -> Inherited | None:
    """Return what a request asks for.

    Raises
    ------
    TypeError, ValueError, AttributeError
        It is no such request: a script may write anywhere.
    """
    if not isinstance(raw, dict):
        return None
    return Inherited(
        env=tuple((str(name), str(value)) for name, value in raw["env"].items()),
        unset=tuple(str(name) for name in raw["unset"]),
        folder=str(raw["folder"] or ""),
    )


def at_start(environment: Mapping[str, str], worker: Manifest, cwd: Path) -> Manifest:
    """Return what workers start with, for a comparison in the script's process.

    Of variables it has no values: only texts by which they are compared.
    """
    variables = {v.get("name"): str(v.get("value") or "") for v in worker.get("env") or ()}
    folder = str(worker.get("workingDir") or cwd)
    path = variables.get("PYTHONPATH", "").replace("$$", "$")
    path = path or environment.get("PYTHONPATH", "")
    return {
        "env": {name: digest(value) for name, value in environment.items()},
        "python_path": digest(environment.get("PYTHONPATH", "")),
        "folder": folder,
        "path": [os.path.abspath(os.path.join(folder, p)) for p in path.split(os.pathsep) if p],
        **process_state(),
    }


def digest(value: str) -> str:
    """Return a text by which values are compared, as in the script's process."""
    data = value.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def process_state() -> Manifest:
    """Return what the processes of the run inherit of this one: umask, priority, limits, CPUs."""
    import resource

    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "umask": mask,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": {name: list(resource.getrlimit(getattr(resource, name))) for name in limits},
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
    }
