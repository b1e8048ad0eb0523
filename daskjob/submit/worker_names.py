"""The names of workers in their merged logs."""

from __future__ import annotations


def short_name(pod: str, job: str) -> str:
    """Return a worker's name without the job's, and without that of the usual group."""
    return pod.removeprefix(f"{job}-").removeprefix("default-")
