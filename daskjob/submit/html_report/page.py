"""The page: what happened first, then when, then the details."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from daskjob.core.dask import losses_of
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest, integer, mapping
from daskjob.core.quantity import duration, format_bytes, format_peak
from daskjob.core.status import JobStatus
from daskjob.submit.html_report import settings
from daskjob.submit.html_report.charts import Span, TimeAxis, bar, chart, rows, share
from daskjob.submit.html_report.markup import Markup, element, joined, markup
from daskjob.submit.html_report.style import STYLE
from daskjob.submit.html_report.timeline import Timeline, timeline
from daskjob.submit.jobs import Job, JobEvent
from daskjob.submit.worker_names import short_name

#: What names a file as one that a later report may replace.
GENERATOR = "daskjob report"
#: The rows of a table that are shown at once; the others unfold.
SHOWN_ROWS = 12
#: The most workers that are drawn each with its name.
NAMED_LANES = 24
#: The most rows of a table: a browser shows no more in reasonable time.
MOST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What a report is made of."""

    job: Job
    report: Manifest
    events: tuple[JobEvent, ...]
    explanation: Explanation
    version: str
    now: datetime
    #: With their digests, by component.
    images: Mapping[str, str] = field(default_factory=dict)


def html_report(facts: ReportFacts) -> str:
    """Return the report as an HTML document."""
    job, status = facts.job, facts.job.status
    when = timeline(job.manifest, status, facts.report, facts.now)
    axis = TimeAxis(when.seconds)
    name = f"{job.name}: {status.phase or 'Pending'}"
    body = element(
        "main",
        _verdict(facts, status),
        _attempts(status, when, axis),
        _workers(when, axis, lost=_lost(facts.report)),
        _over_time(when, axis),
        _tasks(facts.report),
        _memory(facts),
        _events(facts.events),
        _settings(facts),
        element("footer", element("p", _made(facts))),
    )
    return f"<!DOCTYPE html>\n{element('html', _head(name), element('body', body), lang='en')}\n"


def _head(title: str) -> Markup:
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=GENERATOR),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", markup(STYLE)),
    )


# What happened


def _verdict(facts: ReportFacts, status: JobStatus) -> Markup:
    why = facts.explanation
    state = status.phase or "Pending"
    took = _took(status, facts.now)
    is_new = status.reason not in ("", state) and not status.succeeded
    reason = f" ({status.reason})" if is_new else ""
    after = f" {'in' if status.finished else 'for'} {took}" if took else ""
    message = status.message or why.headline
    evidence = "\n".join(why.evidence)
    return element(
        "header",
        element("h1", facts.job.name),
        element("p", element("span", state, class_="state"), f"{after}{reason}"),
        element("p", message, class_="message") if message else None,
        element("pre", evidence) if evidence and not status.succeeded else None,
        element("p", element("strong", "Next: "), why.next_step, class_="next")
        if why.next_step and not status.succeeded
        else None,
        _numbers(facts, status),
        _result(status),
        class_="good" if status.succeeded else "bad" if status.finished else None,
    )


def _took(status: JobStatus, now: datetime) -> str:
    if status.start_time is None:
        return ""
    return duration((status.end_time or now) - status.start_time)


def _numbers(facts: ReportFacts, status: JobStatus) -> Markup:
    tasks, workers = mapping(facts.report.get("tasks")), mapping(facts.report.get("workers"))
    progress = status.progress
    done = f"{tasks.get('done', 0)} of {tasks.get('total', 0)}" if tasks else ""
    if not done and progress:
        done = f"{progress.done} of {progress.total}"
    erred = integer(tasks.get("erred")) or (progress.erred if progress else 0)
    seconds = facts.report.get("computeSeconds")
    found = {
        "Started": _moment(status.start_time),
        "Ended": _moment(status.end_time),
        "Exit code": "" if status.exit_code is None else str(status.exit_code),
        "Attempts": str(status.attempts_begun) if status.attempts_begun else "",
        "Tasks done": done,
        "Tasks failed": str(erred) if erred else "",
        "Computing": duration(timedelta(seconds=seconds))
        if isinstance(seconds, int | float) and 0 <= seconds < 1e12
        else "",
        "Workers at peak": str(workers["peak"]) if workers.get("peak") else facts.job.workers,
        "Workers lost": str(_lost(facts.report) or ""),
        "Peak of a worker": _highest_peak(facts),
    }
    return element(
        "dl",
        *(element("div", element("dt", k), element("dd", v)) for k, v in found.items() if v),
        class_="numbers",
    )


def _highest_peak(facts: ReportFacts) -> str:
    peaks = [size for _, size in _peaks(facts)]
    least = _least(facts)
    return format_peak(max(peaks, default=0), least) if peaks or least else ""


def _least(facts: ReportFacts) -> int:
    """Return what a worker had at least when it exceeded its limit; 0: none did."""
    return integer(mapping(mapping(facts.job.status.report).get("peakMemory")).get("atLeast")) or 0


