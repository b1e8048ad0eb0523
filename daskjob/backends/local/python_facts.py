"""What packages for a Python depend on: its version, its platform, what it has already."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from daskjob.core.errors import DaskJobError
from daskjob.core.messages import cut

#: How long a Python may take to report it: a first start on a network disk is slow.
PROBE_SECONDS = 60
_PROBE = """\
import json, os, platform, sys, sysconfig
if sys.version_info < (3, 8):
    sys.exit("it is Python %d.%d, and 3.8 or newer is needed" % sys.version_info[:2])
from importlib import metadata
sys.path[:] = [folder for folder in sys.path if folder]
found = {}
for item in metadata.distributions():
    try:
        found.setdefault(str(item.metadata["Name"]), str(item.version))
    except Exception:
        continue
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "identity": [sys.version, os.path.realpath(sys.prefix), sysconfig.get_platform(),
                 str(sysconfig.get_config_var("SOABI")), *platform.libc_ver()],
    "installed": found,
}))
"""


class NoFacts(DaskJobError):
    """The program is no Python."""


@dataclass(frozen=True, slots=True)
class PythonFacts:
    """What a Python is, and which distributions it has."""

    version: str
    #: All that compiled packages depend on, and where it is.
    identity: tuple[str, ...]
    #: Version by name, as the distributions have it.
    installed: Mapping[str, str] = field(default_factory=dict)


def python_facts(python: str, environ: Mapping[str, str]) -> PythonFacts:
    """Return the facts of a Python.

    Raises
    ------
    NoFacts
        The program is no Python.
    """
    try:
        done = subprocess.run(
            [python, "-c", _PROBE],
            env=dict(environ),
            cwd=os.sep,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
        return PythonFacts(found["version"], tuple(found["identity"]), found["installed"])
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise NoFacts(f"{python} is no working Python: {cut(lines[-1], 200)}") from error
