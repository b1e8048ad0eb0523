"""The program of a call on a cluster: its command, and the files that it imports."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from daskjob.submit.cluster_job.editable import editable_folders
from daskjob.submit.cluster_job.folder import project_root, workspace_root
from daskjob.submit.cluster_job.program import Program, Sources, module_program, script_program
from daskjob.submit.functions.call import Call


def function_program(call: Call, files: tuple[str, ...]) -> Program:
    """Return the program that calls a function.

    Raises
    ------
    UnfitCode
        Its files cannot be sent with a job.
    """
    inherited = [Path(item) for item in os.environ.get("PYTHONPATH", "").split(":") if item]
    project = project_root(call.file.parent)
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    environments = [*([Path(active)] if active else []), Path(sys.prefix)]
    sources = Sources(
        python_path=tuple(path.absolute() for path in inherited),
        project=project,
        editable=editable_folders(workspace_root(project), environments) if project else (),
        files=tuple(Path(name) for name in files),
    )
    words = call.words()
    if call.is_script:
        return script_program(call.file, sources, before=words, after=())
    found = module_program(call.module, sources, call.root, before=(), after=())
    return replace(found, words=tuple(words), label=call.name)
