"""Prometheus' text format, without users' object names in any series."""

from __future__ import annotations

import re
from pathlib import Path

from daskjob.controller.metrics import (
    Counter,
    Gauge,
    Histogram,
    Metrics,
    RequestCounters,
    Sample,
    process_metrics,
)
from daskjob.controller.telemetry import Telemetry
from daskjob.core.manifests import Key

LINE = re.compile(
    r'[a-z_]+(\{[a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*\})? '
    r"(-?[0-9.e+-]+|\+Inf|NaN)"
)


def test_counter_has_help_type_and_a_line_for_each_label_value() -> None:
    counter = Counter("attempts_total", "Attempts.", ("reason",))
    counter.inc("ExitCode")
    counter.inc("ExitCode")
    counter.inc("Evicted")
    assert list(counter.lines()) == [
        "# HELP attempts_total Attempts.",
        "# TYPE attempts_total counter",
        'attempts_total{reason="Evicted"} 1',
        'attempts_total{reason="ExitCode"} 2',
    ]


def test_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram("seconds", "Time.", (1.0, 2.5))
    for value in (0.5, 1.0, 2.0, 10.0):
        histogram.observe(value)
    assert list(histogram.lines())[2:] == [
        'seconds_bucket{le="1"} 2',
        'seconds_bucket{le="2.5"} 3',
        'seconds_bucket{le="+Inf"} 4',
        "seconds_sum 13.5",
        "seconds_count 4",
    ]


def test_gauge_is_computed_on_scrape() -> None:
    values = [1.0, 2.5]
    gauge = Gauge("depth", "Depth.", lambda: values.pop(0))
    assert list(gauge.lines())[-1] == "depth 1"
    assert list(gauge.lines())[-1] == "depth 2.5"


def test_label_values_are_quoted() -> None:
    gauge = Gauge("odd", "Odd.", lambda: [Sample(('a"b\\c\nd',), 1.0)], ("label",))
    assert list(gauge.lines())[-1] == r'odd{label="a\"b\\c\nd"} 1'


def test_requests_are_counted_by_verb_kind_and_code() -> None:
    counters = RequestCounters()
    counters.request("create", "Pod", 201, 0.01)
    counters.request("create", "Pod", 0, 15.0)
    counters.watch_restarted("Pod")
    assert counters.requests.value("create", "Pod", "201") == 1
    assert counters.requests.value("create", "Pod", "0") == 1
    assert counters.seconds.count("create") == 2
    assert counters.watches.value("Pod") == 1


def test_prometheus_can_parse_the_text() -> None:
    telemetry = Telemetry()
    telemetry.passed(Key("DaskJob", "secret-namespace", "secret-name"), True, 0.003)
    telemetry.requests.request("get", "Pod", 200, 0.001)
    text = telemetry.text()
    assert text.endswith("\n")
    names = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in names, f"{line}: appears twice"
            names.add(line.split()[2])
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
    assert "secret" not in text
    for name in (
        "daskjob_jobs",
        "daskjob_attempts_total",
        "daskjob_job_scheduler_ready_seconds",
        "daskjob_job_runner_started_seconds",
        "daskjob_job_finished_seconds",
        "daskjob_queue_depth",
        "daskjob_pass_duration_seconds",
        "daskjob_api_requests_total",
        "daskjob_watch_restarts_total",
    ):
        assert name in names


def test_process_metrics_match_prometheus_own_clients() -> None:
    metrics = Metrics()
    metrics.add(*process_metrics())
    lines = dict(
        line.rsplit(" ", 1) for line in metrics.text().splitlines() if not line.startswith("#")
    )
    assert float(lines["process_cpu_seconds_total"]) > 0
    if Path("/proc/self/statm").exists():
        assert 1e7 < float(lines["process_resident_memory_bytes"]) < 1e10
    assert float(lines["process_start_time_seconds"]) > 1e9
