"""The names of workers in their merged logs, and the worker that a user names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from daskjob.core.errors import NotFound

#: The number of names in a message.
NAMES_SHOWN = 20


class NoSuchLog(NotFound):
    """There is no such log; the message names the existing ones, or why it is gone."""


def short_name(pod: str, job: str) -> str:
    """Return a worker's name without the job's, and without that of the usual group."""
    return pod.removeprefix(f"{job}-").removeprefix("default-")


def worker_named(text: str, pods: Iterable[str], job: str) -> str:
    """Return the pod of the worker that a user names: as a pod, as in merged logs, as in Dask.

    Raises
    ------
    NoSuchLog
        There is no such worker; the message names the existing ones.
    """
    known = list(pods)
    for pod in known:
        short = short_name(pod, job)
        if text in (pod, short, short.removeprefix("worker-")):
            return pod
    names = [short_name(pod, job) for pod in known]
    raise NoSuchLog(f"no worker {text!r} has a log; workers that have one: {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Return names for a message, at most ``NAMES_SHOWN``."""
    if not names:
        return "none"
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
