"""What the operator tells of jobs as a whole: how many stand where, how long that took them.

A job is known by its last status. What a newer one says that the last did not has just happened,
and is counted and logged, once; what the first one says that is seen of a job after a start has
happened before, and is not. No message of a job gets into a log: it may quote what users print.
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
    """What is remembered of a job."""

    uid: str
    created_at: datetime | None
    phase: str = Phase.PENDING
    reason: str = ""
    #: Attempts that ended, in all.
    ended: int = 0
    scheduler_was_ready: bool = False
    runner_started: bool = False
    finished: bool = False


class Jobs:
    """All jobs that passes have looked at and that still exist."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._known: dict[Key, _Known] = {}
        self._places: Tally[tuple[str, str]] = Tally()
        self.attempts = Counter(
            "daskjob_attempts_total", "Attempts of jobs that ended, by reason.", ("reason",)
        )
        self.to_scheduler = Histogram(
            "daskjob_job_scheduler_ready_seconds",
            "From a job's creation to its first scheduler's answer.",
            START_BUCKETS,
        )
        self.to_runner = Histogram(
            "daskjob_job_runner_started_seconds",
            "From a job's creation to its first runner's start.",
            START_BUCKETS,
        )
        self.to_end = Histogram(
            "daskjob_job_finished_seconds",
            "From a job's creation to its end.",
            END_BUCKETS,
            ("phase",),
        )

    def saw(self, key: Key, observed: Observed | None) -> None:
        """Take note of an object as a pass saw it; ``None``: it is gone."""
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
        """Take note of a status that was written."""
        known = self._known.get(Key(ref.kind, ref.namespace, ref.name))
        if known is not None and known.uid == ref.uid:
            key = Key(ref.kind, ref.namespace, ref.name)
            self._advance(key, known, job_status_from(status))

    def clear(self) -> None:
        """Forget all jobs: somebody else looks at them now."""
        self._known.clear()
        self._places.clear()

    def samples(self) -> list[Sample]:
        """Return how many jobs stand where."""
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
    """Return what is known of a job after a status of it."""
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
    words = [str(known.phase)]
    if status.attempt:
        words.append(f"attempt {status.attempt}")
    if known.reason:
        words.append(known.reason)
    if status.exit_code is not None:
        words.append(f"exit code {status.exit_code}")
    logger.info("%s", ", ".join(words), extra={"key": key})
