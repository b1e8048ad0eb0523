"""Commands that change a job, and its events: they parse, call ``Jobs`` and print."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from daskjob.core.quantity import duration
from daskjob.submit.cli.output import Format, output_option, print_objects, print_table
from daskjob.submit.cli.parameters import Count, JobName
from daskjob.submit.cli.place import pass_jobs
from daskjob.submit.jobs import Job, JobEvent, Jobs

#: As the CRD has it.
MOST_WORKERS = 10_000


@click.command("events")
@click.argument("name", required=False, default="", type=JobName())
@output_option
@pass_jobs
def events_command(jobs: Jobs, name: str, output: str | None) -> None:
    """Show the events of a job, oldest first; without NAME, of the newest job."""
    job = jobs.find(name)
    events = jobs.events(job.ref)
    if output in (Format.JSON, Format.YAML):
        print_objects(
            [{"events": [_plain(event) for event in events]}], Format(output), as_list=False
        )
        return
    if not events:
        click.echo(f"{job.name} has no events.", err=True)
        return
    rows = [(_age(event), event.type, event.reason, event.message) for event in events]
    print_table(("AGE", "TYPE", "REASON", "MESSAGE"), rows)


def _plain(event: JobEvent) -> dict[str, str | None]:
    return {
        "time": event.time.isoformat() if event.time else None,
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
    }


def _age(event: JobEvent) -> str:
    return duration(datetime.now(UTC) - event.time) if event.time else ""


@click.command("suspend")
@click.argument("name", required=False, default="", type=JobName())
@pass_jobs
def suspend_command(jobs: Jobs, name: str) -> None:
    """Stop the pods of a job until it is resumed; without NAME, of the newest one that is running.

    Its next attempt is not counted as a retry.
    """
    job = jobs.find(name) if name else _newest(jobs, suspended=False)
    jobs.suspend(job.ref)
    click.echo(f"{job.name} is being suspended")


@click.command("resume")
@click.argument("name", required=False, default="", type=JobName())
@pass_jobs
def resume_command(jobs: Jobs, name: str) -> None:
    """Resume a suspended job; without NAME, the newest one that is suspended."""
    job = jobs.find(name) if name else _newest(jobs, suspended=True)
    jobs.resume(job.ref)
    click.echo(f"{job.name} is being resumed")


def _newest(jobs: Jobs, *, suspended: bool) -> Job:
    """Return the newest job that is suspended, or that is not; the newest of all if there is none.

    The verb then reports why it cannot change that one.
    """
    fitting = (
        job for job in jobs.list() if not job.status.finished and job.status.suspended is suspended
    )
    return next(fitting, None) or jobs.find()


@click.command("scale")
@click.argument("name", required=False, default="", type=JobName())
@click.option(
    "-w",
    "--workers",
    type=Count(0, MOST_WORKERS),
    metavar="N",
    required=True,
    help="Number of workers of the default group.",
)
@pass_jobs
def scale_command(jobs: Jobs, name: str, workers: int) -> None:
    """Set the number of workers of a job; without NAME, of the newest job."""
    job = jobs.find(name)
    jobs.scale(job.ref, workers)
    noun = "worker" if workers == 1 else "workers"
    click.echo(f"{job.name} is being scaled to {workers} {noun}")
