"""What the runner executes: the words of its command, and the files that they need."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from daskjob.submit.cluster_job.archive import TooLarge, UnfitCode
from daskjob.submit.cluster_job.code import HERE, Code, below, read_code
from daskjob.submit.cluster_job.folder import LARGEST_FILE, Contents, contents_of, notes_on
from daskjob.submit.cluster_job.imports import Folder, Imported, imported
from daskjob.submit.cluster_job.layout import Layout
from daskjob.submit.cluster_job.named_files import notes_on_named, unsent_files
from daskjob.submit.script_folder import first_folder
from daskjob.submit.source_text import readable_text, source_text


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
    #: Folders of the project, and of its neighbours, that packages are installed from ("editable").
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
    folder = first_folder(path)
    found = Imported()
    if interpreter[0].rpartition("/")[2].startswith("python"):
        found = imported([(readable_text(path.read_bytes()), "")], sources.folders(folder))
    made = _Sending(found.with_main(path), folder, sources, main=path)
    words: tuple[Word, ...] = (*interpreter, made.word(path), *after)
    return made.program(Program(words, path.stem))


def notebook_program(
    path: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str], cells: str
) -> Program:
    """Return the program of a notebook: words before its path, and after it."""
    path = Path(os.path.abspath(path))
    found = imported([(cells, "")], sources.folders(path.parent)).with_main(path)
    made = _Sending(found, path.parent, sources, stands_in=path.parent, cells=(path, cells))
    words: tuple[Word, ...] = (*before, made.word(path), *after)
    return made.program(Program(words, path.stem))


def module_program(
    name: str, sources: Sources, folder: Path, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of ``python -m name`` in a folder."""
    folder = Path(os.path.abspath(folder))
    folders = sources.folders(folder)
    found = imported([], folders, [name])
    is_package = f"{name.replace('.', '/')}/__init__.py" in found.files
    if is_package or not found.files:
        found = imported([], folders, [name, f"{name}.__main__"])
    program = Program((*before, "-m", name, *after), name.removesuffix(".__main__"))
    if not found.files and not found.compiled:
        note = f"the module {name} is not in {folder}: the image must have it"
        program = replace(program, notes=(note,))
    return _Sending(found, folder, sources).program(program)


