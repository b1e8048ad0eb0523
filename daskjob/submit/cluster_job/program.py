"""What the runner executes: the words of its command, and the files that they need."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from daskjob.submit.cluster_job.code import Code, UnfitCode, read_code
from daskjob.submit.cluster_job.imports import Folder, imported_files


@dataclass(frozen=True, slots=True)
class Sent:
    """A word that is the path of a file, or of a folder, of the code in the containers."""

    path: str


Word: TypeAlias = str | Sent


@dataclass(frozen=True, slots=True)
class Program:
    """A command with its files."""

    words: tuple[Word, ...]
    #: What names the job.
    label: str
    code: Code = field(default_factory=Code)
    #: Whether files were asked for: the script finds them in its working directory.
    in_folder: bool = False
    notes: tuple[str, ...] = ()
    #: ``spec.environment``: the packages of its pods.
    environment: Mapping[str, object] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The words as the containers have them."""
        root = self.code.root
        return [
            word if isinstance(word, str) else f"{root}/{word.path}".rstrip("/.")
            for word in self.words
        ]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the user's code is, and what else to send."""

    #: The folders of PYTHONPATH.
    python_path: tuple[Path, ...] = ()
    #: The folder of the project; ``None`` without one.
    project: Path | None = None
    #: The files that were asked for.
    files: tuple[Path, ...] = ()

    def folders(self, first: Path) -> list[Folder]:
        """Return where modules are searched for: first where Python itself adds a folder."""
        project = [self.project / "src", self.project] if self.project else []
        found = [Folder(first, after_library=False)]
        for path in (*self.python_path, *project):
            inside = "site-packages" in path.parts or "dist-packages" in path.parts
            if path.is_dir() and not inside and path not in [folder.path for folder in found]:
                found.append(Folder(path, after_packages=path not in self.python_path))
        return found


def script_program(
    path: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a script: words before its path, and after it."""
    path = Path(os.path.abspath(path))
    interpreter = list(before) or _interpreter(path)
    folder = path.parent
    paths = {path.name: path}
    if interpreter[0].rpartition("/")[2].startswith("python"):
        text = path.read_text(encoding="utf-8", errors="replace").removeprefix("\ufeff")
        paths |= imported_files([(text, "")], sources.folders(folder))
    words: tuple[Word, ...] = (*interpreter, Sent(path.name), *after)
    return _with_files(Program(words, path.stem), paths, {}, folder, sources)


def notebook_program(
    path: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str], cells: str
) -> Program:
    """Return the program of a notebook: words before its path, and after it."""
    path = Path(os.path.abspath(path))
    paths = {path.name: path, **imported_files([(cells, "")], sources.folders(path.parent))}
    words: tuple[Word, ...] = (*before, Sent(path.name), *after)
    return _with_files(Program(words, path.stem), paths, {}, path.parent, sources)


def module_program(
    name: str, sources: Sources, folder: Path, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of ``python -m name`` in a folder."""
    folder = Path(os.path.abspath(folder))
    folders = sources.folders(folder)
    paths = imported_files([], folders, [name])
    is_package = f"{name.replace('.', '/')}/__init__.py" in paths
    if is_package or not paths:
        paths |= imported_files([], folders, [f"{name}.__main__"])
    program = Program((*before, "-m", name, *after), name.removesuffix(".__main__"))
    if not paths:
        note = f"the module {name} is not in {folder}: the image must have it"
        program = replace(program, notes=(note,))
    return _with_files(program, paths, {}, folder, sources)


def folder_program(
    folder: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a folder with ``__main__.py``."""
    folder = Path(os.path.abspath(folder))
    main = folder / "__main__.py"
    text = main.read_text(encoding="utf-8", errors="replace")
    paths = {"__main__.py": main, **imported_files([(text, "")], sources.folders(folder))}
    words: tuple[Word, ...] = (*before, Sent("."), *after)
    return _with_files(Program(words, folder.name), paths, {}, folder, sources)


def text_program(
    text: str, sources: Sources, folder: Path, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a script that is in no file: from standard input."""
    name = "stdin.py"
    paths = imported_files([(text, "")], sources.folders(folder))
    words: tuple[Word, ...] = (*before, Sent(name), *after)
    return _with_files(Program(words, "stdin"), paths, {name: text}, folder, sources)


def command_program(
    words: Sequence[str], text: str, sources: Sources, folder: Path, *, label: str
) -> Program:
    """Return the program of ``python -c TEXT``."""
    paths = imported_files([(text, "")], sources.folders(folder))
    return _with_files(Program(tuple(words), label), paths, {}, folder, sources)


def _with_files(
    program: Program,
    paths: Mapping[str, Path],
    texts: Mapping[str, str],
    folder: Path,
    sources: Sources,
) -> Program:
    """Return a program with its files, and those that were asked for."""
    asked = {_place(path, folder): Path(os.path.abspath(path)) for path in sources.files}
    for path in asked.values():
        if not path.is_file():
            what = "is a folder: name its files" if path.is_dir() else "does not exist"
            raise UnfitCode(f"--file {path}: {what}")
    code = read_code({**paths, **asked}, texts)
    return replace(program, code=code, in_folder=bool(asked))


def _place(path: Path, folder: Path) -> str:
    """Return where a file is sent to: as it lies to the script, else to the current folder."""
    absolute = Path(os.path.abspath(path))
    for base in (folder, Path.cwd()):
        if absolute.is_relative_to(base):
            return absolute.relative_to(base).as_posix()
    return absolute.name


def _interpreter(path: Path) -> list[str]:
    """Return the interpreter of a script: Python, or what its first line names."""
    if path.suffix in (".py", ".pyw"):
        return ["python"]
    try:
        with path.open("rb") as file:
            first = file.readline(256)
    except OSError as error:
        raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error
    found = re.fullmatch(rb"#!\s*(\S+)(?:\s+(.+?))?\s*", first.rstrip(b"\r\n"))
    if found is None:
        raise UnfitCode(
            f"{path} is neither a Python script nor has a first line such as #!/bin/sh; put a "
            "program into the image and write a script that starts it"
        )
    words = [found[1].decode(), *(found[2].decode().split() if found[2] else [])]
    if words[0].endswith("/env"):
        words = [word for word in words[1:] if word != "-S"]
    return ["python"] if re.fullmatch(r"(.*/)?python[\d.]*", words[0]) else words
