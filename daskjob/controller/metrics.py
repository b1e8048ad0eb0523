"""Metrics in Prometheus' text format; few enough to do without a library.

Names, units and suffixes follow its conventions. No label holds the name of a user's object, so
that the number of series is bounded.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, with the values of its labels."""

    labels: Labels
    value: float


class Metric(Protocol):
    """Anything that is exported as lines of text."""

    def lines(self) -> Iterator[str]:
        """Return the lines of the metric, HELP and TYPE first."""
        ...


class Counter:
    """A value that only grows."""

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self.name = name
        self._text = text
        self._labels = labels
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def inc(self, *labels: str) -> None:
        """Add one to the series with these label values."""
        self._values[labels] = self._values.get(labels, 0.0) + 1.0

    def value(self, *labels: str) -> float:
        """Return the value of the series with these label values."""
        return self._values.get(labels, 0.0)

    def lines(self) -> Iterator[str]:
        """Return the lines of the metric."""
        yield from _head(self.name, self._text, "counter")
        for labels, value in sorted(self._values.items()):
            yield _line(self.name, self._labels, labels, value)


class Gauge:
    """Values that are computed at each scrape."""

    def __init__(
        self,
        name: str,
        text: str,
        ask: Callable[[], float | Iterable[Sample]],
        labels: Labels = (),
        kind: str = "gauge",
    ) -> None:
        self.name = name
        self._text = text
        self._ask = ask
        self._labels = labels
        self._kind = kind

    def lines(self) -> Iterator[str]:
        """Return the lines of the metric."""
        yield from _head(self.name, self._text, self._kind)
        answer = self._ask()
        samples = [Sample((), answer)] if isinstance(answer, int | float) else answer
        for sample in samples:
            yield _line(self.name, self._labels, sample.labels, sample.value)


class Histogram:
    """A distribution of durations."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], labels: Labels = ()) -> None:
        self.name = name
        self._text = text
        self._buckets = tuple(buckets)
        self._labels = labels
        self._series: dict[Labels, _Series] = {}
        if not labels:
            self._series[()] = _Series([0] * (len(self._buckets) + 1))

    def observe(self, value: float, *labels: str) -> None:
        """Count one duration."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series([0] * (len(self._buckets) + 1))
        series.counts[bisect_left(self._buckets, value)] += 1
        series.total += value

    def count(self, *labels: str) -> int:
        """Return the number of durations counted."""
        series = self._series.get(labels)
        return sum(series.counts) if series else 0

    def lines(self) -> Iterator[str]:
        """Return the lines of the metric."""
        yield from _head(self.name, self._text, "histogram")
        bounds = [*(_number(bound) for bound in self._buckets), "+Inf"]
        names = (*self._labels, "le")
        for labels, series in sorted(self._series.items(), key=lambda item: item[0]):
            so_far = 0
            for bound, count in zip(bounds, series.counts, strict=True):
                so_far += count
                yield _line(f"{self.name}_bucket", names, (*labels, bound), so_far)
            yield _line(f"{self.name}_sum", self._labels, labels, series.total)
            yield _line(f"{self.name}_count", self._labels, labels, so_far)


@dataclass(slots=True)
class _Series:
    """One series of a histogram: a count for each bucket, and the sum of all values."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Metrics:
    """All exported metrics, in the order in which they were added."""

    exported: list[Metric] = field(default_factory=list)

    def add(self, *metrics: Metric) -> None:
        """Export these too."""
        self.exported.extend(metrics)

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return "".join(f"{line}\n" for metric in self.exported for line in metric.lines())


class RequestCounters:
    """Counts the requests of the world to the API server."""

    def __init__(self) -> None:
        self.requests = Counter(
            "daskjob_api_requests_total",
            "Requests to the API server, by verb, kind and status code (0: no response).",
            ("verb", "kind", "code"),
        )
        self.seconds = Histogram(
            "daskjob_api_request_duration_seconds",
            "Time from a request to the API server to the start of its response, by verb.",
            (0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
            ("verb",),
        )
        self.watches = Counter(
            "daskjob_watch_restarts_total",
            "Watches that broke and were restarted, by kind.",
            ("kind",),
        )

    def request(self, verb: str, kind: str, code: int, seconds: float) -> None:
        """Count a request."""
        self.requests.inc(verb, kind, str(code))
        self.seconds.observe(seconds, verb)

    def watch_restarted(self, kind: str) -> None:
        """Count a watch that broke."""
        self.watches.inc(kind)


def process_metrics() -> list[Metric]:
    """Return the process metrics of Prometheus' client libraries, where this machine has them."""
    started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + _started_at()
    return [
        Gauge(
            "process_cpu_seconds_total",
            "CPU time of the process in seconds.",
            time.process_time,
            kind="counter",
        ),
        Gauge("process_resident_memory_bytes", "Resident memory of the process.", _resident_bytes),
        Gauge("process_start_time_seconds", "Unix time of the process' start.", lambda: started),
    ]


def _started_at() -> float:
    """Return when this process started, by the monotonic clock; if unknown, now."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.monotonic()


def _resident_bytes() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _head(name: str, text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, names: Labels, values: Labels, number: float) -> str:
    pairs = ",".join(
        f'{label}="{_escaped(value)}"' for label, value in zip(names, values, strict=True)
    )
    return f"{name}{{{pairs}}} {_number(number)}" if pairs else f"{name} {_number(number)}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
