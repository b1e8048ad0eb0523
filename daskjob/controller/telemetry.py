"""All metrics of the operator (``/metrics``), and the source of each."""

from __future__ import annotations

from collections.abc import Callable

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
from daskjob.controller.world import World
from daskjob.core.manifests import Key

PASS_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Telemetry:
    """The metrics of one operator, which sets ``world`` and ``queue``."""

    def __init__(self) -> None:
        self.world: World | None = None
        #: The queue of this term; ``None``: this operator does not lead.
        self.queue: WorkQueue[Key] | None = None
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
                "1 if this operator is the leader, else 0.",
                lambda: float(self.queue is not None),
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
                self._of_queue(lambda queue: queue.depth),
            ),
            Gauge(
                "daskjob_queue_oldest_seconds",
                "Longest time that any object has been waiting for a pass.",
                self._of_queue(lambda queue: queue.oldest_seconds),
            ),
            Gauge(
                "daskjob_queue_timers",
                "Objects with a scheduled later pass.",
                self._of_queue(lambda queue: queue.timers),
            ),
            Gauge(
                "daskjob_queue_failing",
                "Objects whose last pass failed.",
                self._of_queue(lambda queue: queue.failing),
            ),
            self._passes,
            self._pass_seconds,
        ]

    def _of_world(self) -> list[Metric]:
        silence = Gauge(
            "daskjob_watch_silent_seconds",
            "Time since the last event or relist of the quietest watch.",
            lambda: self.world.silent_seconds() if self.world else 0.0,
        )
        return [self.requests.requests, self.requests.seconds, self.requests.watches, silence]

    def _of_queue(self, read: Callable[[WorkQueue[Key]], float]) -> Callable[[], float]:
        return lambda: float(read(self.queue)) if self.queue else 0.0
