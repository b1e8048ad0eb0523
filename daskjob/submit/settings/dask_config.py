"""Dask's configuration, as far as it has settings of jobs.

Importing Dask takes half of the CPU time of ``daskjob render``. So its files are first searched for
the name of the settings; only if one has it, Dask itself reads them all.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: The name of the settings in it, and of their tables elsewhere.
NAME = "daskjob"
_SUFFIXES = (".yaml", ".yml", ".json")
#: Variables with settings, and with a whole configuration that a parent process passes on.
_VARIABLES = (f"DASK_{NAME.upper()}", "DASK_INTERNAL_INHERIT_CONFIG")


def dask_config(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Return Dask's configuration; an empty one if it has no settings of jobs."""
    is_set = any(variable.upper().startswith(_VARIABLES) for variable in environ)
    if not is_set and not any(_mentions(path) for path in _files(environ)):
        return {}
    import dask.config

    found: Mapping[str, Any] = dask.config.config
    return found


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that Dask reads, as its documentation lists them."""
    places = [
        environ.get("DASK_ROOT_CONFIG", "/etc/dask"),
        *(os.path.join(prefix, "etc", "dask") for prefix in (sys.prefix, *site.PREFIXES)),
        os.path.join(os.path.expanduser("~"), ".config", "dask"),
        *filter(None, [environ.get("DASK_CONFIG")]),
    ]
    for place in map(Path, dict.fromkeys(places)):
        try:
            found = sorted(place.iterdir()) if place.is_dir() else [place]
        except OSError:
            continue
        yield from (path for path in found if path == place or path.suffix.lower() in _SUFFIXES)


def _mentions(path: Path) -> bool:
    try:
        return NAME.encode() in path.read_bytes()
    except OSError:
        return False
