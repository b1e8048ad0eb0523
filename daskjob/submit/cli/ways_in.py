"""What ``daskjob run`` was asked to run: a script, a module, a notebook, ``python x.py``, ``-``."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import click

from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES
from daskjob.submit.script_folder import first_folder

#: A Python as the first word: ``python``, ``python3.12``, ``.venv/bin/python``.
_PYTHON = re.compile(r"(?:.*/)?python(?P<version>\d(?:\.\d+)?)?")
#: Programs that run a command in an environment: ``uv run python x.py``.
_RUNNERS = ("uv", "poetry", "pipenv", "hatch", "pdm", "rye", "pixi", "conda", "mamba", "micromamba")
#: Programs of Python that are known by their own name, with their module.
_PROGRAMS = {
    **{name: name for name in ("pytest", "streamlit", "jupyter", "papermill", "coverage", "kedro")},
    **{"ipython": "IPython", "py.test": "pytest"},
}
#: Suffixes of the scripts of shells.
_OF_SHELLS = (".sh", ".bash", ".zsh", ".ksh", ".fish")
#: How programs for a machine begin.
_BINARY = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ")
#: Options of Python that take a value.
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
#: Suffixes that a script's name may lack.
_SUFFIXES = (".py", ".ipynb", *MANIFEST_SUFFIXES, ".pyw", ".pyz", ".sh")
_URL = re.compile(r"(?:https?|ftp|s3|gs|file)://", re.IGNORECASE)
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Way:
    """A command with what the job needs to know about it."""

    command: tuple[str, ...]
    #: What names the job.
    label: str
    #: What Python puts before its own folders in the script, for workers and scheduler.
    path: tuple[str, ...] = ()
    #: Whether the script needs this path too: Python itself does not add it.
    path_for_script: bool = False
    #: The file whose text shows what the script uses: of Python, or a notebook.
    script: Path | None = None
    #: The Python that the words name; empty for the default.
    python: str = ""
    #: Where everything of the job runs; empty for the current folder.
    folder: str = ""
    #: Whether the script is read from standard input, which can be read once.
    from_stdin: bool = False
    #: The script's text, if no file has it and it is known.
    text: str = ""
    #: The file of a folder that runs.
    main: Path | None = None
    #: The module that Python has to find.
    module: str = ""
    notes: tuple[str, ...] = ()


def way_in(word: str, args: tuple[str, ...], *, module: bool = False, code: bool = False) -> Way:
    """Return how to run what the words of the command line name.

    Raises
    ------
    click.UsageError
        They name nothing that can run; the message says what to write.
    """
    if module:
        return _module(word, args)
    if code:
        return _code(word, args)
    if word == "-":
        return _standard_input(args)
    path = Path(word)
    if _PYTHON.fullmatch(word) and args and not path.is_dir() and not _is_script(path):
        return _python(word, args)
    if _URL.match(word):
        name = word.rstrip("/").rpartition("/")[2].partition("?")[0] or "script.py"
        raise click.UsageError(
            f"{word} is a URL; daskjob runs files. Read it before it runs: "
            f"curl -fsSL -o {name} '{word}', then: daskjob run {name}"
        )
    if not path.exists():
        raise click.UsageError(_missing(word, args))
    if path.is_dir():
        return _folder(path, args)
    if path.is_fifo():
        raise click.UsageError(
            f"{word} is a pipe, which can be read only once. Read it from standard input: "
            f"daskjob run {' '.join(['-', *args])} < {word}"
        )
    if not os.access(path, os.R_OK):
        raise click.UsageError(f"{word!r} cannot be read: permission denied")
    if path.suffix == ".ipynb":
        return _notebook(path, args)
    return _script(word, path, args)


def _is_script(path: Path) -> bool:
    """Return whether a file named like a Python is a script of text."""
    return path.is_file() and not _first_line(path).startswith(_BINARY)


def _script(word: str, path: Path, args: tuple[str, ...]) -> Way:
    _reject_other_language(word, path)
    command = (*interpreter(path), _as_a_path(word), *args)
    # An archive is its own folder of modules.
    is_archive = path.suffix in (".zip", ".pyz")
    own_path = path.absolute() if is_archive else first_folder(path)
    is_python = bool(interpreter(path)) and not is_archive
    return Way(
        command,
        path.stem,
        (str(own_path),),
        script=path if is_python else None,
        notes=tuple(_misplaced(args)),
    )


def _reject_other_language(word: str, path: Path) -> None:
    """Reject a script that is not Python's and that the system does not run either."""
    line = _first_line(path)
    named = line.startswith(b"#!")
    if (
        interpreter(path)
        and path.suffix not in (".py", ".pyw")
        and named
        and not _names_python(line)
    ):
        first = line[2:].decode(errors="replace").strip()
        raise click.UsageError(
            f"{word} is a script for {first!r}, and not executable: chmod +x {word}"
        )
    if path.suffix in _OF_SHELLS and not named:
        raise click.UsageError(
            f"{word} is a script of a shell, and its first line does not name it: "
            f"write #!/bin/sh there, then: chmod +x {word}"
        )


