"""Charts of a report as inline SVG: drawn in any width, their texts are HTML beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from daskjob.core.quantity import duration
from daskjob.submit.html_report.markup import Markup, element

#: The units of a drawing; the browser stretches it.
WIDTH, HEIGHT = 1000.0, 100.0
#: The most points of a line: more cannot be seen.
POINTS = 500
#: Height of a row of workers, and what there is of it between two.
ROW, GAP = 10.0, 2.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of time on a row: of an attempt, or of a worker."""

    begin: float
    end: float
    label: str
    #: ``plain``, ``ok`` or ``failed``.
    kind: str = "plain"


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Seconds since the start, up to the end."""

    end: float

    def x(self, seconds: float) -> float:
        """Return the place of a moment."""
        return round(min(max(seconds / max(self.end, 1e-9), 0.0), 1.0) * WIDTH, 2)

    def labels(self) -> Markup:
        """Return the row of times below a chart."""
        moments = [self.end * part for part in (0.0, 0.5, 1.0)]
        return element("div", *(element("span", _time(at)) for at in moments), class_="axis")


def _time(seconds: float) -> str:
    return "0s" if not seconds else duration(timedelta(seconds=seconds))


def chart(
    axis: TimeAxis,
    lines: Sequence[Sequence[Point]],
    *,
    steps: bool = False,
    edges: Sequence[float] = (),
    losses: Sequence[Span] = (),
    label: str = "",
) -> Markup:
    """Return one or two lines over time, the first one filled below."""
    top = max((y for line in lines for _, y in line), default=0.0) or 1.0
    drawn = [_path(axis, thinned(line), top, steps=steps) for line in lines]
    pieces = []
    if drawn and drawn[0]:
        first, last = axis.x(lines[0][0][0]), axis.x(lines[0][-1][0])
        below = f"{drawn[0]} L{last} {HEIGHT} L{first} {HEIGHT} Z"
        pieces.append(element("path", d=below, class_="fill"))
    for path, kind in zip(drawn, ("stroke", "second"), strict=False):
        pieces += [element("path", d=path, class_=kind)] if path else []
    pieces += [_mark(axis.x(edge), "edge", "the next attempt") for edge in edges]
    pieces += [_mark(axis.x(loss.begin), "loss", loss.label) for loss in losses]
    return _svg(*pieces, height=HEIGHT, class_="chart", label=label)


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most about twice ``POINTS`` of the points, with the extremes of the others."""
    if len(points) <= 2 * POINTS:
        return list(points)
    size = -(-len(points) // POINTS)
    found: list[Point] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        found += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return found


def _path(axis: TimeAxis, points: Sequence[Point], top: float, *, steps: bool) -> str:
    pieces: list[str] = []
    for at, value in points:
        x, y = axis.x(at), round(HEIGHT - value / top * (HEIGHT - 4), 2)
        if not pieces:
            pieces.append(f"M{x} {y}")
        else:
            pieces.append(f"H{x} V{y}" if steps else f"L{x} {y}")
    return " ".join(pieces)


def _mark(x: float, kind: str, label: str) -> Markup:
    return element("line", element("title", label), x1=x, x2=x, y1=0, y2=HEIGHT, class_=kind)


def bar(axis: TimeAxis, spans: Sequence[Span], *, label: str = "") -> Markup:
    """Return one row of spans."""
    back = element("rect", x=0, y=0, width=WIDTH, height=ROW, class_="back")
    return _svg(back, *_rects(axis, spans, 0.0, ROW), height=ROW, class_="bar", label=label)


def rows(axis: TimeAxis, lanes: Sequence[Sequence[Span]], *, label: str = "") -> Markup:
    """Return many rows of spans in one drawing."""
    size = "few" if len(lanes) <= 12 else "some" if len(lanes) <= 60 else "many"
    rects = [
        rect
        for number, lane in enumerate(lanes)
        for rect in _rects(axis, lane, number * ROW + GAP / 2, ROW - GAP)
    ]
    height = max(len(lanes), 1) * ROW
    return _svg(*rects, height=height, class_=f"rows {size}", label=label)


def _rects(axis: TimeAxis, spans: Sequence[Span], y: float, height: float) -> list[Markup]:
    return [
        element(
            "rect",
            element("title", span.label),
            x=axis.x(span.begin),
            y=y,
            # What is shorter than can be drawn can still be seen.
            width=max(round(axis.x(span.end) - axis.x(span.begin), 2), 2.0),
            height=height,
            class_=span.kind,
        )
        for span in spans
    ]


def share(part: float) -> Markup:
    """Return a bar that is full to a part."""
    width = round(min(max(part, 0.0), 1.0) * WIDTH, 1)
    back = element("rect", x=0, y=0, width=WIDTH, height=ROW, class_="back")
    full = element("rect", x=0, y=0, width=width, height=ROW, class_="plain")
    return _svg(back, full, height=ROW, class_="bar", label=f"{part:.0%}")


def _svg(*children: object, height: float, class_: str, label: str) -> Markup:
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_=class_,
    )
