"""uv: what chooses the versions of a script's packages."""

from __future__ import annotations

import subprocess

from daskjob.submit.doctor.finding import Finding, ok, warning
from daskjob.submit.environment.uv import INSTALL

CHECK = "packages"
_SECONDS = 20


def packages(uv: str) -> Finding:
    """Check the uv at a path; empty: there is none."""
    if not uv:
        text = (
            "no uv: nothing chooses the versions of a script's packages; all of them must be "
            "listed as name==version, also those that these need"
        )
        return warning(CHECK, text, INSTALL)
    try:
        done = subprocess.run(
            [uv, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return warning(CHECK, f"{uv} does not run: {error}", INSTALL)
    return ok(CHECK, f"{done.stdout.strip()}, {uv}")
