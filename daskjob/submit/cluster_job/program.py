"""What the runner executes: the words of its command, and the files that they need."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code import HERE, Code, below, read_code, text_of
from daskjob.submit.cluster_job.folder import contents_of, notes_on
from daskjob.submit.cluster_job.imports import Folder, imported_files
from daskjob.submit.cluster_job.layout import Layout


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
    #: Where the script runs, below the code, so that it finds the files that were asked for by the
    #: same paths as here; ``None``: anywhere.
    folder: str | None = None
    #: The text of the script and of what it imports, by the module's path.
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    #: ``spec.environment``: the packages of its pods.
    environment: Mapping[str, object] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The words as the containers have them."""
        root = self.code.root
        return [word if isinstance(word, str) else below(root, word.path) for word in self.words]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the user's code is, and what else to send."""

    #: The folders of PYTHONPATH.
    python_path: tuple[Path, ...] = ()
    #: The folder of the project; ``None`` without one.
    project: Path | None = None
    #: Folders of the project that packages are installed from ("editable").
    editable: tuple[Path, ...] = ()
    #: The files that were asked for.
    files: tuple[Path, ...] = ()
    #: The folder that is sent as a whole; ``None``: what is imported.
    whole: Path | None = None

    def folders(self, first: Path) -> list[Folder]:
        """Return where modules are searched for: first where Python itself adds a folder."""
        project = [self.project / "src", self.project] if self.project else []
        found = [Folder(first, after_library=False)]
        for path in (*self.python_path, *self.editable, *project):
            inside = "site-packages" in path.parts or "dist-packages" in path.parts
            if path.is_dir() and not inside and path not in [folder.path for folder in found]:
                found.append(Folder(path, after_packages=path not in self.python_path))
        return found

    def layout(self, first: Path) -> Layout:
        """Return where files lie in the containers.

        Imports alone need no more than PYTHONPATH. Files that were asked for are found by their
        paths, so everything lies as here then: below the folder that is sent, else the project.
        """
        if self.whole is not None:
            if not self.whole.is_dir():
                what = "is a file: --file sends one" if self.whole.is_file() else "does not exist"
                raise UnfitCode(f"--code {self.whole}: {what}")
            return Layout(Path(os.path.abspath(self.whole)))
        if not self.files:
            return Layout(None)
        project = self.project
        return Layout(project if project and first.is_relative_to(project) else first)


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
    made = _Sending(paths, folder, sources)
    words: tuple[Word, ...] = (*interpreter, made.word(path), *after)
    return made.program(Program(words, path.stem))


def notebook_program(
    path: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str], cells: str
) -> Program:
    """Return the program of a notebook: words before its path, and after it."""
    path = Path(os.path.abspath(path))
    paths = {path.name: path, **imported_files([(cells, "")], sources.folders(path.parent))}
    made = _Sending(paths, path.parent, sources, stands_in=path.parent)
    words: tuple[Word, ...] = (*before, made.word(path), *after)
    return made.program(Program(words, path.stem))


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
    return _Sending(paths, folder, sources).program(program)


def folder_program(
    folder: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a folder with ``__main__.py``."""
    folder = Path(os.path.abspath(folder))
    main = folder / "__main__.py"
    text = main.read_text(encoding="utf-8", errors="replace")
    paths = {"__main__.py": main, **imported_files([(text, "")], sources.folders(folder))}
    made = _Sending(paths, folder, sources)
    words: tuple[Word, ...] = (*before, made.word(folder), *after)
    return made.program(Program(words, folder.name))


def text_program(
    text: str, sources: Sources, folder: Path, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a script that is in no file: from standard input."""
    path = Path(os.path.abspath(folder)) / "stdin.py"
    paths = imported_files([(text, "")], sources.folders(path.parent))
    made = _Sending(paths, path.parent, sources, text=(path, text))
    words: tuple[Word, ...] = (*before, made.word(path), *after)
    return made.program(Program(words, "stdin"))


def command_program(
    words: Sequence[str], text: str, sources: Sources, folder: Path, *, label: str
) -> Program:
    """Return the program of ``python -c TEXT``."""
    folder = Path(os.path.abspath(folder))
    paths = imported_files([(text, "")], sources.folders(folder))
    return _Sending(paths, folder, sources).program(Program(tuple(words), label))


@dataclass(frozen=True, slots=True)
class _Sending:
    """The files of a program on their way to its code."""

    #: The script and what it imports, by their path below the folder in which they were found.
    paths: Mapping[str, Path]
    #: The folder that Python itself puts on its path.
    folder: Path
    sources: Sources
    #: A program that is in no file, with where that would be.
    text: tuple[Path, str] | None = None
    #: Where the program runs, if that is not where the user is.
    stands_in: Path | None = None

    @property
    def layout(self) -> Layout:
        return self.sources.layout(self.folder)

    def word(self, path: Path) -> Sent:
        """Return a file or a folder as a word of the command."""
        flat = HERE if path == self.folder else path.name
        place = self.layout.place(path, flat)
        if self.sources.whole is not None and not path.is_relative_to(self.layout.base or path):
            raise UnfitCode(
                f"{path} is not in the folder that is sent: --code {self.sources.whole}; name one "
                "that has it"
            )
        return Sent(place)

    def program(self, program: Program) -> Program:
        """Return the program with its code."""
        files = {self.layout.place(path, flat): path for flat, path in self.paths.items()}
        whole, notes = self._whole()
        asked = {self._asked_place(path): path for path in self._asked()}
        found = {**whole, **files, **asked}
        folders = [folder.path for folder in self.sources.folders(self.folder)]
        code = read_code(
            found,
            {self.word(self.text[0]).path: self.text[1]} if self.text else {},
            python_paths=self.layout.python_paths(folders, found),
        )
        notes = [*program.notes, *notes]
        is_asked = bool(asked) or self.sources.whole is not None
        return replace(
            program,
            code=code,
            folder=self._working_folder() if is_asked else None,
            texts=self._texts(),
            notes=tuple(notes),
        )

    def _whole(self) -> tuple[dict[str, Path], list[str]]:
        whole = self.sources.whole
        if whole is None:
            return {}, []
        contents = contents_of(whole)
        sent = [self.layout.place(path, path.name) for path in self._asked()]
        sent += [self.layout.place(path, flat) for flat, path in self.paths.items()]
        return contents.files, notes_on(contents, sent)

    def _asked(self) -> list[Path]:
        found = [Path(os.path.abspath(path)) for path in self.sources.files]
        for path in found:
            if not path.is_file():
                what = "is a folder: --code sends one" if path.is_dir() else "does not exist"
                raise UnfitCode(f"--file {path}: {what}")
        return found

    def _asked_place(self, path: Path) -> str:
        """Return where a file is sent to: as it lies here, else as to the current folder."""
        here = Path.cwd()
        flat = path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name
        return self.layout.place(path, flat)

    def _working_folder(self) -> str:
        """Return where the program runs: where the user is, else where the script is."""
        for path in (self.stands_in or Path.cwd(), self.folder):
            base = self.layout.base
            if base is not None and path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return HERE

    def _texts(self) -> dict[str, str]:
        found = {}
        for flat, path in self.paths.items():
            if flat.endswith((".py", ".pyw")):
                text = text_of(flat, path.read_bytes())
                found.update({flat: text} if text is not None else {})
        if self.text:
            found[self.text[0].name] = self.text[1]
        return found


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
