"""All metrics of the operator (``/metrics``), and the source of each.

Namespaces are a label only where the operator's own options name them: that bounds their number.
Prometheus sets the label ``namespace`` itself, to that of the operator's pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from daskjob import __version__
from daskjob.controller.job_metrics import Jobs
from daskjob.controller.metrics import (
    Counter,
    Gauge,
    Histogram,
    Metric,
    Metrics,
    RequestCounters,
    Sample,
    process_metrics,
)
from daskjob.controller.queue import WorkQueue
from daskjob.controller.scope import Scope
from daskjob.controller.world import World
from daskjob.core.manifests import Key

#: The label of a scope, and its value if the operator watches all namespaces.
WATCHED_NAMESPACE, ALL_NAMESPACES = "watched_namespace", "*"

PASS_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Telemetry:
    """The metrics of one operator, which sets ``world`` and ``scopes``."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.scopes: Sequence[Scope] = ()
        self.jobs = Jobs()
        self.requests = RequestCounters()
        self._passes = Counter(
            "daskjob_passes_total", "Passes, by kind and outcome.", ("kind", "outcome")
        )
        self._pass_seconds = Histogram(
            "daskjob_pass_duration_seconds", "Duration of passes.", PASS_BUCKETS, ("kind",)
        )
        self._all = Metrics([*self._of_operator(), *self._of_jobs(), *self._of_passes()])
        self._all.add(*self._of_world(), *process_metrics())

    @property
    def queues(self) -> list[WorkQueue[Key]]:
        """The queues of the namespaces that this operator leads."""
        return [queue for scope in self.scopes if (queue := scope.queue) is not None]

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return self._all.text()

    def passed(self, key: Key, succeeded: bool, seconds: float) -> None:
        """Count a pass."""
        self._passes.inc(key.kind, "success" if succeeded else "failure")
        self._pass_seconds.observe(seconds, key.kind)

    def _of_operator(self) -> list[Metric]:
        return [
            Gauge(
                "daskjob_build_info",
                "The version of this operator.",
                lambda: [Sample((__version__,), 1.0)],
                ("version",),
            ),
            Gauge(
                "daskjob_leader",
                "1 if this operator is the leader, of at least one namespace, else 0.",
                lambda: float(any(scope.leading for scope in self.scopes)),
            ),
            Gauge(
                "daskjob_namespace_synced",
                "1 if the first lists of a watched namespace are complete, else 0.",
                self._of_scopes(lambda scope: scope.synced),
                (WATCHED_NAMESPACE,),
            ),
            Gauge(
                "daskjob_namespace_leader",
                "1 if this operator is the leader of a watched namespace, else 0.",
                self._of_scopes(lambda scope: scope.leading),
                (WATCHED_NAMESPACE,),
            ),
        ]

    def _of_jobs(self) -> list[Metric]:
        jobs = self.jobs
        places = Gauge(
            "daskjob_jobs",
            "Jobs that exist, by phase and reason.",
            jobs.samples,
            ("phase", "reason"),
        )
        return [places, jobs.attempts, jobs.to_scheduler, jobs.to_runner, jobs.to_end]

    def _of_passes(self) -> list[Metric]:
        return [
            Gauge(
                "daskjob_queue_depth",
                "Objects waiting for a pass.",
                self._of_queues(sum, lambda queue: queue.depth),
            ),
            Gauge(
                "daskjob_queue_oldest_seconds",
                "Longest time that any object has been waiting for a pass.",
                self._of_queues(_longest, lambda queue: queue.oldest_seconds),
            ),
            Gauge(
                "daskjob_queue_timers",
                "Objects with a scheduled later pass.",
                self._of_queues(sum, lambda queue: queue.timers),
            ),
            Gauge(
                "daskjob_queue_failing",
                "Objects whose last pass failed.",
                self._of_queues(sum, lambda queue: queue.failing),
            ),
            self._passes,
            self._pass_seconds,
        ]

    def _of_world(self) -> list[Metric]:
        silence = Gauge(
            "daskjob_watch_silent_seconds",
            "Time since the last event or relist of a namespace's quietest watch.",
            self._of_scopes(self._silent_seconds),
            (WATCHED_NAMESPACE,),
        )
        return [self.requests.requests, self.requests.seconds, self.requests.watches, silence]

    def _silent_seconds(self, scope: Scope) -> float:
        return self.world.silent_seconds(scope.namespace) if self.world else 0.0

    def _of_scopes(self, read: Callable[[Scope], float]) -> Callable[[], list[Sample]]:
        return lambda: [
            Sample((scope.namespace or ALL_NAMESPACES,), float(read(scope)))
            for scope in self.scopes
        ]

    def _of_queues(
        self,
        joined: Callable[[Iterable[float]], float],
        read: Callable[[WorkQueue[Key]], float],
    ) -> Callable[[], float]:
        return lambda: float(joined(read(queue) for queue in self.queues))


def _longest(seconds: Iterable[float]) -> float:
    return max(seconds, default=0.0)
