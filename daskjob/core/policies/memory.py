"""Memory that workers may use together, against that of the machine that they share."""

from __future__ import annotations

from daskjob.core.job_view import JobView
from daskjob.core.quantity import format_bytes
from daskjob.core.worker_command import memory_limit_bytes


def overcommitted(view: JobView) -> tuple[str, str]:
    """Return the reason and the message if the limits do not protect the machine; else empty."""
    machine, cluster = view.observed.platform.memory_bytes, view.job.cluster
    if not machine or cluster is None:
        return "", ""
    limits = [(group.replicas, memory_limit_bytes(group.template)) for group in cluster.all_groups]
    largest = max((limit for count, limit in limits if count), default=0)
    if sum(count * limit for count, limit in limits) <= machine:
        return "", ""
    workers = sum(count for count, limit in limits if limit)
    what = f"{workers} workers may use {format_bytes(largest)} each" if workers > 1 else ""
    what = what or f"the worker may use {format_bytes(largest)}"
    return "MemoryOvercommitted", (
        f"{what}, and this machine has {format_bytes(machine)}: the limit does not protect it. "
        f"Lower {view.words.memory}, or run fewer workers."
    )
