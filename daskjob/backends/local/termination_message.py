"""The termination message of a container: what it wrote, or the end of its log."""

from __future__ import annotations

from pathlib import Path

from daskjob.backends.local.exit_text import failure_message, script_end
from daskjob.core.command_line import python_script, words
from daskjob.core.manifests import Manifest

#: The end of the log that becomes a failed container's message.
LOG_TAIL_BYTES = 32 * 1024
#: Where a message file is cut: above the limit of a result, so that a longer one is detected.
MESSAGE_BYTES = 8192


def termination_message(
    container: Manifest,
    code: int,
    *,
    written_to: Path,
    log: Path,
    pending: bytes,
    cwd: Path,
    recorded: str,
) -> str:
    """Return the message of a container that ended: what it wrote, or why it failed.

    Whatever its policy, a failed container without a message gets the end of its log. ``pending``
    is the end of the log that the disk had no space for, ``recorded`` the exception that the
    script's own process recorded.
    """
    written = _read(written_to, MESSAGE_BYTES, from_end=False)
    if code == 0:
        return written
    output = pending[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    output = output or _read(log, LOG_TAIL_BYTES, from_end=True)
    if code != 1:
        return failure_message(written, output, "")
    script = python_script([str(word) for word in words(container)])
    end = recorded or (script_end(cwd / script, output) if script else "")
    return failure_message(written, output, end)


def _read(path: Path, limit: int, *, from_end: bool) -> str:
    try:
        with path.open("rb") as file:
            if from_end:
                file.seek(0, 2)
                file.seek(max(file.tell() - limit, 0))
            data = file.read(limit)
    except OSError:
        return ""
    return data.decode(errors="replace").strip()
