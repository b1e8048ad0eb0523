"""The program of a call on a cluster: its command, and the files that it imports."""

from __future__ import annotations

import os
from pathlib import Path

from daskjob.submit.cluster_job.program import Program, Sources, module_program, script_program
from daskjob.submit.functions.call import Call
from daskjob.submit.settings.sources import nearest_project


def function_program(call: Call, files: tuple[str, ...]) -> Program:
    """Return the program that calls a function.

    Raises
    ------
    UnfitCode
        Its files cannot be sent with a job.
    """
    project = nearest_project(call.file.parent)
    inherited = [Path(item) for item in os.environ.get("PYTHONPATH", "").split(":") if item]
    sources = Sources(
        python_path=tuple(path.absolute() for path in inherited),
        project=project.parent if project else None,
        files=tuple(Path(name) for name in files),
    )
    words = call.words()
    if call.is_script:
        return script_program(call.file, sources, before=words, after=())
    found = module_program(call.module, sources, call.root, before=(), after=())
    return Program(tuple(words), call.name, found.code, found.in_folder, found.notes)
