"""The program of a job on a cluster, from what the words of the command line name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from daskjob.submit.cli.ways_in import Way
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code import HERE, Code
from daskjob.submit.cluster_job.code_place import CodePlace, path_inside
from daskjob.submit.cluster_job.editable import editable_folders
from daskjob.submit.cluster_job.folder import project_root, workspace_root
from daskjob.submit.cluster_job.imports import Folder, module_file
from daskjob.submit.cluster_job.program import (
    Program,
    Sent,
    Sources,
    command_program,
    folder_program,
    module_program,
    notebook_program,
    script_program,
    text_program,
)
from daskjob.submit.cluster_job.project_path import project_path
from daskjob.submit.inline_metadata import ScriptText
from daskjob.submit.source_text import readable_text


def text_of(way: Way) -> str:
    """Return the text of a way's Python: of a script, of a notebook's cells; empty if unknown."""
    if way.script is None:
        return way.text
    if way.script.suffix == ".ipynb":
        from daskjob.submit.notebook import code_of

        return code_of(way.script)
    return readable_text(way.script.read_bytes())


def script_text(way: Way) -> ScriptText:
    """Return the text whose block says what a way needs, and where its project is looked for.

    That of the script; of a module, its file; of a folder, its ``__main__.py``.
    """
    path = way.script or way.main or _file_of_module(way)
    if path is None:
        return ScriptText(way.text, way.label, Path.cwd())
    is_script = path == way.script
    text = text_of(way) if is_script else readable_text(path.read_bytes())
    return ScriptText(text, str(path), path.absolute().parent)


def _file_of_module(way: Way) -> Path | None:
    if not way.module:
        return None
    path = module_file(way.module, sources_of(way, ()).folders(Path(way.path[0])))
    if path is None:
        return None
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def sources_of(way: Way, files: tuple[str, ...], whole: Path | None = None) -> Sources:
    """Return where the code of a way is, and the files, or the folder, that go with it."""
    inherited = [Path(item) for item in os.environ.get("PYTHONPATH", "").split(":") if item]
    project = project_root(_folder(way))
    return Sources(
        # A package that runs as a folder has itself on the path too, behind its parent.
        python_path=tuple(
            Path(os.path.abspath(path)) for path in (*map(Path, way.path[1:]), *inherited)
        ),
        project=project,
        editable=editable_folders(workspace_root(project), environment_folders(way))
        if project
        else (),
        files=tuple(Path(name) for name in files),
        whole=whole,
    )


def project_folders(way: Way) -> tuple[str, ...]:
    """Return the folders of a way's project to append to PYTHONPATH: it imports from them."""
    modules = [way.module] if way.module else []
    return project_path(text_of(way), sources_of(way, ()), _first_folder(way), modules)


def module_folders(way: Way) -> tuple[list[Folder], list[str]]:
    """Return where a way's own modules are, and the modules that ``python -m`` runs."""
    modules = [way.module, f"{way.module}.__main__"] if way.module else []
    return sources_of(way, ()).folders(_first_folder(way)), modules


def _first_folder(way: Way) -> Path:
    """Return where Python looks first for the modules of a way."""
    return (Path(way.path[0]) if way.path else _folder(way)).absolute()


def environment_folders(way: Way) -> list[Path]:
    """Return the folders of the environment in which a way runs here."""
    found = [Path(way.python).absolute().parent.parent] if "/" in way.python else []
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    return [*found, *([Path(active)] if active else []), Path(sys.prefix)]


def remote_program(way: Way | None, words: Sequence[str], place: CodePlace) -> Program:
    """Return the program of code of another place.

    ``words`` are the script and its arguments, or ``-m``, a module and its arguments; a ``way`` is
    that of the same script here.

    Raises
    ------
    UnfitCode
        The script is none that can run there.
    """
    # An image or a volume may have either layout, and a folder that does not exist is no mistake.
    code = Code(source=place.source, paths=("src", HERE))
    if words[0] == "-m":
        note = f"the module {words[1]} runs from {place.shown}"
        return Program(("python", *words), words[1], code, folder=HERE, notes=(note,))
    if words[0].endswith(".ipynb") or words[0] == "-":
        raise UnfitCode(f"{words[0]}: code of another place runs as a script, or as -m MODULE")
    path = path_inside(words[0])
    note = f"{path} runs from {place.shown}"
    if way is not None and way.script is not None:
        note += f"; of the file {way.script} here, only the settings are used"
        at = _index_of(way.script, way.command)
        before = way.command[:at]
    elif path.endswith((".py", ".pyw")):
        before = ("python",)
    else:
        raise UnfitCode(f"{path}: code of another place runs as a script of Python (.py), or as -m")
    label = Path(path).stem
    # The workers start there too: a task opens the same files as the script.
    return Program((*before, Sent(path), *words[1:]), label, code, folder=HERE, notes=(note,))


def _folder(way: Way) -> Path:
    return way.script.absolute().parent if way.script else Path.cwd()


def program_of(way: Way, sources: Sources) -> Program:
    """Return the program of a way.

    Raises
    ------
    UnfitCode
        Its files cannot be sent with a job.
    """
    words = way.command
    if way.from_stdin:
        at = words.index("-")
        text = way.text
        rest = words[at + 1 :]
        return text_program(text, sources, Path.cwd(), before=words[:at], after=rest)
    if way.script is not None and way.script.suffix == ".ipynb":
        at = words.index("-c") + 2
        rest = words[at + 1 :]
        cells = text_of(way)
        return notebook_program(way.script, sources, before=words[:at], after=rest, cells=cells)
    if way.script is not None:
        at = _index_of(way.script, words)
        return script_program(way.script, sources, before=words[:at], after=words[at + 1 :])
    return _other_program(way, sources)


def _other_program(way: Way, sources: Sources) -> Program:
    words = way.command
    folder = Path(way.path[0]) if way.path else Path.cwd()
    if words[0] != "python":
        return script_program(Path(words[0]), sources, before=(), after=words[1:])
    if "-c" in words and way.label == "command":
        text = words[words.index("-c") + 1]
        return command_program(words, text, sources, Path.cwd(), label=way.label)
    path = next((word for word in words[1:] if Path(word).absolute() == folder), None)
    if path is not None:
        at = words.index(path)
        make = folder_program if folder.is_dir() else script_program
        return make(folder, sources, before=words[:at], after=words[at + 1 :])
    at = words.index("-m")
    name, rest = words[at + 1], words[at + 2 :]
    return module_program(name, sources, folder, before=words[:at], after=rest)


def _index_of(script: Path, words: tuple[str, ...]) -> int:
    return next(i for i, word in enumerate(words) if i and Path(word) == script)
