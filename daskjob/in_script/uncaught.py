"""Records the exception that ends a script's process, without what is printed after it.

Executed by ``sitecustomize`` after Python has printed the exception.
"""

from __future__ import annotations

import os
from typing import Any

#: A longer text keeps its end.
LIMIT_BYTES = 32 * 1024


def record(path: str, error: Any) -> None:
    """Write the pid, and below it what Python printed; a record that fails is no fault."""
    try:
        import traceback

        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        data = text.encode(errors="backslashreplace")[-LIMIT_BYTES:]
        with open(path, "wb") as file:
            file.write(b"%d\n" % os.getpid() + data)
    except Exception:
        return
