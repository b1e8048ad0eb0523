"""Notebooks as scripts: which ones can run, and the command that runs them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from daskjob.core.errors import DaskJobError
from daskjob.submit.source_text import parsed

#: A line of IPython that is no Python: a magic, a shell escape, a question, or one assigned.
_IPYTHON = re.compile(
    r"\s*(?:%{1,2}\w|!|\?{1,2}\s*[\w%]|[\w\s,.\[\]'\"]+=\s*(?:%\w|!)|[\w.%]+\?{1,2}\s*$)"
)
#: Such a line that installs packages, and what does so for a job.
_INSTALLS = re.compile(
    r"[%!]\s*(?:uv\s+)?(?:pip|conda|mamba|micromamba|python\S*\s+-m\s+pip)\b.*install"
)
_PACKAGES = (
    "Packages are installed for all processes of a job before it starts: --with PACKAGE, or a cell "
    'with a block: # /// script, # dependencies = ["PACKAGE"], # ///'
)
#: The number of lines that a message lists.
_LISTED = 10


class UnfitNotebook(DaskJobError):
    """A notebook that cannot run as a script; nothing was started."""


def notebook_command(path: Path) -> list[str]:
    """Return the command, in the notebook's folder, that runs its code cells in their order.

    Raises
    ------
    UnfitNotebook
        The file is no notebook of Python, or uses commands of IPython; each is named with cell and
        line.
    """
    cells = list(_code_cells(path))
    found = [line for number, source in cells for line in _ipython_lines(number, source)]
    if found:
        more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
        lines = "\n".join(f"  {line}" for line in [*found[:_LISTED], *more])
        packages = f"\n{_PACKAGES}" if any(map(_INSTALLS.search, found)) else ""
        raise UnfitNotebook(
            f"the notebook {path} runs as a script, which has no magics and shell commands of "
            "IPython. Remove or comment out, in the notebook or in a copy of it:\n"
            + lines
            + packages
        )
    from daskjob.submit import notebook_program

    program = Path(notebook_program.__file__).read_text(encoding="utf-8")
    return ["python", "-c", program, path.name]


def code_of(path: Path) -> str:
    """Return the text of all code cells.

    Raises
    ------
    UnfitNotebook
        The file is no notebook of Python.
    """
    return "\n".join(source.rstrip("\n") for _, source in _code_cells(path)) + "\n"


def _code_cells(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and source of each code cell, counted from 1 among the code cells."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UnfitNotebook(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnfitNotebook(f"{path} is not a notebook: it is not valid JSON ({error})") from error
    if not isinstance(notebook, dict):
        raise UnfitNotebook(f"{path} is not a notebook: it has no cells")
    if "worksheets" in notebook:
        raise UnfitNotebook(
            f"the notebook {path} has the format 3, which Jupyter has not written since 2015; "
            f"convert it: jupyter nbconvert --to notebook {path}"
        )
    _check_language(path, notebook)
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise UnfitNotebook(f"{path} is not a notebook: it has no cells")
    number = 0
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        number += 1
        source = cell.get("source")
        if isinstance(source, list):
            source = "".join(map(str, source))
        if not isinstance(source, str):
            raise UnfitNotebook(f"{path} is not a notebook: cell {number} has no source")
        yield number, source


def _check_language(path: Path, notebook: dict[str, object]) -> None:
    metadata = notebook.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    for part, key in (("kernelspec", "language"), ("language_info", "name")):
        found = metadata.get(part)
        language = found.get(key) if isinstance(found, dict) else None
        if isinstance(language, str) and language.lower() not in ("python", "ipython", ""):
            raise UnfitNotebook(f"the notebook {path} is of {language}, not of Python")


def _ipython_lines(number: int, source: str) -> Iterator[str]:
    """Yield the lines of a cell that only IPython understands, with cell and line.

    Python's parser finds them, so that such a line inside a string is none. Any other mistake is
    Python's to report, when it runs.
    """
    lines = source.splitlines()
    while True:
        try:
            tree = parsed("\n".join(lines))
        except (SyntaxError, ValueError) as error:
            at = getattr(error, "lineno", None) or 0
            if not 0 < at <= len(lines) or not _IPYTHON.match(lines[at - 1]):
                return
            line = lines[at - 1]
            yield f"cell {number}, line {at}: {line.strip()}"
            if line.lstrip().startswith("%%"):
                return  # the rest of the cell is the magic's
            lines[at - 1] = line[: len(line) - len(line.lstrip())] + "pass"
            continue
        break
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "get_ipython":
            yield f"cell {number}, line {node.lineno}: {lines[node.lineno - 1].strip()}"
