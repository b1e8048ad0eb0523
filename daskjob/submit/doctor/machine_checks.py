"""All checks of this machine."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from daskjob.backends.local.state_root import state_root
from daskjob.submit.cluster_job.image import environment_versions
from daskjob.submit.doctor.finding import Finding
from daskjob.submit.doctor.machine.dask_versions import dask_versions
from daskjob.submit.doctor.machine.open_files import open_files
from daskjob.submit.doctor.machine.package_index import package_index
from daskjob.submit.doctor.machine.packages import packages
from daskjob.submit.doctor.machine.shared_memory import shared_memory
from daskjob.submit.doctor.machine.state_folder import state_folder
from daskjob.submit.doctor.machine.temporary_space import temporary_space
from daskjob.submit.environment.uv import find_uv


def machine_checks() -> Iterator[Finding]:
    """Check what local runs need, one after the other."""
    yield dask_versions(environment_versions(os.environ))
    yield state_folder(state_root())
    yield temporary_space()
    yield shared_memory()
    uv = find_uv(os.environ)
    yield packages(uv)
    yield package_index(uv, Path.cwd(), os.environ)
    yield open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
