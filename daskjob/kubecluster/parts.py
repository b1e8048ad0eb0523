"""What a cluster consists of, and the state of each part. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daskjob.core.parsed import parsed_group_status
from daskjob.core.status import STARTING, ClusterPhase
from daskjob.kubecluster.watch import ClusterWatch


@dataclass(frozen=True, slots=True)
class Row:
    """The state of one part."""

    title: str
    #: ``ready``, ``waiting`` or ``failed``.
    state: str
    text: str


def rows_of(watch: ClusterWatch | None) -> list[Row]:
    """Return the rows of a cluster; those of one that does not exist yet are waiting."""
    if watch is None:
        return [Row("DaskCluster", "waiting", "Pending"), Row("Scheduler", "waiting", "Pending")]
    return [_cluster(watch), _scheduler(watch), *_groups(watch)]


def _cluster(watch: ClusterWatch) -> Row:
    if watch.gone:
        return Row("DaskCluster", "failed", "deleted")
    phase = watch.cluster.status.phase
    if phase is None:
        return Row("DaskCluster", "waiting", "created; no operator has picked it up yet")
    state = {ClusterPhase.RUNNING: "ready", ClusterPhase.ERROR: "failed"}.get(phase, "waiting")
    return Row("DaskCluster", state, str(phase))


def _scheduler(watch: ClusterWatch) -> Row:
    condition = watch.scheduler_condition()
    if condition is None:
        running = watch.cluster.status.phase is ClusterPhase.RUNNING
        return Row(
            "Scheduler", "ready" if running else "waiting", "ready" if running else "Pending"
        )
    if condition.status:
        return Row("Scheduler", "ready", "ready")
    if condition.reason == STARTING:
        return Row("Scheduler", "waiting", "starting")
    return Row("Scheduler", "failed", condition.message)


def _groups(watch: ClusterWatch) -> Iterable[Row]:
    wanted, problems = watch.replicas(), watch.problems()
    ready = {
        watch.called(name): parsed_group_status(group).ready_replicas
        for name, group in watch.groups.items()
    }
    for name in sorted(wanted, key=lambda name: (name != "default", name)):
        count = f"{ready.get(name, 0)}/{wanted[name]} ready"
        problem = problems.get(name, "")
        is_ready = ready.get(name, 0) >= wanted[name]
        state = "ready" if is_ready else "failed" if problem else "waiting"
        text = f"{count}: {problem}" if problem and not is_ready else count
        yield Row(f"Workers ({name})", state, text)
