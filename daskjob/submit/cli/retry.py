"""``daskjob retry``: a job that has ended runs again, also one that is gone, from its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daskjob.core.errors import Conflict
from daskjob.core.spec.job import LONGEST_TOKEN
from daskjob.submit.again import as_sent
from daskjob.submit.cli.originals import earlier_of, original_of, place_of
from daskjob.submit.cli.parameters import JobName
from daskjob.submit.cli.place import cluster_jobs, is_mine, pass_jobs, wanted_place
from daskjob.submit.cli.remember import remember
from daskjob.submit.jobs import Jobs
from daskjob.submit.records.completeness import check_complete, check_has_code
from daskjob.submit.records.originals import Original

if TYPE_CHECKING:
    from daskjob.submit.jobs import JobRef
    from daskjob.submit.local_again import EarlierRun


@click.command("retry")
@click.argument("name", required=False, default="", type=JobName())
@click.option(
    "--token",
    metavar="TOKEN",
    help="Token of the new job: with the same one again, there is only one new job.",
)
@pass_jobs
def retry_command(jobs: Jobs, name: str, token: str | None) -> None:
    """Run a job that has ended again, as a new job with the same spec; print the new name.

    A job that was started here can be gone by now: its record has the spec. With changes, it is
    `daskjob submit --like NAME`, on this machine `daskjob run --like NAME`. While the new job has
    not ended, another retry finds it; with a token of its own, it is another new job.

    A job of this machine runs in the background, in its own folder, with its variables and its
    script as it is now. Records have no secret values: they have to be given again.
    """
    context = click.get_current_context()
    wanted = wanted_place(context)
    if token is not None and not 0 < len(token) <= LONGEST_TOKEN:
        raise click.UsageError(f"--token: write 1 to {LONGEST_TOKEN} characters")
    if wanted is None and not _has_records(jobs):
        job = jobs.find(name)
        click.echo(f"{job.name} runs again as {jobs.retry(job.ref).name}")
        return
    if wanted is None:
        earlier = earlier_of(context, name)
        if not isinstance(earlier, Original):
            _retry_here(earlier, token)
            return
        original = earlier
    else:
        original = original_of(context, name, wanted)
    _check_ended(original)
    if original.from_record:
        check_complete(original.manifest, old=original.ref.name, env_file=original.env_file)
        check_has_code(original.manifest)
    place = place_of(original, wanted)
    client = cluster_jobs(context, place)
    ref = client.run_again(original.manifest, token=token)
    remember(as_sent(client.get(ref).manifest), ref, place)
    source = f", from its record: it is gone from {original.where}" if original.from_record else ""
    _print_new(original.ref.name, ref, source, token)


def _has_records(jobs: Jobs) -> bool:
    """Return whether jobs that are gone can run again: those that were started here."""
    from daskjob.submit.local import LocalJobs

    return is_mine(jobs) or isinstance(jobs, LocalJobs)


def _retry_here(earlier: EarlierRun, token: str | None) -> None:
    from daskjob.submit.local import LocalJobs

    new, notes = LocalJobs().run_again(earlier, token=token)
    for note in notes:
        click.echo(f"daskjob: {note}", err=True)
    source = ", from its record: it is gone from this machine" if earlier.from_record else ""
    _print_new(earlier.name, new, source, token)
    if not new.existed:
        click.echo(f"daskjob: for its output: daskjob attach {new.name}", err=True)


def _print_new(name: str, new: JobRef, source: str, token: str | None) -> None:
    already = " already" if new.existed else ""
    click.echo(f"{name} runs again{already} as {new.name}{source}")
    if new.existed and token is None:
        hint = f"daskjob retry {name} --token TOKEN"
        click.echo(f"daskjob: for another new job beside it: {hint}", err=True)


def _check_ended(original: Original) -> None:
    from daskjob.core.status import job_status_from

    status = job_status_from(original.manifest.get("status"))
    if not original.from_record and not status.finished:
        raise Conflict(f"{original.ref.name} has not ended; cancel it first")
