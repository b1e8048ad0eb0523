"""Calls a function in a job, and writes what it returns as the job's result.

``python -c TEXT MODULE FUNCTION ARGUMENTS [FILE]``; the arguments are a JSON list. With a file, the
module is that file, executed under another name than ``__main__``.

Self-contained, since it runs as text in any Python from 3.9 on, also without daskjob.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import types
from contextlib import ExitStack

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from typing import Any

#: The longest result that Kubernetes takes from a container, in bytes.
LIMIT = 4096
#: How deep a job's status may be nested, and which integers it keeps as they are.
DEEPEST_LEVELS, LEAST, MOST = 100, -(2**63), 2**63 - 1


class UnfitResult(Exception):
    """A result that a job cannot keep."""


class Exited(Exception):
    """The function called ``sys.exit`` with a text."""


def main(module: str, name: str, arguments: str, file: str = "") -> None:
    """Call the function, and write its result."""
    with ExitStack() as connected:
        if os.environ.get("DASK_SCHEDULER_ADDRESS"):
            # Collections are computed by the job's cluster, also where the function has no client.
            from distributed import Client

            connected.enter_context(Client())
        function = getattr(loaded(module, file), name)
        result = called(function, json.loads(arguments))
    write(result_text(result, name))


def called(function: Any, arguments: list[Any]) -> Any:
    """Return what a function returns."""
    try:
        result = function(*arguments)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(awaited(result))
    except SystemExit as end:
        if isinstance(end.code, str):
            # As the job's reason, which has no other text of a function.
            raise Exited(end.code) from end
        raise
    return result


async def awaited(result: Any) -> Any:
    """Return the result of a coroutine."""
    return await result


def loaded(name: str, file: str) -> Any:
    """Return the module of the function."""
    if not file:
        sys.path[:1] = []  # the empty folder of -c: PYTHONPATH has the code
        return importlib.import_module(name)
    sys.path[0] = os.path.dirname(os.path.abspath(file))
    if importlib.util.find_spec("daskjob") is None:
        sys.modules["daskjob"] = Absent("daskjob")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if importlib.util.find_spec("cloudpickle") is not None:
        # Workers cannot import a script that has another name here.
        cloudpickle = importlib.import_module("cloudpickle")
        cloudpickle.register_pickle_by_value(module)
    return module


class Absent(types.ModuleType):
    """Stands for daskjob in an image without it: the script may import it, to submit itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing


class Missing:
    """Stands for what daskjob has."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ImportError("the image of this job has no daskjob")


def result_text(result: Any, name: str) -> str:
    """Return a result as JSON.

    Raises
    ------
    UnfitResult
        It is not JSON, or too large.
    """
    try:
        text = json.dumps(result, allow_nan=False, default=plain)
        # A lone surrogate cannot be encoded.
        json.dumps(result, ensure_ascii=False, default=plain).encode()
        why = change_of(result)
    except (TypeError, ValueError, RecursionError) as error:
        text, why = "", str(error)
    if why:
        raise UnfitResult(
            f"the result of {name}, {shown(result)}, is not JSON ({why}): return numbers, texts, "
            "lists and dicts with texts as keys, or write it to storage and return its place"
        ) from None
    if len(text) > LIMIT:
        raise UnfitResult(
            f"the result of {name} has {len(text)} bytes as JSON, and a job keeps {LIMIT}: write "
            "it to storage and return its place"
        )
    return text


def plain(value: Any) -> Any:
    """Return a number of NumPy, such as a sum that Dask has computed, as one of Python."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def change_of(value: Any) -> str:
    """Return why the job's status would have another value; empty: it has this one.

    Tuples become lists there.
    """
    layer = [value]
    for _ in range(DEEPEST_LEVELS):
        dicts = [item for item in layer if isinstance(item, dict)]
        keys = [key for item in dicts for key in item if not isinstance(key, str)]
        if keys:
            return f"the key {keys[0]!r} is no text"
        if not all(LEAST <= item <= MOST for item in layer if isinstance(item, int)):
            return "an integer has more than 64 bits"
        lists = [item for item in layer if isinstance(item, (list, tuple))]
        layer = [part for item in lists for part in item]
        layer += [part for item in dicts for part in item.values()]
        if not layer:
            return ""
    return f"it is nested deeper than {DEEPEST_LEVELS} levels"


def shown(result: Any) -> str:
    """Return what a result is, in a message."""
    kind = type(result)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"of type {module}{kind.__qualname__}"


def write(text: str) -> None:
    """Write the result where the job takes it from."""
    with open(os.environ["DASKJOB_RESULT_FILE"], "w", encoding="ascii") as file:
        file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