def folder_program(
    folder: Path, sources: Sources, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a folder with ``__main__.py``."""
    folder = Path(os.path.abspath(folder))
    main = folder / "__main__.py"
    found = imported([(readable_text(main.read_bytes()), "")], sources.folders(folder))
    made = _Sending(found.with_main(main), folder, sources)
    words: tuple[Word, ...] = (*before, made.word(folder), *after)
    return made.program(Program(words, folder.name))


def text_program(
    text: str, sources: Sources, folder: Path, *, before: Sequence[str], after: Sequence[str]
) -> Program:
    """Return the program of a script that is in no file: from standard input."""
    path = Path(os.path.abspath(folder)) / "stdin.py"
    found = imported([(text, "")], sources.folders(path.parent))
    made = _Sending(found, path.parent, sources, text=(path, text))
    words: tuple[Word, ...] = (*before, made.word(path), *after)
    return made.program(Program(words, "stdin"))


def command_program(
    words: Sequence[str], text: str, sources: Sources, folder: Path, *, label: str
) -> Program:
    """Return the program of ``python -c TEXT``."""
    folder = Path(os.path.abspath(folder))
    found = imported([(text, "")], sources.folders(folder))
    return _Sending(found, folder, sources).program(Program(tuple(words), label))


@dataclass(frozen=True, slots=True)
class _Sending:
    """The files of a program on their way to its code."""

    #: The script and what it imports.
    found: Imported
    #: The folder that Python itself puts on its path.
    folder: Path
    sources: Sources
    #: A program that is in no file, with where that would be.
    text: tuple[Path, str] | None = None
    #: A notebook, with the code of its cells.
    cells: tuple[Path, str] | None = None
    #: Where the program runs, if that is not where the user is.
    stands_in: Path | None = None
    #: A script, which may be a link to one in that folder.
    main: Path | None = None

    @property
    def layout(self) -> Layout:
        return self.sources.layout(self.main.parent if self.main else self.folder)

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
        imports = _placed(self.found.files, self.layout)
        asked = self._asked_places()
        _check_apart(imports, asked)
        compiled, notes = self._compiled()
        contents = contents_of(self.sources.whole) if self.sources.whole else Contents()
        whole = contents.files
        _check_apart({**imports, **compiled, **asked}, whole)
        found = {**compiled, **whole, **imports, **asked}
        folders = [folder.path for folder in self.sources.folders(self.folder)]
        try:
            code = read_code(
                found,
                {self.word(self.text[0]).path: self.text[1]} if self.text else {},
                python_paths=self.layout.python_paths(folders, found),
                programs=_programs({**whole, **asked}),
            )
        except TooLarge as error:
            raise TooLarge(error.sizes, error.found, asked) from error
        is_asked = bool(asked) or self.sources.whole is not None
        return replace(
            program,
            code=code,
            folder=self._working_folder() if is_asked else None,
            texts=self._texts(),
            notes=(
                *(*program.notes, *notes, *self._elsewhere(asked, code.root)),
                *self._left_out(contents, {**imports, **compiled, **asked}, found.values()),
            ),
        )

    def _compiled(self) -> tuple[dict[str, Path], list[str]]:
        """Return the compiled modules that are sent, and notes on them."""
        places = _placed(self.found.compiled, self.layout)
        large = [place for place, path in places.items() if path.stat().st_size > LARGEST_FILE]
        small = {place: path for place, path in places.items() if place not in large}
        notes = []
        if small:
            notes.append(
                f"compiled on this machine: {', '.join(small)}; they run with the Python and the "
                "system that they were made for, so the image must have the same"
            )
        if large:
            notes.append(
                f"not sent, compiled and above 1 MiB: {', '.join(large)} (--file sends one; an "
                "image has them made for it)"
            )
        return small, notes

    def _asked_places(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in self._asked():
            place = {self._asked_place(path): path}
            _check_apart(found, place)
            found |= place
        return found

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

    def _elsewhere(self, asked: Mapping[str, Path], root: str) -> list[str]:
        """Return notes on files that cannot lie as they do here."""
        base = self.layout.base
        return [
            f"--file {path} is outside of {base}; in the pods it is {below(root, place)}"
            for place, path in asked.items()
            if base and not any(path.is_relative_to(folder) for folder in (base, Path.cwd()))
        ]

    def _left_out(
        self, contents: Contents, others: Iterable[str], sent: Iterable[Path]
    ) -> list[str]:
        """Return notes on what is not sent: of the folder, and what the code names."""
        texts = {path: text for path, text in self._sources() if text is not None}
        named = unsent_files(texts, self.stands_in or Path.cwd(), list(sent))
        whole = self.sources.whole
        elsewhere = []
        of_folder: dict[str, list[str]] = {}
        for one in named:
            path = Path(os.path.abspath(one.path))
            place = os.path.relpath(path, os.path.abspath(whole)) if whole else ""
            if whole and (out := contents.left_out_with(place)):
                of_folder.setdefault(out, []).append(f"{one.name}: {one.place}")
            else:
                elsewhere.append(one)
        return [*notes_on(contents, others, of_folder), *notes_on_named(elsewhere)]

    def _sources(self) -> Iterator[tuple[Path, str | None]]:
        """Yield the files of Python code, with their texts."""
        for path in self.found.files.values():
            if path.suffix in (".py", ".pyw") or path == self.main:
                yield path, source_text(path.read_bytes())
        yield from (named for named in (self.text, self.cells) if named)

    def _working_folder(self) -> str:
        """Return where the program runs: where the user is, else where the script is."""
        script = self.main.parent if self.main else self.folder
        for path in (self.stands_in or Path.cwd(), script):
            base = self.layout.base
            if base is not None and path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return HERE

    def _texts(self) -> dict[str, str]:
        found = {}
        for flat, path in self.found.files.items():
            if flat.endswith((".py", ".pyw")):
                text = source_text(path.read_bytes())
                found.update({flat: text} if text is not None else {})
        if self.text:
            found[self.text[0].name] = self.text[1]
        return found


def _placed(paths: Mapping[str, Path], layout: Layout) -> dict[str, Path]:
    """Return files by where they are sent to.

    Raises
    ------
    UnfitCode
        Two would lie at the same path.
    """
    found: dict[str, Path] = {}
    for flat, path in paths.items():
        place = {layout.place(path, flat): path}
        _check_apart(found, place)
        found |= place
    return found


def _check_apart(some: Mapping[str, Path], others: Mapping[str, Path]) -> None:
    """Reject different files that would lie at the same path: one would replace the other."""
    for place in some.keys() & others.keys():
        one, other = some[place], others[place]
        if one != other and not one.samefile(other):
            raise UnfitCode(
                f"{one} and {other} would both be {place} in the pods; rename one of them, or send "
                "a folder that has both: --code DIR"
            )


def _programs(paths: Mapping[str, Path]) -> list[str]:
    """Return the places of files that can be executed, among those that were asked for."""
    return [place for place, path in paths.items() if os.access(path, os.X_OK)]


def _line(data: bytes) -> str:
    """Return a line of text; empty for other data."""
    try:
        return data.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        return ""


def _interpreter(path: Path) -> list[str]:
    """Return the interpreter of a script: Python, or what its first line names."""
    if path.suffix in (".py", ".pyw"):
        return ["python"]
    try:
        with path.open("rb") as file:
            first = file.readline(256)
    except OSError as error:
        raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error
    line = _line(first)
    found = re.fullmatch(r"#!\s*(\S+)(?:\s+(.+?))?\s*", line)
    if found is None:
        raise UnfitCode(
            f"{path} is neither a Python script nor has a first line such as #!/bin/sh; put a "
            "program into the image and write a script that starts it"
        )
    words = [found[1], *(found[2] or "").split()]
    if words[0].endswith("/env"):
        words = [word for word in words[1:] if word != "-S"]
    return ["python"] if re.fullmatch(r"(.*/)?python[\d.]*", words[0]) else words