def _result(status: JobStatus) -> Markup | None:
    if status.result is None:
        return None
    written = json.dumps(status.result, indent=2, ensure_ascii=False)
    title = element("p", "Result", class_="muted")
    return element("div", title, element("pre", written), class_="result")


# When


def _attempts(status: JobStatus, when: Timeline, axis: TimeAxis) -> Markup | None:
    if not when.attempts:
        return None
    lanes = [
        element(
            "div",
            element("span", span.label.split(":")[0]),
            bar(axis, [span], label=span.label),
            class_="lane",
        )
        for span in when.attempts
    ]
    table = _table(
        ("Attempt", "Reason", "Exit code", "Took", "Message"),
        [
            (
                element("td", f"attempt {attempt.number}", class_="time"),
                element(
                    "td",
                    attempt.reason,
                    class_="word good" if attempt.reason == "Completed" else "word bad",
                ),
                "" if attempt.exit_code is None else attempt.exit_code,
                duration(attempt.end_time - attempt.start_time) if attempt.start_time else "",
                attempt.message,
            )
            for attempt in status.attempts
        ],
        numbers=(2, 3),
        stacks=True,
    )
    return _section("Attempts", element("div", *lanes, axis.labels(), class_="lanes"), table)


def _lost(report: Manifest) -> int:
    """Return the number of workers that were lost; a report has the last ones by name."""
    return integer(mapping(report.get("workers")).get("lost")) or 0


def _workers(when: Timeline, axis: TimeAxis, *, lost: int) -> Markup | None:
    known = len(when.losses)
    count_of_lost = f", {max(lost, known)} lost" if lost or known else ""
    which = f"the last {known} of {lost}" if 0 < known < lost else ""
    pieces: list[Markup | None] = []
    count = when.series.workers
    if count:
        most = max(y for _, y in count)
        drawn = chart(
            axis,
            [count],
            steps=True,
            edges=when.edges,
            losses=when.losses,
            label=f"Number of workers over time, {most:g} at most",
        )
        shown = f" ({which} are marked)" if which else ""
        beside = f"{most:g} at most{count_of_lost}{shown}"
        pieces.append(_figure("Number of workers", beside, drawn, axis))
    if when.workers:
        pieces.append(_lanes(when, axis))
    for_losses = [(span.label,) for span in when.losses]
    if for_losses:
        title = f"Lost workers: {which}" if which else "Lost workers"
        pieces.append(_table((title,), for_losses))
    return _section("Workers", *pieces) if any(pieces) else None


def _lanes(when: Timeline, axis: TimeAxis) -> Markup:
    if len(when.workers) <= NAMED_LANES:
        lanes = [
            element(
                "div", element("span", name), bar(axis, spans, label=_labels(spans)), class_="lane"
            )
            for name, spans in when.workers.items()
        ]
        return element("div", *lanes, axis.labels(), class_="lanes")
    drawn = rows(axis, list(when.workers.values()), label=f"{len(when.workers)} workers over time")
    listed = [(name, _labels(spans)) for name, spans in when.workers.items()]
    return joined(
        [
            _figure(f"{len(when.workers)} workers", "one row each, by their start", drawn, axis),
            element(
                "details",
                element("summary", "All workers"),
                _plain_table(("Worker", "Was there"), listed),
            ),
        ]
    )


def _labels(spans: Iterable[Span]) -> str:
    return "; ".join(span.label for span in spans)


def _over_time(when: Timeline, axis: TimeAxis) -> Markup | None:
    series, pieces = when.series, []
    if any(y for _, y in series.memory):
        most = format_bytes(int(max(y for _, y in series.memory)))
        drawn = chart(
            axis, [series.memory], edges=when.edges, label=f"Memory over time, {most} at most"
        )
        pieces.append(_figure("Memory of all workers", f"{most} at most", drawn, axis))
    if any(y for _, y in series.total):
        most = f"{max(y for _, y in series.total):g}"
        label = f"Tasks over time, {most} at most"
        drawn = chart(axis, [series.done, series.total], edges=when.edges, label=label)
        key = joined(
            [
                element("span", class_="key blue"),
                "done ",
                element("span", class_="key green"),
                f"known, {most} at most",
            ]
        )
        pieces.append(_figure("Tasks", key, drawn, axis))
    return _section("Memory and tasks", *pieces) if pieces else None


def _figure(title: str, beside: object, drawn: Markup, axis: TimeAxis) -> Markup:
    caption = element("figcaption", element("span", title), element("small", beside))
    return element("figure", caption, drawn, axis.labels())


# The details


