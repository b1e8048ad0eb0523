"""What a job did over time, from its status, its report, and samples where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from daskjob.core.manifests import Manifest, mapping, metadata, parse_time
from daskjob.core.quantity import duration
from daskjob.core.status import JobStatus
from daskjob.submit.html_report.charts import Point, Span
from daskjob.submit.worker_names import short_name

#: The most workers that have a row of their own.
LANES = 500


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one attempt."""

    workers: tuple[Point, ...] = ()
    memory: tuple[Point, ...] = ()
    done: tuple[Point, ...] = ()
    total: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that has a time, in seconds since the start."""

    start: datetime
    seconds: float
    attempts: tuple[Span, ...] = ()
    series: Series = field(default_factory=Series)
    #: The workers by name, each with the times when it was there.
    workers: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    losses: tuple[Span, ...] = ()

    @property
    def edges(self) -> tuple[float, ...]:
        """Where attempts after the first one begin."""
        return tuple(span.begin for span in self.attempts[1:])


def timeline(job: Manifest, status: JobStatus, report: Manifest, now: datetime) -> Timeline:
    """Return the timeline of a job."""
    start = _start(job, status, now)
    end = status.end_time or now
    attempts = _attempts(status, start, end)
    name = str(metadata(job).get("name", ""))
    history = mapping(report.get("history"))
    losses = _losses(report, start, name)
    series = _sampled(history, start) or _reported(report, start, end)
    stays = _workers(history, attempts, start, name, {loss.label.split(" ")[0] for loss in losses})
    last = max([(end - start).total_seconds(), *(span.end for span in attempts)])
    return Timeline(start, max(last, 1.0), attempts, series, stays, losses)


def _start(job: Manifest, status: JobStatus, now: datetime) -> datetime:
    known = [status.start_time, status.attempt_start_time]
    known += [attempt.start_time for attempt in status.attempts]
    created = parse_time(metadata(job).get("creationTimestamp"))
    return min((moment for moment in known if moment), default=created or now)


def _attempts(status: JobStatus, start: datetime, end: datetime) -> tuple[Span, ...]:
    spans = []
    for attempt in status.attempts:
        began = attempt.start_time or attempt.end_time
        kind = "ok" if attempt.exit_code == 0 and attempt.reason == "Completed" else "failed"
        took = duration(attempt.end_time - began)
        label = f"attempt {attempt.number}: {attempt.reason} after {took}"
        ended = (attempt.end_time - start).total_seconds()
        spans.append(Span((began - start).total_seconds(), ended, label, kind))
    current = status.attempt_start_time
    if current and status.attempt not in {attempt.number for attempt in status.attempts}:
        label = f"attempt {status.attempt}: {status.phase}"
        spans.append(Span(_since(current, start), _since(end, start), label))
    return tuple(spans)


def _since(moment: datetime, start: datetime) -> float:
    return max((moment - start).total_seconds(), 0.0)


def _losses(report: Manifest, start: datetime, name: str) -> tuple[Span, ...]:
    found = []
    for row in _rows(mapping(report.get("workers")).get("losses")):
        at = _number(row, 1)
        if at is not None:
            seconds = max(at - start.timestamp(), 0.0)
            who = _shown(str(row[0]), name)
            label = f"{who} was lost after {duration(timedelta(seconds=seconds))}"
            found.append(Span(seconds, seconds, label, "failed"))
    return tuple(found)


def _sampled(history: Manifest, start: datetime) -> Series | None:
    rows = [row for row in _rows(history.get("rows")) if len(row) >= 8]
    if not rows:
        return None
    began = start.timestamp()

    def points(column: int) -> tuple[Point, ...]:
        found = ((_number(row, 0), _number(row, column)) for row in rows)
        return tuple(
            (max(at - began, 0.0), y) for at, y in found if at is not None and y is not None
        )

    return Series(points(2), points(3), points(5), points(4))


def _reported(report: Manifest, start: datetime, end: datetime) -> Series:
    """Return the number of workers over time of the last attempt, as its scheduler reports it."""
    workers = mapping(report.get("workers"))
    began = _number([report.get("startedAt")], 0)
    points = []
    for row in _rows(workers.get("overTime")):
        at, count = _number(row, 0), _number(row, 1)
        if at is not None and count is not None and began is not None:
            points.append((max(began - start.timestamp() + at, 0.0), count))
    if points:
        reported = _number([report.get("now")], 0) or end.timestamp()
        points.append((max(reported - start.timestamp(), points[-1][0]), points[-1][1]))
    return Series(workers=tuple(points))


def _workers(
    history: Manifest,
    attempts: tuple[Span, ...],
    start: datetime,
    job: str,
    lost: set[str],
) -> dict[str, tuple[Span, ...]]:
    last = {_number(row, 1): row[0] for row in _rows(history.get("rows")) if len(row) >= 8}
    stays: dict[str, list[Span]] = {}
    for row in _rows(mapping(history.get("workers")).get("rows")):
        attempt, begin, end = _number(row, 1), _number(row, 2), _number(row, 3)
        if begin is None or attempt is None:
            continue
        ended = _number([last.get(attempt)], 0) if end is None else end
        name = _shown(str(row[0]), job)
        several = f" in attempt {attempt:g}" if len(attempts) > 1 else ""
        begin, ended = begin - start.timestamp(), (ended or begin) - start.timestamp()
        took = duration(timedelta(seconds=ended - begin))
        kind = "failed" if end is not None and name in lost else "plain"
        label = f"{name}{several}: {took}" + (", then lost" if kind == "failed" else "")
        stays.setdefault(name, []).append(Span(max(begin, 0.0), max(ended, 0.0), label, kind))
    return {name: tuple(spans) for name, spans in list(stays.items())[:LANES]}


def _shown(name: str, job: str) -> str:
    """Return the name of a worker without that of its job; a plain number is one of a script."""
    return f"worker-{name}" if name.isdecimal() else short_name(name, job)


def _rows(value: object) -> list[list[object]]:
    return (
        [row for row in value if isinstance(row, list) and row] if isinstance(value, list) else []
    )


def _number(row: list[object], index: int) -> float | None:
    value = row[index] if index < len(row) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return float(value) if abs(value) < 1e15 else None


def now_utc() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)
