"""Where the processes of a run write: as Dask decides it, in a folder of the run's own.

The order is Dask's: the variable ``DASK_TEMPORARY_DIRECTORY`` (of the workers' containers, then of
the user's environment), ``temporary-directory`` in the YAML files of its configuration, the
system's temporary folder.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from daskjob.backends.local.scratch_mark import SCRATCH_MARK
from daskjob.backends.local.translate import TEMPORARY_DIRECTORY
from daskjob.core.spec import ClusterSpec

#: Configuration files are parsed only if they have the key outside a comment: few do.
_KEY = re.compile(r"^[^#\n]*\btemporary[-_]directory['\"]?\s*:", re.MULTILINE)


def temporary_directory(
    cluster: ClusterSpec | None, environment: Mapping[str, str], cwd: Path, *, prefix: str
) -> Path:
    """Make and return the run's folder for temporary files."""
    named = [*named_by_workers(cluster, environment), *_named_by_user(environment)]
    for text in named[:1]:
        parent = cwd / text
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        (scratch / SCRATCH_MARK).touch()
        return scratch
    return Path(tempfile.mkdtemp(prefix=prefix))


def named_by_workers(cluster: ClusterSpec | None, given: Mapping[str, str]) -> list[str]:
    """Return the folders that the containers of workers name, the default group's first.

    ``given`` has the values of variables that a container only names.
    """
    found: list[str] = []
    for group in cluster.all_groups if cluster else ():
        for container in group.template.containers:
            for variable in container.get("env") or ():
                if variable.get("name") != TEMPORARY_DIRECTORY or variable.get("valueFrom"):
                    continue
                value = variable.get("value", given.get(TEMPORARY_DIRECTORY))
                if value and value not in found:
                    found.append(str(value))
    return found


def _named_by_user(environment: Mapping[str, str]) -> list[str]:
    value = environment.get(TEMPORARY_DIRECTORY) or _configured(environment)
    return [value] if value else []


def _configured(environment: Mapping[str, str]) -> str:
    """Return ``temporary-directory`` of the YAML files; empty if none has it."""
    for file in _files(environment):
        with suppress(OSError, UnicodeDecodeError):
            text = file.read_text()
            value = _value(text) if _KEY.search(text) else ""
            if value:
                return value
    return ""


def _value(text: str) -> str:
    # Imported here: most users have no such file, and its import takes 20 ms.
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return ""
    if not isinstance(found, dict):
        return ""
    value = found.get("temporary-directory") or found.get("temporary_directory")
    return os.path.expandvars(value) if isinstance(value, str) else ""


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files of Dask's configuration, the most important first."""
    for folder in reversed(_folders(environment)):
        if folder.is_dir():
            yield from sorted(
                (f for f in folder.iterdir() if f.suffix in (".yaml", ".yml", ".json")),
                reverse=True,
            )
        elif folder.is_file():
            yield folder


def _folders(environment: Mapping[str, str]) -> Sequence[Path]:
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    folders = [Path(environment.get("DASK_ROOT_CONFIG") or "/etc/dask")]
    folders.append(Path(sys.prefix, "etc", "dask"))
    folders.append(home / ".config" / "dask")
    if environment.get("DASK_CONFIG"):
        folders.append(Path(environment["DASK_CONFIG"]))
    return folders
