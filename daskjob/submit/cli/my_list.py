"""The table of the jobs that were started here, wherever they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daskjob.core.manifests import Manifest, metadata
from daskjob.submit.cli.job_rows import HEADER, LEAST, LIMIT, row_of
from daskjob.submit.cli.output import Format, print_fitting_table, print_objects, print_table

if TYPE_CHECKING:
    from daskjob.submit.records.my_jobs import Entry, MyJobs

_STATUS = HEADER.index("STATUS")
_AGE = HEADER.index("AGE")
_REASON = HEADER.index("REASON")


def print_my_jobs(jobs: MyJobs, limit: int | None, output: str | None) -> None:
    """Print the jobs, newest first, and a line for each cluster that does not respond."""
    listing = jobs.entries()
    for trouble in listing.troubles:
        click.echo(f"daskjob: {trouble}; the state of its jobs is unknown", err=True)
    entries = listing.entries
    if output not in (None, Format.TABLE, Format.WIDE):
        known = [_object(entry) for entry in entries if not (entry.gone or entry.unknown)]
        print_objects(known[: limit or None], Format(output), as_list=True)
        return
    shown = entries[: (LIMIT if limit is None else limit) or None]
    header = (*HEADER, "WHERE")
    rows = [_row(entry) for entry in shown]
    if output == Format.WIDE:
        print_table(header, rows)
    else:
        print_fitting_table(header, rows, least=LEAST)
    if len(shown) < len(entries):
        click.echo(f"{len(shown)} of {len(entries)} jobs; all of them: --limit 0", err=True)


def _object(entry: Entry) -> Manifest:
    """Return the object of a job, with its place."""
    namespace = str(metadata(entry.job.manifest).get("namespace") or "")
    place = "this machine" if entry.cluster is None else "cluster"
    where = {"place": place, "context": entry.cluster or "", "namespace": namespace}
    return {**entry.job.manifest, "where": where}


def _row(entry: Entry) -> tuple[str, ...]:
    row = list(row_of(entry.job))
    if entry.unknown:
        row[_STATUS] = "Unknown"
    return (*row, entry.where)
