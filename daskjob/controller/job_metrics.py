"""Metrics and log lines about jobs: how many are in which phase, and how long that took them.

The last status of each job is remembered. A difference in a newer status has just happened: it is
counted and logged, once. The first status seen after a start is history, and is not counted. No
message of a job is logged: it may quote users' output.
"""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from daskjob.controller.clock import utc_now
from daskjob.controller.metrics import Counter, Histogram, Sample
from daskjob.core import names
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import Observed, ObservedJob
from daskjob.core.status import ConditionType, JobStatus, Phase, job_status_from
from daskjob.core.status.conditions import is_true

logger = logging.getLogger(__name__)

START_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0, 1800.0, 3600.0)
END_BUCKETS = (10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10800.0, 43200.0, 86400.0)


@dataclass(frozen=True, slots=True)
class _Known:
    """The last known state of a job."""

    uid: str
    created_at: datetime | None
    phase: str = Phase.PENDING
    reason: str = ""
    #: Number of attempts that ended.
    ended: int = 0
    scheduler_was_ready: bool = False
    runner_started: bool = False
    finished: bool = False


class Jobs:
    """All existing jobs that a pass has observed."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._known: dict[Key, _Known] = {}
        self._places: Tally[tuple[str, str]] = Tally()
        self.attempts = Counter(
            "daskjob_attempts_total", "Attempts of jobs that ended, by reason.", ("reason",)
        )
        self.to_scheduler = Histogram(
            "daskjob_job_scheduler_ready_seconds",
            "Time from a job's creation to the first answer of its scheduler.",
            START_BUCKETS,
        )
        self.to_runner = Histogram(
            "daskjob_job_runner_started_seconds",
            "Time from a job's creation to the start of its first runner.",
            START_BUCKETS,
        )
        self.to_end = Histogram(
            "daskjob_job_finished_seconds",
            "Time from a job's creation to its end.",
            END_BUCKETS,
            ("phase",),
        )

    def saw(self, key: Key, observed: Observed | None) -> None:
        """Record an object as a pass observed it; ``None``: it is gone."""
        if key.kind != names.Kind.JOB:
            return
        if not isinstance(observed, ObservedJob):
            self._move(key, self._known.pop(key, None), None)
            return
        meta = observed.job.meta
        known = self._known.get(key)
        if known is None or known.uid != meta.uid:
            new = _Known(meta.uid, meta.created_at)
            if observed.status.started:
                new = _with(new, observed.status)
            self._move(key, known, new)
            return
        self._advance(key, known, observed.status)

    def wrote(self, ref: ObjectRef, status: Manifest) -> None:
        """Record a status that was written."""
        known = self._known.get(Key(ref.kind, ref.namespace, ref.name))
        if known is not None and known.uid == ref.uid:
            key = Key(ref.kind, ref.namespace, ref.name)
            self._advance(key, known, job_status_from(status))

    def clear(self) -> None:
        """Forget all jobs: another operator leads now."""
        self._known.clear()
        self._places.clear()

    def samples(self) -> list[Sample]:
        """Return the number of jobs by phase and reason."""
        return [Sample(place, float(count)) for place, count in sorted(self._places.items())]

    def _advance(self, key: Key, known: _Known, status: JobStatus) -> None:
        new = _with(known, status)
        if new == known:
            return
        self._move(key, known, new)
        age = self._age(known)
        for attempt in status.attempts:
            if known.ended <= attempt.number < new.ended:
                self.attempts.inc(attempt.reason)
        if new.scheduler_was_ready and not known.scheduler_was_ready and not status.attempt:
            self.to_scheduler.observe(age)
        if new.runner_started and not known.runner_started and not status.attempt:
            self.to_runner.observe(age)
        if new.finished and not known.finished:
            self.to_end.observe(age, new.phase)
        if (new.phase, new.reason) != (known.phase, known.reason):
            _log(key, new, status)

    def _age(self, known: _Known) -> float:
        now = self._now()
        return max((now - (known.created_at or now)).total_seconds(), 0.0)

    def _move(self, key: Key, old: _Known | None, new: _Known | None) -> None:
        if old is not None:
            place = (old.phase, old.reason)
            self._places[place] -= 1
            if not self._places[place]:
                del self._places[place]
        if new is not None:
            self._known[key] = new
            self._places[new.phase, new.reason] += 1


def _with(known: _Known, status: JobStatus) -> _Known:
    """Return the known state of a job, updated by one of its statuses."""
    last = max((attempt.number + 1 for attempt in status.attempts), default=0)
    return replace(
        known,
        phase=status.phase or Phase.PENDING,
        reason=status.reason,
        ended=max(known.ended, last),
        scheduler_was_ready=known.scheduler_was_ready
        or is_true(status.conditions, ConditionType.SCHEDULER_READY),
        runner_started=known.runner_started
        or is_true(status.conditions, ConditionType.RUNNER_READY),
        finished=status.finished,
    )


def _log(key: Key, known: _Known, status: JobStatus) -> None:
    parts = [str(known.phase)]
    if status.attempt:
        parts.append(f"attempt {status.attempt}")
    if known.reason:
        parts.append(known.reason)
    if status.exit_code is not None:
        parts.append(f"exit code {status.exit_code}")
    logger.info("%s", ", ".join(parts), extra={"key": key})
