"""Deleting jobs: those that are named, or all of a place; and the records of submissions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import click

from daskjob.core.errors import Conflict, DaskJobError, NotFound
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.errors import report_failures
from daskjob.submit.cli.named_jobs import NamedJobs
from daskjob.submit.cli.parameters import JobName
from daskjob.submit.cli.place import is_mine, of_this_machine, pass_jobs, wanted_place
from daskjob.submit.jobs import Job, JobRef, Jobs, StillRunning

#: How many names a message lists.
LISTED = 10


@click.command("delete")
@click.argument("names_", metavar="[NAME]...", nargs=-1, type=JobName())
@click.option("--all", "everything", is_flag=True, help="Delete every job that has ended.")
@click.option("--force", is_flag=True, help="Also delete running jobs; they are cancelled first.")
@click.option(
    "--forget",
    is_flag=True,
    help="Delete only the record that a job was submitted from here; its cluster is not asked.",
)
@pass_jobs
def delete_command(
    jobs: Jobs, names_: tuple[str, ...], everything: bool, force: bool, forget: bool
) -> None:
    """Delete jobs with their logs and reports.

    The name of a script, and a name that several runs have, refer to the newest of them. Of several
    jobs, each one that can be is deleted, and each other one is an error. --all is about this
    machine, or with -n about a namespace. A job that was submitted from here and is gone loses its
    record.
    """
    if not names_ and not everything:
        raise click.UsageError("name the jobs to delete, or use --all")
    if forget:
        _forget(names_)
        return
    if everything:
        jobs = of_this_machine(jobs)
        _delete_all(jobs, force=force)
    else:
        _delete_named(jobs, names_, force=force)


def _delete_all(jobs: Jobs, *, force: bool) -> None:
    """Delete the jobs of a place; those that run stay, unless forced."""
    found = jobs.list()
    running: list[str] = []
    for job in found:
        try:
            _delete(jobs, job, force=force)
            click.echo(f"{job.name} deleted")
        except StillRunning:
            running.append(job.name)
    _report_kept(jobs, running, any_deleted=len(running) < len(found))


def _delete_named(jobs: Jobs, names_: Iterable[str], *, force: bool) -> None:
    """Delete jobs, as kubectl does: each one that can be; each other one is an error."""
    named = _to_delete(jobs, names_)
    for name, job in named:
        try:
            _delete(jobs, job, force=force)
            click.echo(f"{job.name} deleted{_which(of_this_machine(jobs), name, job)}")
        except StillRunning:
            text = f"{job.name} is still running; cancel it first, or use --force"
            named.failures.append(Conflict(text))
    report_failures(named.failures)


def _delete(jobs: Jobs, job: Job, *, force: bool) -> None:
    # A job that another command deletes is not an error.
    with contextlib.suppress(NotFound):
        jobs.delete(job.ref, force=force)
    _forget_deleted(job.ref)


def _report_kept(jobs: Jobs, running: list[str], *, any_deleted: bool) -> None:
    """Report the jobs that ``--all`` leaves, or that there are none."""
    if running:
        listed = ", ".join(running[:LISTED]) + (", …" if len(running) > LISTED else "")
        still = (
            "is still running, and stays" if len(running) == 1 else "are still running, and stay"
        )
        click.echo(f"{listed} {still}; --force cancels running jobs first", err=True)
    elif not any_deleted:
        click.echo(jobs.place.empty, err=True)


def _forget(names_: Iterable[str]) -> None:
    """Delete the records of jobs."""
    from daskjob.submit.records.originals import recorded_at
    from daskjob.submit.records.store import Records

    records = Records()
    place = wanted_place(click.get_current_context()) or ClusterPlace()
    for name in names_:
        found = recorded_at(records, name, place.context, place.namespace)
        if not found:
            raise NotFound(f"there is no record that a job {name!r} was submitted from here")
        for record in found:
            records.remove(record)
            click.echo(f"{name} is forgotten here; it was submitted to {record.where}")


def _forget_deleted(ref: JobRef) -> None:
    """Delete the record that a deleted job was submitted from here."""
    from daskjob.submit.records.store import Records

    records = Records()
    for record in records.of(ref.name):
        if record.uid == ref.uid:
            records.remove(record)


def _to_delete(jobs: Jobs, names_: Iterable[str]) -> NamedJobs:
    """Return the jobs that are there; of those that are gone already, the records are deleted."""
    from daskjob.submit.records.my_jobs import Gone

    named = NamedJobs()
    named.find(jobs, names_)
    left: list[DaskJobError] = []
    for failure in named.failures:
        if isinstance(failure, Gone) and is_mine(jobs):
            jobs.records.remove(failure.record)
            click.echo(f"{failure.record.name} deleted: it was gone from {failure.record.where}")
        else:
            left.append(failure)
    named.failures = left
    return named


def _which(jobs: Jobs, name: str, job: Job) -> str:
    """Return what a name stood for, where that was one of several jobs."""
    if not name:
        return ""
    if job.name != name:
        return f": the newest run of {name}"
    others = sum(other.name == name for other in jobs.list())
    return f": the newest run of this name; older ones: {others}" if others else ""
