"""Which functions can be sent as a job, and how they are called there. Nothing is started."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskjob.core.errors import WrongArgument, WrongType
from daskjob.submit.source_text import parsed, readable_text

#: The largest arguments, as JSON: they are part of the job, and one word of a command line.
ARGUMENTS_LIMIT = 64 * 1024
#: The module of a script in the job: its lines below ``if __name__ == "__main__"`` do not run. Dask
#: sends functions by their source's value, not by name, where the name has ``__main__`` in it.
SCRIPT_MODULE = "daskjob__main__"

_MOVE = (
    "write it into a module, a .py file beside the notebook or the script, and import it from there"
)
_GUARD = 'if __name__ == "__main__":'


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    #: The function's own name.
    name: str
    #: The module that the job imports.
    module: str
    #: The file of that module.
    file: Path
    #: As a JSON list.
    arguments: str
    #: Whether the module is the script that submits.
    is_script: bool = False

    @property
    def root(self) -> Path:
        """The folder by which the module is found."""
        package = self.file.name == "__init__.py"
        up = self.module.count(".") + (1 if package else 0)
        return self.file.parent if self.is_script else self.file.parents[up]

    def words(self) -> list[str]:
        """Return the words of the command, but for the file of a script, which follows."""
        from daskjob.submit.functions import call_program

        text = Path(call_program.__file__).read_text(encoding="utf-8")
        return ["python", "-c", text, self.module, self.name, self.arguments]


def call_of(function: Callable[..., Any], arguments: Sequence[Any]) -> Call:
    """Return the call of a function with arguments.

    Raises
    ------
    WrongType
        It is no function of Python.
    WrongArgument
        It cannot be sent, or its arguments cannot; the message says what to do.
    """
    if not isinstance(function, types.FunctionType):
        raise WrongType(
            f"{function!r} is no function of a module: write one, with def, that calls it"
        )
    name, shown = function.__qualname__, f"the function {function.__qualname__}"
    if function.__name__ == "<lambda>":
        raise WrongArgument("a lambda cannot be sent: write a function with def, in a module")
    if "." in name:
        what = "inside of another function" if "<locals>" in name else "of a class"
        raise WrongArgument(f"{shown} is {what}: only functions of a module can be sent; {_MOVE}")
    _check_returns(function, shown)
    module = _module_of(function, shown)
    if getattr(module, name, None) is not function:
        raise WrongArgument(
            f"{shown} is not what its module {module.__name__} has under this name: it was "
            "decorated or replaced; send the one that the module has"
        )
    file = _file_of(module, shown)
    _check_guard(module, file)
    _check_is_above(function, module, file)
    text = _arguments(arguments, shown)
    _check_takes(function, arguments, shown)
    if module.__name__ != "__main__":
        return Call(name, module.__name__, file, text)
    if module.__spec__ is not None:
        return Call(name, module.__spec__.name, file, text)  # by python -m
    return Call(name, SCRIPT_MODULE, file, text, is_script=True)


def _check_returns(function: types.FunctionType, shown: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise WrongArgument(
            f"{shown} yields its values one by one, and a job has one result: return a list"
        )


def _module_of(function: types.FunctionType, shown: str) -> types.ModuleType:
    name = function.__module__
    try:
        return sys.modules.get(name) or importlib.import_module(name)
    except (ImportError, AttributeError) as error:
        raise WrongArgument(
            f"{shown} is of the module {name}, which cannot be imported: {_MOVE}"
        ) from error


def _file_of(module: types.ModuleType, shown: str) -> Path:
    found = getattr(module, "__file__", None)
    if module.__name__ == "__main__" and not found:
        raise WrongArgument(f"{shown} is of a notebook or of an interactive session: {_MOVE}")
    if not str(found).endswith(".py") or not os.path.isfile(str(found)):
        raise WrongArgument(
            f"{shown} has no source: its module {module.__name__} is in no .py file"
        )
    return Path(os.path.abspath(str(found)))


def _check_takes(function: types.FunctionType, arguments: Sequence[Any], shown: str) -> None:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise WrongArgument(f"{shown} cannot be called with these arguments: {error}") from error


def _arguments(arguments: Sequence[Any], shown: str) -> str:
    for number, argument in enumerate(arguments, start=1):
        try:
            same = json.loads(json.dumps(argument, allow_nan=False)) == _as_lists(argument)
        except RecursionError as error:
            raise WrongArgument(
                f"argument {number} of {shown} is nested too deep for JSON: pass the place of the "
                "data"
            ) from error
        except (TypeError, ValueError) as error:
            raise WrongArgument(
                f"argument {number} of {shown} is not JSON ({error}): pass numbers, texts, lists "
                "and dicts, or the place of the data"
            ) from error
        if not same:
            raise WrongArgument(
                f"argument {number} of {shown} would be another one in the job: in JSON, all keys "
                "of a dict are texts"
            )
    text = json.dumps(list(arguments))
    if len(text) > ARGUMENTS_LIMIT:
        raise WrongArgument(
            f"the arguments of {shown} have {len(text):,} bytes as JSON, and a job takes "
            f"{ARGUMENTS_LIMIT:,}: write the data to storage and pass its place"
        )
    return text


def _as_lists(value: Any) -> Any:
    """Return a value with lists for its tuples, as JSON has them."""
    if isinstance(value, list | tuple):
        return [_as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return value


# Code that submits itself


def _check_guard(module: types.ModuleType, file: Path) -> None:
    """Reject a call that the job would make again when it imports the module."""
    line = _running_line(module)
    if line is None:
        return
    for statement in _statements(file):
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            if module.__name__ == "__main__" and _is_guard(statement):
                return
            raise WrongArgument(
                f"{file.name}, line {line}, would submit itself again in the job, which imports "
                f"this file: put it below {_GUARD}"
            )


def _check_is_above(function: types.FunctionType, module: types.ModuleType, file: Path) -> None:
    """Reject a function that the job would not have: it does not run what is below the guard."""
    if module.__name__ != "__main__":
        return
    line = function.__code__.co_firstlineno
    for statement in _statements(file):
        is_here = statement.lineno <= line <= (statement.end_lineno or statement.lineno)
        if is_here and _is_guard(statement):
            raise WrongArgument(
                f"the function {function.__qualname__} of {file.name}, line {line}, is below "
                f"{_GUARD} the job does not have it; write it above"
            )


def _statements(file: Path) -> list[ast.stmt]:
    try:
        return parsed(readable_text(file.read_bytes())).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise WrongArgument(
            f"{file} was changed since this process has imported it, and is no Python now: {error}"
        ) from error


def _running_line(module: types.ModuleType) -> int | None:
    """Return the line of a module's own code, outside of functions, that runs now."""
    for frame in _frames():
        if frame.f_globals is module.__dict__ and frame.f_code.co_name == "<module>":
            return frame.f_lineno
    return None


def _frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_guard(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If):
        return False
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(statement.test))