def _module(name: str, args: tuple[str, ...]) -> Way:
    """Return ``python -m name``: the current folder is on the path, as Python puts it there."""
    name = name.removeprefix("=")
    if re.match(r"[\d.]+\s*[A-Za-z]*$", name):
        script = f" {args[0]}" if args else " SCRIPT"
        raise click.UsageError(
            f"-m names a module to run, as in 'python -m'. {name!r} looks like the memory of a "
            f"worker, whose option is --memory: daskjob run --memory {name}{script}"
        )
    if Path(name).is_file() or (not _MODULE.fullmatch(name) and Path(name).exists()):
        raise click.UsageError(f"{name!r} is a file, not a module: leave out -m")
    if not _MODULE.fullmatch(name):
        raise click.UsageError(f"{name!r} is no name of a module; write one such as package.module")
    label = name.removesuffix(".__main__")
    notes = tuple(_misplaced(args))
    command = ("python", "-m", name, *args)
    return Way(command, label, (str(Path.cwd()),), notes=notes, module=name)


def _code(text: str, args: tuple[str, ...]) -> Way:
    return Way(("python", "-c", text, *args), "command", (str(Path.cwd()),), text=text)


def _standard_input(args: tuple[str, ...]) -> Way:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError(
            "'-' reads the script from standard input, which is the terminal: "
            "write daskjob run - < my_script.py, or name the file"
        )
    return Way(("python", "-", *args), "stdin", (str(Path.cwd()),), from_stdin=True)


def _python(word: str, args: tuple[str, ...]) -> Way:
    """Return the way of ``python`` with its own options and a script, ``-m``, ``-c`` or ``-``."""
    options, rest = _options_of_python(args)
    if not rest or rest in (("-c",), ("-m",)):
        raise click.UsageError(
            f"'{word} {' '.join(args)}' names no script: daskjob run my_script.py"
        )
    match rest:
        case ("-m", name, *more):
            way = _module(name, tuple(more))
        case ("-c", text, *more):
            way = _code(text, tuple(more))
        case ("-", *more):
            way = _standard_input(tuple(more))
        case (script, *more):
            way = way_in(script, tuple(more))
            if way.command[:1] != ("python",):
                way = replace(way, command=("python", *way.command))
    command = ("python", *options, *way.command[1:])
    named = _PYTHON.fullmatch(word)
    is_named = "/" in word or (named is not None and "." in (named["version"] or ""))
    return replace(way, command=command, python=word if is_named else "")


