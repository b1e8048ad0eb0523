"""What a cluster consists of and the state of each part, for the panel and for HTML. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from daskjob.core.parsed import parsed_group_status
from daskjob.core.status import STARTING, ClusterPhase
from daskjob.kubecluster.panel import Row
from daskjob.kubecluster.watch import ClusterWatch, short_group

#: JupyterLab's colours, which follow its theme; other frontends take the second ones.
COLOURS = {
    "ready": "var(--jp-success-color1, #388e3c)",
    "waiting": "var(--jp-warn-color1, #f57c00)",
    "failed": "var(--jp-error-color1, #d32f2f)",
    "ended": "var(--jp-ui-font-color3, #9d9d9d)",
}
CELL = "text-align: left; vertical-align: top; padding: 2px 12px 2px 0;"
#: Of names: a long reason beside them would break them into a letter a line.
NAME_CELL = f"{CELL} white-space: nowrap;"
_DOT = "display: inline-block; width: 8px; height: 8px; border-radius: 4px; margin-right: 6px;"


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
    state = "waiting" if condition.reason == STARTING else "failed"
    return Row("Scheduler", state, condition.message)


def _groups(watch: ClusterWatch) -> Iterable[Row]:
    wanted, problems = watch.replicas(), watch.problems()
    ready = {
        short_group(watch.cluster.name, name): parsed_group_status(group).ready_replicas
        for name, group in watch.groups.items()
    }
    for name in sorted(wanted, key=lambda name: (name != "default", name)):
        count = f"{ready.get(name, 0)}/{wanted[name]} ready"
        problem = problems.get(name, "")
        is_ready = ready.get(name, 0) >= wanted[name]
        state = "ready" if is_ready else "failed" if problem else "waiting"
        text = f"{count}: {problem}" if problem and not is_ready else count
        yield Row(f"Workers ({name})", state, text)


def as_html(rows: Sequence[Row]) -> str:
    """Return the rows as rows of a table."""
    return "".join(
        f'<tr><td style="{NAME_CELL}">{dot(row.state)}{html.escape(row.title)}</td>'
        f'<td style="{CELL}">{html.escape(row.text)}</td></tr>'
        for row in rows
    )


def dot(state: str) -> str:
    """Return a point in the colour of a state."""
    return f'<span style="{_DOT} background: {COLOURS[state]};"></span>'
