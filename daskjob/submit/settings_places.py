"""Where the settings of a job come from: its script, its project and the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from daskjob.submit.inline_metadata import ScriptText, declared
from daskjob.submit.settings.dask_config import dask_config
from daskjob.submit.settings.sources import (
    Places,
    WrongSettings,
    project_layer,
    script_layer,
    user_layer,
)


def folder_places(folder: Path, environ: Mapping[str, str]) -> Places:
    """Return the places of what runs in a folder, and is no script.

    Raises
    ------
    WrongSettings
        One of them is wrong.
    """
    return Places(project=project_layer(folder), user=user_layer(dask_config(environ)))


def script_places(script: ScriptText, environ: Mapping[str, str]) -> Places:
    """Return the places of a script: its own block too.

    Raises
    ------
    WrongSettings
        One of them is wrong.
    """
    found = declared(script.text) if "# /// script" in script.text else None
    if found and found.problem:
        raise WrongSettings(f"{script.subject}: {found.problem}")
    own = script_layer(found.settings, script.subject) if found else None
    return replace(folder_places(script.folder, environ), script=own)
