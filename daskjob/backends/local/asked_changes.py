"""Changes of a running job that other processes ask for: suspend, resume, scale.

Each is a file in the run's folder, with a merge patch of the job's spec. The process that runs the
job applies it and answers, so that who asked knows that it was applied, or why it was not.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daskjob.backends.local.run_folder import RunFolder, json_object
from daskjob.core.errors import Conflict, DaskJobError, Timeout
from daskjob.core.manifests import Manifest, mapping

#: How long the process that runs the job may take; it looks five times a second.
ANSWER_SECONDS = 20.0
LOOK_SECONDS = 0.05
_ASKED, _ANSWERED = ".asked", ".answered"


@dataclass(frozen=True, slots=True)
class AskedChange:
    """A change that a process asks for."""

    path: Path
    #: The merge patch of the job's spec.
    spec: Manifest


def ask(folder: RunFolder, spec: Manifest) -> bool:
    """Have the spec of a running job changed; return whether it was still running.

    Raises
    ------
    Conflict
        The change does not fit the job now.
    Timeout
        The process that runs the job does not respond; the change is made when it does.
    OSError
        The folder cannot be written.
    """
    name = f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}"
    asked, answered = (folder.path / f"{name}{end}" for end in (_ASKED, _ANSWERED))
    _write(asked, {"spec": spec})
    give_up = time.monotonic() + ANSWER_SECONDS
    while True:
        # Before the look: it may answer and end between the two.
        is_live = folder.is_live()
        with suppress(OSError):
            error = mapping(json_object(answered.read_bytes())).get("error")
            answered.unlink()
            if error:
                raise Conflict(str(error))
            return True
        if not is_live:
            asked.unlink(missing_ok=True)
            return False
        if time.monotonic() >= give_up:
            raise Timeout(
                f"the process that runs {folder.name} has not responded for {ANSWER_SECONDS:g} s; "
                "the job changes when it does"
            )
        time.sleep(LOOK_SECONDS)


def apply_asked(folder: RunFolder, apply: Callable[[Manifest], None]) -> None:
    """Apply what was asked for, in the order of the questions, and answer.

    ``apply`` raises ``DaskJobError`` for a change that does not fit.
    """
    for change in _asked(folder):
        error = ""
        try:
            apply(change.spec)
        except DaskJobError as problem:
            error = str(problem)
        with suppress(OSError):
            # Without an answer, who asked waits for it in vain; the change is made all the same.
            _write(change.path.with_suffix(_ANSWERED), {"error": error})


def _asked(folder: RunFolder) -> Iterator[AskedChange]:
    for path in sorted(folder.path.glob(f"*{_ASKED}")):
        with suppress(OSError):
            found = json_object(path.read_bytes())
            path.unlink()
            yield AskedChange(path, mapping(mapping(found).get("spec")))


def _write(path: Path, content: Manifest) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.new")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)
