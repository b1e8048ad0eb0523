"""``daskjob status --watch``: each change as a line, or one view that is drawn again."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue

import click

from daskjob.submit.cli.output import GAP, Format
from daskjob.submit.jobs import Job

#: How often the times in the view are drawn again.
TICK_SECONDS = 1.0
#: The narrowest columns: later rows may be longer than the first one.
_LEAST = {"STATUS": 9, "REASON": 18, "PROGRESS": 11, "WORKERS": 7, "AGE": 6}


def is_view_possible() -> bool:
    """Return whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def print_rows(
    states: Iterable[Job],
    header: Sequence[str],
    row: Callable[[Job], Sequence[str]],
    *,
    times: Iterable[str],
) -> None:
    """Print a line for each state that differs from the last one in more than its times."""
    last: list[str] | None = None
    widths: list[int] = []
    ignored = [header.index(name) for name in times]
    for job in states:
        cells = [str(cell) for cell in row(job)]
        facts = [cell for index, cell in enumerate(cells) if index not in ignored]
        if facts == last:
            continue
        if last is None:
            pairs = zip(header, cells, strict=True)
            widths = [max(len(name), len(cell), _LEAST.get(name, 0)) for name, cell in pairs]
            _print_row(header, widths)
        _print_row(cells, widths)
        last = facts


def _print_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    click.echo((" " * GAP).join(padded).rstrip())


def print_documents(states: Iterable[Job], output: Format) -> None:
    """Print each state for a program to read."""
    from daskjob.submit.cli.output import print_objects

    for number, job in enumerate(states):
        if output is Format.YAML and number:
            click.echo("---")
        print_objects([job.manifest], output, as_list=False)
        sys.stdout.flush()


class _End:
    """The end of the states."""


def show_view(states: Iterator[Job], lines: Callable[[Job], Sequence[str]]) -> Job | None:
    """Draw the job at each change, and each second; erase it at the end, and return the job."""
    from daskjob.submit.terminal.redrawn import Redrawn

    news: SimpleQueue[Job | Exception | _End] = SimpleQueue()
    threading.Thread(target=_read, args=(states, news), daemon=True).start()
    view, last = Redrawn(), None
    while True:
        try:
            found: Job | Exception | _End | None = news.get(timeout=TICK_SECONDS)
        except Empty:
            found = last
        if isinstance(found, Exception):
            raise found
        if isinstance(found, _End):
            view.clear()
            return last
        if found is not None:
            last = found
            view.draw(lines(found))


def _read(states: Iterator[Job], news: SimpleQueue[Job | Exception | _End]) -> None:
    try:
        for job in states:
            news.put(job)
    except Exception as error:
        news.put(error)
    else:
        news.put(_End())
