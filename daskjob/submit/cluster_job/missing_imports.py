"""Modules that a script imports when it starts, and that its Python on this machine does not find.

Most scripts have all that they import. So lines of text decide first, and only about what is left a
parser, and then the Python itself, which alone knows its own path. Nothing of the user is run.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from daskjob.submit.cluster_job.imports import Folder, absolute, imported
from daskjob.submit.source_text import parsed

#: How long a Python may take: a first start on a network disk is slow.
ASK_SECONDS = 60
#: Imports that are not indented: they run when the module is imported, and none is optional.
_IMPORT = re.compile(
    r"^(?:import[ \t]+(?P<names>[^#;\n]+)"
    r"|from[ \t]+(?P<dots>\.*)(?P<module>[\w.]*)[ \t]+import[ \t]+(?P<members>\([^)]*\)|[^#;\n]+))",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
#: What makes it unknown where Python searches.
_OWN_PATH = ("sys.path", "addsitedir", "meta_path", "sys.modules")
#: Prints those of some modules that are not found, with folders before all others.
_ASK = """\
import sys
found = sys.path[:]
sys.path[:] = [folder for folder in found if folder]  # the user may have a json.py
import json
from importlib.util import find_spec

def is_there(name):
    try:
        return find_spec(name) is not None
    except Exception:
        return True

folders, names = json.load(sys.stdin)
sys.path[:] = [*folders, *found]
print(json.dumps([name for name in names if not is_there(name)]))
"""


def missing_imports(
    text: str,
    folders: Sequence[Folder],
    modules: Sequence[str],
    *,
    python: str,
    environ: Mapping[str, str],
    packages: Sequence[Path] = (),
) -> list[str]:
    """Return the top-level modules that a program needs to start, and that are not found.

    ``folders`` have its own modules, ``packages`` are folders of packages for this run alone;
    ``modules`` are what ``python -m`` runs. Empty, too, if a program changes where Python searches.
    """
    texts: list[str] = []

    def read(text: str, package: str) -> Iterable[tuple[str, list[str]]]:
        texts.append(text)
        return _imports(text, package)

    found = imported([(text, "")], folders, modules, read=read)
    own = {place.partition("/")[0].partition(".")[0] for place in (*found.files, *found.compiled)}
    if any(word in text for text in texts for word in _OWN_PATH):
        return []
    known = {*sys.stdlib_module_names, *own, *_names_in([*_site_packages(python), *packages])}
    names = dict.fromkeys(name for text in texts for name in _tops(text) if name not in known)
    beside = [folder.path for folder in folders]
    left = [name for name in names if not any((path / name).is_dir() for path in beside)]
    if not left:
        return []
    certain = {name for text in texts for name in _parsed_tops(text)}
    left = [name for name in left if name in certain]
    return _asked(left, python, environ, [*beside, *packages]) if left else []


def _imports(text: str, package: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules that a text imports without indentation, with the names from each."""
    for line in _IMPORT.finditer(text):
        if line["names"]:
            words = (_WORD.match(part.strip()) for part in line["names"].split(","))
            yield from ((word[0], []) for word in words if word)
        else:
            base = absolute(line["module"], package, len(line["dots"]))
            members = re.sub(r"\bas\s+\w+", "", line["members"])
            if base is not None:
                yield base, re.findall(r"\w+", members)


def _tops(text: str) -> Iterator[str]:
    """Yield the top-level modules that are not relative."""
    yield from (name.partition(".")[0] for name, _ in _imports(text, "") if name)


def _parsed_tops(text: str) -> Iterator[str]:
    """Yield the same by the parser: lines of a string are no imports."""
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError, RecursionError):
        return  # Python reports it, when it runs
    for node in tree.body:
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def _site_packages(python: str) -> Iterable[Path]:
    if python == sys.executable:
        return map(Path, filter(None, sys.path))
    return Path(python).absolute().parent.parent.glob("lib/python3.*/site-packages")


def _names_in(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        try:
            yield from (name.partition(".")[0] for name in os.listdir(folder))
        except OSError:
            continue  # an archive, or gone


def _asked(
    names: Sequence[str], python: str, environ: Mapping[str, str], folders: Collection[Path]
) -> list[str]:
    try:
        done = subprocess.run(
            [python, "-c", _ASK],
            env=dict(environ),
            input=json.dumps([list(map(str, folders)), list(names)]),
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # Python itself reports it
    return [name for name in names if name in found]
