"""Runs the code cells of a notebook as a script: ``python -c TEXT NOTEBOOK [ARGUMENTS]``.

Self-contained, since it runs as text in any Python, also without daskjob. The value of a cell's
last expression is printed, ``await`` works outside of functions, and tracebacks name the cells.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import linecache
import os
import sys
import traceback
import types
from types import TracebackType
from typing import Any


class _Cell:
    """A compiled code cell."""

    def __init__(self, source: str, name: str) -> None:
        lines = source.splitlines(keepends=True)
        # Tracebacks and inspect.getsource find the lines here; no file has them.
        linecache.cache[name] = (len(source), None, lines, name)
        body = ast.parse(source, name).body
        last = None
        if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";"):
            last = ast.Expression(body.pop().value)  # type: ignore[attr-defined]
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        module = ast.Module(body, [])
        self.code = compile(module, name, "exec", flags=flags, dont_inherit=True)
        self.last = compile(last, name, "eval", flags=flags, dont_inherit=True) if last else None


class _Loop:
    """The event loop of ``await`` in cells; created when the first one needs it."""

    def __init__(self) -> None:
        self._loop: Any = None

    def value(self, code: types.CodeType, namespace: dict[str, Any]) -> Any:
        found = eval(code, namespace)
        if not code.co_flags & inspect.CO_COROUTINE:
            return found
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(found)

    def close(self) -> None:
        """Cancel what still runs, as ``asyncio.run`` does: exit handlers would wait for it."""
        if self._loop is None or self._loop.is_closed():
            return
        import asyncio

        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _display(*values: object, **_: object) -> None:
    for value in values:
        print(repr(value), flush=True)


#: Records an uncaught exception, in a run on this machine.
_record = getattr(sys.excepthook, "record", lambda *_: None)


def _print_exception(
    kind: type[BaseException], error: BaseException, place: TracebackType | None
) -> None:
    """Print an exception without the frames of this program."""
    while place is not None and place.tb_frame.f_globals is globals():
        place = place.tb_next
    traceback.print_exception(kind, error, place)
    _record(kind, error.with_traceback(place))


def _run(path: str) -> None:
    with open(path, encoding="utf-8-sig") as file:
        notebook = json.load(file)
    sources = [
        cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    sys.argv = [path, *sys.argv[2:]]
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    sys.excepthook = _print_exception
    builtins.display = _display  # type: ignore[attr-defined]
    # A module without the names of this program; its functions are pickled by value, as a script's.
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    cells = [_Cell(source, f"{path}, cell {n}") for n, source in enumerate(sources, start=1)]
    loop = _Loop()
    try:
        for cell in cells:
            loop.value(cell.code, main.__dict__)
            value = loop.value(cell.last, main.__dict__) if cell.last else None
            if value is not None:
                main.__dict__["_"] = value
                _display(value)
    finally:
        loop.close()


if __name__ == "__main__":
    _run(sys.argv[1])