def _tasks(report: Manifest) -> Markup | None:
    found = [row for row in _rows(report, "prefixes") if len(row) >= 4]
    if not found:
        return None
    failed = any(row[3] for row in found)
    whole = max(sum(_float(row[2]) for row in found), 1e-9)
    table = _table(
        ("Task", "Count", "Time", "Mean", "Failed" if failed else "", ""),
        [
            (
                row[0],
                row[1],
                _seconds(_float(row[2])),
                _seconds(_float(row[2]) / max(_float(row[1]), 1)),
                row[3] if row[3] else "",
                element("td", share(_float(row[2]) / whole), class_="share wide"),
            )
            for row in found[:MOST_ROWS]
        ],
        numbers=(1, 2, 3, 4),
        wide=(3, 5),
    )
    return _section("Groups of tasks", table)


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        return duration(timedelta(seconds=min(seconds, 1e12)))
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def _memory(facts: ReportFacts) -> Markup | None:
    found = mapping(facts.report.get("workers")).get("losses")
    lost = {_worker(loss.worker, facts.job.name) for loss in losses_of(found)}
    # A lost worker may have exceeded its limit after the last sample.
    least = {name: _least(facts) if name in lost else 0 for name, _ in _peaks(facts)}
    peaks = sorted(_peaks(facts), key=lambda item: -max(item[1], least[item[0]]))[:MOST_ROWS]
    if not peaks:
        return None
    top = max(peaks[0][1], least[peaks[0][0]], 1)
    table = _table(
        ("Worker", "Peak memory", ""),
        [
            (
                name,
                format_peak(size, least[name]),
                element("td", share(max(size, least[name]) / top), class_="share"),
            )
            for name, size in peaks
        ],
        numbers=(1,),
    )
    return _section("Memory of each worker", table)


def _peaks(facts: ReportFacts) -> list[tuple[str, int]]:
    found = _rows(facts.report, "peakMemory")
    return [
        (_worker(str(row[0]), facts.job.name), row[1])
        for row in found
        if len(row) >= 2 and isinstance(row[1], int) and row[1] >= 0
    ]


def _worker(name: str, job: str) -> str:
    return f"worker-{name}" if name.isdecimal() else short_name(name, job)


def _events(events: Sequence[JobEvent]) -> Markup | None:
    if not events:
        return None
    listed = [
        (
            element("td", _moment(event.time), class_="time"),
            element("td", event.reason, class_="word bad" if event.type == "Warning" else "word"),
            event.message,
        )
        for event in events[-MOST_ROWS:]
    ]
    return _section("Events", _table(("Time", "Reason", "Message"), listed, stacks=True))


def _settings(facts: ReportFacts) -> Markup:
    versions = mapping(facts.report.get("versions"))
    found = [*settings.facts(facts.job.manifest)]
    found.append(("Versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    found += [(f"Digest: {role}", image) for role, image in facts.images.items()]
    found += facts.job.details
    listed = [
        piece
        for title, shown in found
        if shown
        for piece in (element("dt", title), element("dd", shown))
    ]
    spec = element(
        "details",
        element("summary", "The whole spec, without the values of variables"),
        element("pre", settings.spec_text(facts.job.manifest)),
    )
    return _section("Settings", element("dl", *listed, class_="facts"), spec)


def _made(facts: ReportFacts) -> str:
    ref = facts.job.ref
    where = f"{ref.namespace}/{ref.name}, uid {ref.uid}"
    state = "" if facts.job.status.finished else "; the job had not ended"
    return f"{where}. Written by daskjob {facts.version} at {_moment(facts.now)}{state}."


# Pieces


def _section(title: str, *children: Markup | None) -> Markup:
    return element("section", element("h2", title), *children)


def _table(
    header: Sequence[str],
    listed: Sequence[Sequence[object]],
    *,
    numbers: Sequence[int] = (),
    wide: Sequence[int] = (),
    stacks: bool = False,
) -> Markup | None:
    """Return a table whose further rows unfold; ``stacks``: without columns on a narrow screen."""
    if not listed:
        return None
    table = _plain_table(header, listed[:SHOWN_ROWS], numbers=numbers, wide=wide, stacks=stacks)
    rest = listed[SHOWN_ROWS:]
    if not rest:
        return table
    more = _plain_table(header, rest, numbers=numbers, wide=wide, stacks=stacks)
    return joined([table, element("details", element("summary", f"{len(rest)} more"), more)])


def _plain_table(
    header: Sequence[str],
    listed: Sequence[Sequence[object]],
    *,
    numbers: Sequence[int] = (),
    wide: Sequence[int] = (),
    stacks: bool = False,
) -> Markup:
    def kind(index: int) -> str | None:
        found = ["number"] * (index in numbers) + ["wide"] * (index in wide)
        return " ".join(found) or None

    head = element("tr", *(element("th", each, class_=kind(i)) for i, each in enumerate(header)))
    body = [
        element("tr", *(_cell(each, kind(index)) for index, each in enumerate(row)))
        for row in listed
    ]
    return element(
        "div",
        element("table", element("thead", head), element("tbody", *body)),
        class_="scroll stack" if stacks else "scroll",
    )


def _cell(value: object, kind: str | None) -> Markup:
    if isinstance(value, Markup) and value.startswith("<td"):
        return value
    return element("td", value, class_=kind)


def _rows(report: Manifest, key: str) -> list[list[object]]:
    found = mapping(report.get(key)).get("rows")
    return [row for row in found if isinstance(row, list)] if isinstance(found, list) else []


def _float(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e15 else 0.0  # type: ignore[arg-type]


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""
