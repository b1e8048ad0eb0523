"""Files of this machine that a script names in its text, and that are not sent with it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from daskjob.submit.source_text import parsed

#: What the name of a file looks like: it has a suffix or a folder, and is no URL and no sentence.
_NAME = re.compile(r"(?!\w+://)(?=.*[^./][./])[^\n\0:<>|]{3,200}")
#: Folders that every image has too.
_OF_THE_SYSTEM = ("/bin/", "/dev/", "/etc/", "/lib", "/opt/", "/proc/", "/sbin/", "/sys/", "/usr/")
#: The number of files that a note names.
_NAMED = 5
#: How many files of a pattern are looked at.
_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Named:
    """A file of this machine, or a pattern of files, that a program names."""

    name: str
    #: The program and the line.
    place: str
    #: The first file that is not sent.
    path: Path

    def __str__(self) -> str:
        return f"{self.name} ({self.place})"


def unsent_files(
    texts: Mapping[Path, str], here: Path, sent: Collection[Path]
) -> Collection[Named]:
    """Return the files that programs name, that are here, and that are not sent.

    ``texts`` are the programs by their files; ``here`` is the folder in which the user is.
    """
    known = {os.path.realpath(path) for path in (*texts, *sent)}
    found: dict[str, Named] = {}
    for program, text in texts.items():
        for name, line in _names(text):
            for folder in (here, program.parent):
                files = (
                    path for path in _files(folder, name) if os.path.realpath(path) not in known
                )
                if (path := next(files, None)) is not None:
                    shown = name if os.path.isabs(name) else os.path.relpath(folder / name, here)
                    at = f"{os.path.relpath(program, here)}, line {line}"
                    found.setdefault(shown, Named(shown, at, path))
    return found.values()


def notes_on_named(found: Collection[Named]) -> list[str]:
    """Return a note on files that programs name and that are not sent."""
    if not found:
        return []
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return [
        "named in the code, here, and not sent: "
        f"{', '.join(map(str, [*found][:_NAMED]))}{more}. If the job reads them: --file NAME or "
        "--code DIR sends them, --mount pvc:CLAIM:/path is for data"
    ]


def _names(text: str) -> Iterator[tuple[str, int]]:
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(name)) if _NAME.fullmatch(name):
                yield name, node.lineno


def _files(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files that a name, or a pattern, means in a folder."""
    if name.startswith(_OF_THE_SYSTEM):
        return
    try:
        if "*" not in name:
            yield from [path for path in (folder / name,) if path.is_file()]
        elif not os.path.isabs(name) and "**" not in name:
            yield from islice((path for path in folder.glob(name) if path.is_file()), _LOOKED_AT)
    except (OSError, ValueError):
        return  # no name of a file
