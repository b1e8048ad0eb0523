"""The program of a call on a cluster: its command, and the files that it imports."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code_place import folder_of
from daskjob.submit.cluster_job.editable import editable_folders
from daskjob.submit.cluster_job.folder import project_root, workspace_root
from daskjob.submit.cluster_job.program import (
    Program,
    Sources,
    command_program,
    module_program,
    script_program,
)
from daskjob.submit.functions.call import Call
from daskjob.submit.settings.items import is_elsewhere


def function_program(call: Call, files: tuple[str, ...], code: str = "") -> Program:
    """Return the program that calls a function; with ``code``, a whole folder is sent.

    Raises
    ------
    UnfitCode
        Its files cannot be sent with a job.
    """
    if is_elsewhere(code):
        raise UnfitCode(
            f"code {code}: a function is sent with its module, so name a folder that has it; "
            "daskjob submit --code runs scripts of other places"
        )
    inherited = [Path(item) for item in os.environ.get("PYTHONPATH", "").split(":") if item]
    project = project_root(call.file.parent)
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    environments = [*([Path(active)] if active else []), Path(sys.prefix)]
    sources = Sources(
        python_path=tuple(Path(os.path.abspath(path)) for path in inherited),
        project=project,
        editable=editable_folders(workspace_root(project), environments) if project else (),
        files=tuple(Path(name) for name in files),
        whole=folder_of(code) if code else None,
    )
    words = call.words()
    if is_installed(call.root):
        # What it imports is installed as well: a copy of that would be before the image's own.
        program = command_program(words, "", sources, Path.cwd(), label=call.name)
        return replace(program, notes=(*program.notes, *_notes(call)))
    if call.is_script:
        return script_program(call.file, sources, before=words, after=())
    found = module_program(call.module, sources, call.root, before=(), after=())
    return replace(found, words=tuple(words), label=call.name)


def is_installed(folder: Path) -> bool:
    """Return whether a folder is that of installed packages, or of the standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    return not {"site-packages", "dist-packages"}.isdisjoint(folder.parts) or folder == library


def _notes(call: Call) -> list[str]:
    top = call.module.partition(".")[0]
    if top in (*sys.stdlib_module_names, "dask", "distributed"):
        return []
    return [
        f"{call.module} is an installed package here and is not sent: the image must have it, or "
        "packages=[…] names it"
    ]
