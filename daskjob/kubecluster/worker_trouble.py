"""Reports that workers crash or cannot start, once for each cause, to users without a view."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.parsed import parsed_group_status
from daskjob.core.reasons import Reason
from daskjob.kubecluster.watch import ClusterWatch

#: How long each reason lasts before it is reported: another node, or room in a quota, may be on
#: its way, but a worker that crashes only waits for its next crash.
PATIENCE = {
    **dict.fromkeys(
        (
            *(Reason.WORKERS_FAILED, Reason.IMAGE_PULL, Reason.CONFIG_MISSING),
            *(Reason.CONTAINER_FAILED, Reason.INVALID_SPEC),
        ),
        10.0,
    ),
    **dict.fromkeys(
        (Reason.UNSCHEDULABLE, Reason.QUOTA_EXCEEDED, Reason.REJECTED, Reason.VOLUME_MOUNT), 60.0
    ),
}
#: Reasons whose messages differ by cause; others quote what a node or a registry said last.
_TELLING = frozenset({Reason.WORKERS_FAILED, Reason.CONFIG_MISSING})
#: What differs between the workers that one cause concerns, and from one crash to the next.
_OF_ONE_WORKER = re.compile(r"[\w.-]+-worker-[\w.-]+|, restarted (once|\d+ times)")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why workers of a group are not ready."""

    group: str
    reason: str
    message: str
    ready: int
    wanted: int

    @property
    def cause(self) -> tuple[str, str, str]:
        """What is the same for all workers that have this trouble."""
        text = _OF_ONE_WORKER.sub("", self.message) if self.reason in _TELLING else ""
        return self.group, self.reason, text

    def text(self, cluster: str) -> str:
        """Return the line that reports it."""
        of_group = "" if self.group == names.DEFAULT_GROUP else f" of group {self.group}"
        count = f"{self.ready} of {self.wanted} workers{of_group} are ready"
        return f"cluster {cluster}: {count}: {self.message}"


class Reported:
    """Which troubles were reported, and since when the others last; pure."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str, str], float] = {}
        self._done: set[tuple[str, str, str]] = set()

    def due(self, troubles: Iterable[Trouble], now: float) -> tuple[list[Trouble], float | None]:
        """Return what to report now, and after how many seconds to look again without a change."""
        pending = {one.cause: one for one in troubles if one.cause not in self._done}
        self._since = {cause: self._since.get(cause, now) for cause in pending}
        left = {
            cause: self._since[cause] + PATIENCE[Reason(one.reason)] - now
            for cause, one in pending.items()
        }
        due = [cause for cause, seconds in left.items() if seconds <= 0]
        self._done.update(due)
        return [pending[cause] for cause in due], min(
            (seconds for seconds in left.values() if seconds > 0), default=None
        )


async def report_troubles(watch: ClusterWatch, say: Callable[[str], None]) -> None:
    """Report the troubles of a cluster's workers until this task is cancelled."""
    reported, clock = Reported(), asyncio.get_running_loop().time
    while True:
        due, wait = reported.due(troubles_of(watch), clock())
        for trouble in due:
            say(trouble.text(watch.ref.name))
        await watch.change(wait)


def troubles_of(watch: ClusterWatch) -> Iterator[Trouble]:
    """Yield why workers are missing, for each group that has a known reason."""
    wanted = watch.replicas()
    for group, condition in watch.missing_workers().items():
        if condition.reason in PATIENCE:
            ready = parsed_group_status(watch.group(group) or {}).ready_replicas or 0
            yield Trouble(
                group, condition.reason, condition.message, ready, wanted.get(group, ready)
            )
