"""The versions of Python, dask and distributed of the environment that runs scripts."""

from __future__ import annotations

from daskjob.submit.cluster_job.image import Versions
from daskjob.submit.doctor.finding import Finding, failed, ok, warning

CHECK = "dask"
#: As pyproject.toml has it.
OLDEST = (2024, 1, 0)


def dask_versions(found: Versions) -> Finding:
    """Check that the environment has a dask that daskjob supports."""
    text = f"Python {found.python}, dask {found.dask}, distributed {found.distributed}"
    text += f" in {found.place}"
    if not (found.dask and found.distributed):
        missing = "distributed" if found.dask else "dask"
        return failed(CHECK, f"{found.place} has no {missing}", "pip install 'dask[distributed]'")
    if found.dask != found.distributed:
        fix = f"pip install dask=={found.distributed} distributed=={found.distributed}"
        return warning(CHECK, f"{text}: their versions differ", fix)
    if _numbers(found.distributed) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return failed(CHECK, f"{text}: older than {oldest}", "pip install -U 'dask[distributed]'")
    return ok(CHECK, text)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")[:3]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)
