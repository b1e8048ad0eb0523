"""The termination message of a container: what it wrote, or the end of its log."""

from __future__ import annotations

from pathlib import Path

from daskjob.backends.local.exit_text import exit_text
from daskjob.core.command_line import python_script, words
from daskjob.core.diagnose import EXIT_LINE
from daskjob.core.last_exception import last_exception
from daskjob.core.manifests import Manifest

#: The end of the log that becomes a failed container's message.
LOG_TAIL_BYTES = 32 * 1024
#: Where a message file is cut: above the limit of a result, so that a longer one is detected.
MESSAGE_BYTES = 8192


def termination_message(
    container: Manifest, code: int, *, written_to: Path, log: Path, pending: bytes, cwd: Path
) -> str:
    """Return the message of a container that ended: what it wrote, or why it failed.

    Whatever its policy, a failed container without a message gets the end of its log. ``pending``
    is the end of the log that the disk had no space for.
    """
    written = _read(written_to, MESSAGE_BYTES, from_end=False)
    if written or code == 0:
        return written
    output = pending[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    output = output or _read(log, LOG_TAIL_BYTES, from_end=True)
    script = python_script([str(word) for word in words(container)])
    if not script or code != 1:
        return output
    found = last_exception(output)
    text = "" if found and found.is_main else exit_text(cwd / script, output)
    # As the line of an exception, which Python prints without its type.
    return f"{output}\n{EXIT_LINE}{text}" if text else output


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
