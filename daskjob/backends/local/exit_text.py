"""Why a script failed: the exception that ended it, or the text of ``sys.exit("no input")``.

Such a text is the last line of its output, like any print before ``sys.exit(1)``. The script's own
code shows which it is.
"""

from __future__ import annotations

import json
from pathlib import Path

from daskjob.core.diagnose import EXIT_LINE
from daskjob.core.exit_text import exit_text
from daskjob.core.last_exception import last_exception


def failure_message(written: str, output: str, end: str) -> str:
    """Return the message of a failed container: the end of its script, if it is known.

    A result that was written before the failure is none; other programs write their reason there.
    """
    if end:
        return end
    return output if _is_result(written) else written or output


def _is_result(written: str) -> bool:
    """Return whether a text is, or begins like, a result in JSON."""
    if written.startswith(("{", "[", '"')):
        return True
    try:
        json.loads(written)
    except (ValueError, RecursionError):
        return False
    return True


def script_end(script: Path, output: str) -> str:
    """Return an output that shows why its script ended; empty if it does not."""
    found = last_exception(output)
    if found is not None and found.is_main:
        return output
    text = exit_text(_source(script), output)
    # As the line of an exception, which Python prints without its type.
    return f"{output}\n{EXIT_LINE}{text}" if text else ""


def _source(script: Path) -> bytes:
    try:
        return script.read_bytes()
    except OSError:
        return b""
