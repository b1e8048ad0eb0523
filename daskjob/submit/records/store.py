"""The files of records: one for each submission, private, replaced as a whole, limited in number.

Any number of processes write at the same time: each submission has a file of its own, which is
complete when it gets its name.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from daskjob.backends.local.own_files import (
    is_own_folder,
    make_own_folder,
    read_own_file,
    write_own_file,
)
from daskjob.backends.local.state_root import state_root
from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import JobRef
from daskjob.submit.records.record import Record, as_json, from_json, is_of_another_version

#: In the state directory, where a leading dot is no run's name.
FOLDER = ".submitted"
#: How many records are kept, for how many days, and how large they may be together.
KEPT_RECORDS = 1000
KEPT_DAYS = 30.0
KEPT_BYTES = 64 * 2**20
#: A file that a killed process has left is removed after this time.
UNFINISHED_SECONDS = 3600.0
_SUFFIX = ".json"
_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class _Entry:
    """The file of a record: its name says when the job was submitted, and how it is called."""

    path: Path
    time: datetime
    name: str


class Records:
    """The records of one state directory, by default the user's."""

    def __init__(self, root: Path | None = None) -> None:
        self._folder = (state_root() if root is None else root) / FOLDER
        #: Why files of records were skipped, by path.
        self.skipped: dict[Path, str] = {}
        #: The files that were read.
        self._paths: dict[tuple[str, JobRef, str], Path] = {}

    def add(self, record: Record) -> None:
        """Keep a record, in the place of an older one of the same job; remove the oldest ones.

        Raises
        ------
        OSError
            The state directory cannot be written, or is not this user's.
        """
        make_own_folder(self._folder)
        path = self._path(record)
        for entry in self._entries():
            known = self._read(entry) if entry.name == record.name else None
            if known is not None and _is_of(known, record):
                # The same submission again, by its token: nothing of it was changed.
                path = entry.path
                record = replace(known, status=record.status or known.status)
                break
        write_own_file(path, json.dumps(as_json(record)).encode())
        with suppress(OSError):
            self._prune()

    def note_status(self, record: Record, status: Manifest | None) -> None:
        """Keep how a job has ended, if it is recorded; ``None``: it has not.

        Where that is not possible, it is asked for again.
        """
        with suppress(OSError, ValueError):
            if _key(record) not in self._paths:
                self.of(record.name)
            path = self._paths.get(_key(record))
            if path is not None and path.exists():
                write_own_file(path, json.dumps(as_json(record.with_status(status))).encode())

    def names(self) -> tuple[str, ...]:
        """Return the names of all recorded jobs, newest first; reads no record."""
        return tuple(dict.fromkeys(entry.name for entry in self._entries()))

    def all(self) -> tuple[Record, ...]:
        """Return all records, newest first."""
        return tuple(self._records(self._entries()))

    def of(self, name: str) -> tuple[Record, ...]:
        """Return the records of jobs of this name, newest first; reads no others."""
        return tuple(self._records([e for e in self._entries() if e.name == name]))

    def newest(self) -> Record | None:
        """Return the record of the last submission; ``None``: there is none."""
        return next(self._records(self._entries()), None)

    def note(self) -> str:
        """Return a message about the files that were skipped; empty: there were none."""
        if not self.skipped:
            return ""
        path, reason = next(iter(self.skipped.items()))
        others = len(self.skipped) - 1
        more = f", and {others} more" if others else ""
        return (
            f"a record of a submission cannot be read ({path}: {reason}{more}); daskjob ignores "
            "what it cannot read there, and you may remove it"
        )

    def remove(self, record: Record) -> None:
        """Remove a record; one that is gone already is no error."""
        for entry in self._entries():
            if entry.name == record.name and _is_of(self._read(entry), record):
                with suppress(OSError):
                    entry.path.unlink()

    def _records(self, entries: list[_Entry]) -> Iterator[Record]:
        for entry in entries:
            found = self._read(entry)
            if found is not None:
                self._paths[_key(found)] = entry.path
                yield found

    def _entries(self) -> list[_Entry]:
        """Return the files, newest first; none where the folder is missing or another user's."""
        try:
            if not is_own_folder(self._folder):
                return []
            found = [_entry(path) for path in self._folder.iterdir()]
        except OSError:
            return []
        known = [entry for entry in found if entry is not None]
        return sorted(known, key=lambda entry: (entry.time, entry.path.name), reverse=True)

    def _read(self, entry: _Entry) -> Record | None:
        try:
            found = json.loads(read_own_file(entry.path))
        except FileNotFoundError:
            # Removed by now.
            return None
        except OSError as error:
            self.skipped[entry.path] = error.strerror or type(error).__name__
            return None
        except (ValueError, RecursionError):
            self.skipped[entry.path] = "not written by daskjob, or damaged"
            return None
        record = from_json(found)
        if record is None and not is_of_another_version(found):
            self.skipped[entry.path] = "not written by daskjob, or damaged"
        return record

    def _path(self, record: Record) -> Path:
        moment = record.time.astimezone(UTC).strftime(_TIME)
        return self._folder / f"{moment}.{record.name}.{secrets.token_hex(4)}{_SUFFIX}"

    def _prune(self) -> None:
        now = time.time()
        size = 0
        for number, entry in enumerate(self._entries()):
            try:
                size += entry.path.stat().st_size
                is_old = now - entry.time.timestamp() > KEPT_DAYS * 24 * 3600
                # The newest one stays, whatever its size.
                if number and (is_old or number >= KEPT_RECORDS or size > KEPT_BYTES):
                    entry.path.unlink()
            except OSError:
                continue
        for path in self._folder.glob(".*"):
            with suppress(OSError):
                if now - path.stat().st_mtime > UNFINISHED_SECONDS:
                    path.unlink()


def _entry(path: Path) -> _Entry | None:
    if path.suffix != _SUFFIX or path.name.startswith("."):
        return None
    parts = path.name.split(".")
    if len(parts) != 5:
        return None
    try:
        moment = datetime.strptime(f"{parts[0]}.{parts[1]}", _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return _Entry(path, moment, parts[2])


def _key(record: Record) -> tuple[str, JobRef, str]:
    return record.uid, record.ref, record.cluster.context


def _is_of(found: Record | None, record: Record) -> bool:
    """Return whether two records are about the same job."""
    return found is not None and _key(found) == _key(record)
