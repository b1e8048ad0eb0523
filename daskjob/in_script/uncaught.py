"""Records the exception that ends a script's process, without what is printed after it.

Executed by ``sitecustomize`` after Python has printed the exception. Output does not show where a
message ends, and a message may have any characters; so each exception is an object in JSON:
``type``, ``text`` (the message with notes), ``parts`` of a group, and ``cause``.
"""

from __future__ import annotations

import os
from typing import Any

#: A longer message keeps its beginning.
TEXT_LENGTH = 2000
#: The number of exceptions in a chain, and of those of a group.
CAUSES = 5
PARTS = 4


def record(path: str, error: Any) -> None:
    """Write the pid, and below it the exception; a record that fails is no fault."""
    try:
        import json

        try:
            found = described(error, CAUSES)
        except Exception:
            found = {"type": type(error).__qualname__}
        with open(path, "wb") as file:
            file.write(b"%d\n" % os.getpid() + json.dumps(found).encode())
    except Exception:
        return


def described(error: Any, causes: int) -> dict[str, Any]:
    """Return an exception with those that it comes from, or consists of."""
    found: dict[str, Any] = {"type": name_of(type(error)), "text": text_of(error)[:TEXT_LENGTH]}
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, tuple) and all(isinstance(part, BaseException) for part in parts):
        found["parts"] = [described(part, 0) for part in parts[:PARTS]]
    if causes and error.__cause__ is not None:
        found["cause"] = described(error.__cause__, causes - 1)
    return found


def name_of(kind: type) -> str:
    """Return the name of a class as tracebacks have it."""
    if kind.__module__ in ("__main__", "builtins"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def text_of(error: Any) -> str:
    """Return the message with what Python prints below it: notes, and names that may be meant."""
    import traceback

    if isinstance(error, SyntaxError):
        return str(error.msg or error)
    # Of a group, this does not format the parts.
    lines = traceback.TracebackException(type(error), error, None, compact=True)
    text = "".join(lines.format_exception_only())
    return text.partition(name_of(type(error)))[2].removeprefix(":").strip()