def _options_of_python(args: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the words after ``python`` into its options and what it runs."""
    words, options = list(args), list[str]()
    while words and words[0].startswith("-") and words[0] not in ("-m", "-c", "-"):
        word = words.pop(0)
        if word == "--":
            break
        attached = re.fullmatch(r"(-[A-Zabdeh-ln-z]*)([mc])(.*)", word)
        if attached and not word.startswith(("-W", "-X", "--")):
            if attached[1] != "-":
                options.append(attached[1])
            words[:0] = [f"-{attached[2]}", *([attached[3]] if attached[3] else [])]
            break
        options.append(word)
        if word in _WITH_VALUE and words:
            options.append(words.pop(0))
    return tuple(options), tuple(words)


def _folder(path: Path, args: tuple[str, ...]) -> Way:
    """Return the way of a folder with ``__main__.py``: a package's module, else as Python does."""
    if not (path / "__main__.py").is_file():
        raise click.UsageError(
            f"{str(path)!r} is a folder, not a script or a manifest, and has no __main__.py"
        )
    folder = path.absolute()
    if not (path / "__init__.py").exists():
        command = ("python", _as_a_path(str(path)), *args)
        return Way(command, folder.name, (str(folder),), main=path / "__main__.py")
    # As a module its relative imports work; of itself, Python would not find its parent.
    paths = (str(folder.parent), str(folder))
    command = ("python", "-m", folder.name, *args)
    main = path / "__main__.py"
    return Way(command, folder.name, paths, path_for_script=True, main=main)


def _notebook(path: Path, args: tuple[str, ...]) -> Way:
    from daskjob.submit.notebook import notebook_command

    folder = str(path.absolute().parent)
    command = (*notebook_command(path), *args)
    return Way(command, path.stem, (folder,), script=path, folder=folder)


def _missing(word: str, args: tuple[str, ...]) -> str:
    """Return the message about a file that does not exist, with what was probably meant."""
    text = f"there is no file {word!r}"
    if word in _RUNNERS:
        return (
            f"{text}. {word} goes first, and daskjob uses the environment that it activates: "
            f"{_in_environment(word, args)}"
        )
    if _PYTHON.fullmatch(word):
        return f"{text}. Write the script: daskjob run my_script.py"
    if word in _PROGRAMS:
        command = " ".join(["daskjob run -m", _PROGRAMS[word], *args])
        return f"{text}. To run {word} with a cluster, run its module: {command}"
    first, _, more = word.partition(" ")
    if more and (_PYTHON.fullmatch(first) or Path(first).is_file()):
        return f"{text}; write it without quotes: daskjob run {' '.join([word, *args])}"
    path = Path(word)
    for suffix in _SUFFIXES:
        if path.with_name(path.name + suffix).is_file():
            return f"{text}; did you mean {word}{suffix}?"
    if _MODULE.fullmatch(word) and "." in word and _module_file(word):
        return f"{text}; did you mean the module: daskjob run -m {word}?"
    near = _similar_file(path)
    if near:
        return f"{text}; did you mean {near}?"
    import shutil

    program = shutil.which(word) if "/" not in word else None
    if program:
        return f"{text}. To run the program {word} with a cluster, write its path: {program}"
    return text


def _in_environment(word: str, args: tuple[str, ...]) -> str:
    """Return ``uv run [options] python x.py`` with daskjob in the place of Python."""
    words = args[1:] if args[:1] == ("run",) else args
    is_start = [_PYTHON.fullmatch(w) or w == "-m" or Path(w).suffix in _SUFFIXES for w in words]
    start = next((index for index, found in enumerate(is_start) if found), len(words))
    options, rest = words[:start], words[start:]
    if len(rest) > 1 and _PYTHON.fullmatch(rest[0]) and (rest[1] == "-m" or rest[1][:1] != "-"):
        rest = rest[1:]
    return " ".join([word, "run", *options, "daskjob", "run", *(rest or ("my_script.py",))])


def _module_file(name: str) -> bool:
    path = Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def _similar_file(path: Path) -> str:
    """Return the file of the same folder with the most similar name; empty if there is none."""
    import difflib

    try:
        names = sorted(item.name for item in path.parent.iterdir() if item.is_file())
    except OSError:
        return ""
    known = {name.lower(): name for name in names if Path(name).suffix in _SUFFIXES}
    near = difflib.get_close_matches(path.name.lower(), known, n=1, cutoff=0.75)
    return str(path.with_name(known[near[0]])) if near else ""


def _misplaced(args: tuple[str, ...]) -> list[str]:
    """Return a note on options after the script that may have been intended for daskjob."""
    ours = ("--workers", "--threads", "--memory", "--retries", "--timeout")
    found = [word for word in args if word.partition("=")[0] in ours]
    found += [word for word, value in pairwise(args) if word in ("-w", "-t") and value.isdigit()]
    if not found:
        return []
    return [f"{', '.join(found)} goes to the script; put options of daskjob before the script"]


def _as_a_path(script: str) -> str:
    """Return a script's path that is neither read as an option nor searched for in PATH."""
    plain = "/" not in script and (script.startswith("-") or not interpreter(Path(script)))
    return f"./{script}" if plain else script


def interpreter(script: Path) -> list[str]:
    """Return the interpreter of a script: the chosen Python, or none for other executables."""
    if script.suffix in (".py", ".pyw") or not os.access(script, os.X_OK) or script.is_dir():
        return ["python"]
    line = _first_line(script)
    # Where all files are executable, as on disks of Windows, one without #! is Python's.
    is_program = line.startswith((b"#!", *_BINARY)) or script.suffix in _OF_SHELLS
    return ["python"] if _names_python(line) or not is_program else []


def _names_python(line: bytes) -> bool:
    """Return whether a script's first line names Python: itself, or ``uv run --script``.

    The block that uv reads is the script's own, here too.
    """
    return b"python" in line or re.search(rb"\buv run( .*)? (--script|-s)\b", line) is not None


def _first_line(script: Path) -> bytes:
    with script.open("rb") as file:
        return file.read(256).split(b"\n")[0]
