"""How each job of this machine was run: what ``retry`` and ``run --like`` need besides its spec.

A file for each run, which only its owner can read, beside the folders of runs: it stays when an old
folder is removed. It has no secret values: those of variables are left out by the same rule as in
the records of submissions, and have to be given again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from daskjob.backends.local.own_files import (
    is_own_folder,
    make_own_folder,
    read_own_file,
    write_own_file,
)
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.submit.records.secret_names import is_secret
from daskjob.submit.records.secret_texts import without_secrets
from daskjob.submit.records.secret_values import without_secret_values
from daskjob.submit.records.store import KEPT_BYTES, KEPT_DAYS, KEPT_RECORDS

#: In the state directory, where a leading dot is no run's name.
FOLDER = ".ran"
VERSION = 1
#: Of a script that is larger, changes are not noticed.
_LARGEST_SCRIPT = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Origin:
    """The files that a run was made from."""

    #: The script that runs; empty for a module, a command or code.
    script: str = ""
    #: The manifest's file, if it has ConfigMaps or Secrets that the job uses.
    file: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How one job was run."""

    #: The job, without secret values and without its status.
    manifest: Manifest
    #: Where it ran.
    folder: str
    #: The values of variables that the manifest only names; ``None``: not kept.
    variables: Mapping[str, str | None] = field(default_factory=dict)
    #: Those of them that had the value of the user's environment.
    passed_on: tuple[str, ...] = ()
    python: str = ""
    dask_python: str = ""
    script: str = ""
    script_hash: str = ""
    file: str = ""

    @property
    def name(self) -> str:
        """The job's name."""
        return str(metadata(self.manifest).get("name") or "")

    @property
    def uid(self) -> str:
        """The job's uid."""
        return str(metadata(self.manifest).get("uid") or "")


def record_of_run(
    job: Manifest,
    *,
    folder: Path,
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    pythons: tuple[str, str],
    origin: Origin,
) -> RunRecord:
    """Return the record of a run that is about to start."""
    return RunRecord(
        without_secret_values({key: value for key, value in job.items() if key != "status"}),
        str(folder),
        {name: _kept(name, value) for name, value in variables.items()},
        tuple(name for name, value in variables.items() if environment.get(name) == value),
        *pythons,
        origin.script,
        fingerprint(origin.script),
        origin.file,
    )


def _kept(name: str, value: str) -> str | None:
    """Return the value of a variable; ``None`` if it is, or shows, a secret."""
    if is_secret(name) or without_secrets(value, lambda _: "") != value:
        return None
    return value


def fingerprint(script: str) -> str:
    """Return a hash of a script's text; empty if it cannot be read."""
    if not script:
        return ""
    with suppress(OSError):
        path = Path(script)
        if path.is_file() and path.stat().st_size <= _LARGEST_SCRIPT:
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


class RunRecords:
    """The records of one state directory."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def add(self, record: RunRecord) -> None:
        """Keep a record; remove old ones.

        Raises
        ------
        OSError
            The state directory cannot be written, or is not this user's.
        """
        make_own_folder(self._folder)
        data = json.dumps({"version": VERSION, **asdict(record)}).encode()
        write_own_file(self._path(record.name, record.uid), data)
        with suppress(OSError):
            self._prune()

    def of(self, name: str, uid: str = "") -> RunRecord | None:
        """Return the record of a job, by default of the newest one of its name."""
        paths = self._files(f"{name}.{uid[:8] or '*'}.json")
        return next((found for path in paths if (found := _read(path)) is not None), None)

    def remove(self, name: str, uid: str) -> None:
        """Remove a record; one that is gone already is no error."""
        with suppress(OSError):
            self._path(name, uid).unlink()

    def _path(self, name: str, uid: str) -> Path:
        return self._folder / f"{name}.{uid[:8]}.json"

    def _files(self, pattern: str) -> list[Path]:
        """Return files, newest first; none where the folder is missing or another user's."""
        found: list[tuple[float, Path]] = []
        with suppress(OSError):
            if is_own_folder(self._folder):
                for path in self._folder.glob(pattern):
                    with suppress(OSError):
                        found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found, reverse=True)]

    def _prune(self) -> None:
        oldest, size = time.time() - KEPT_DAYS * 24 * 3600, 0
        for number, path in enumerate(self._files("*.json")):
            with suppress(OSError):
                facts = path.stat()
                size += facts.st_size
                is_old = facts.st_mtime < oldest
                # The newest one stays, whatever its size.
                if number and (is_old or number >= KEPT_RECORDS or size > KEPT_BYTES):
                    path.unlink()


def _read(path: Path) -> RunRecord | None:
    """Return the record of a file; ``None``: it is none, or another version's."""
    try:
        found = json.loads(read_own_file(path))
        if not isinstance(found, dict) or found.pop("version", None) != VERSION:
            return None
        return _record(found)
    except (OSError, ValueError, RecursionError, TypeError):
        return None


def _record(found: Mapping[str, Any]) -> RunRecord | None:
    values = {each.name: found[each.name] for each in fields(RunRecord) if each.name in found}
    record = RunRecord(**{**values, "passed_on": tuple(_texts(values.get("passed_on")))})
    is_right = all(isinstance(getattr(record, name), str) for name in _TEXTS)
    is_right = is_right and isinstance(record.variables, dict)
    spec = mapping(mapping(record.manifest).get("spec"))
    return record if is_right and spec and record.name and record.uid else None


def _texts(value: Any) -> Iterable[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


_TEXTS = ("folder", "python", "dask_python", "script", "script_hash", "file")
