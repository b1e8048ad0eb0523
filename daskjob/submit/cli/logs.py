"""``daskjob logs``: which log, from where, and which of its lines."""

from __future__ import annotations

import re
import sys
from datetime import datetime

import click

from daskjob.core.status import JobStatus, JobStatusWord
from daskjob.submit.cli.parameters import JobName, Moment, Pattern
from daskjob.submit.cli.place import pass_jobs
from daskjob.submit.jobs import Job, Jobs
from daskjob.submit.worker_names import NoSuchLog


@click.command("logs")
@click.argument("name", required=False, default="", type=JobName())
@click.option("-f", "--follow", is_flag=True, help="Continue until the job ends.")
@click.option(
    "--attempt",
    type=click.IntRange(0),
    metavar="N",
    help="The logs of this attempt; by default those of the last.",
)
@click.option(
    "--component",
    type=click.Choice(["runner", "scheduler", "worker"]),
    help="Instead of the runner: the scheduler, or all workers, as --workers.",
)
@click.option("--workers", is_flag=True, help="All workers, merged by time, each line with a name.")
@click.option("--worker", metavar="NAME", help="One worker: a name that --workers shows.")
@click.option("--pod", metavar="NAME", help="Another pod, by its name.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option(
    "--since",
    type=Moment(),
    metavar="TIME",
    help="Only lines from then on: 10m ago, or 2026-01-31T08:00:00Z.",
)
@click.option(
    "--grep", type=Pattern(), metavar="REGEX", help="Of these lines, only those that match."
)
@pass_jobs
def logs_command(
    jobs: Jobs,
    name: str,
    follow: bool,
    attempt: int | None,
    component: str | None,
    workers: bool,
    worker: str | None,
    pod: str | None,
    tail: int | None,
    since: datetime | None,
    grep: re.Pattern[str] | None,
) -> int:
    """Print the log of a job's runner, scheduler or workers; without NAME, of the newest job.

    --follow continues with the logs of later attempts until the job ends.

    \b
      daskjob logs -f --tail 20 my-script-x2k9f
      daskjob logs --attempt 0 --grep 'Error|Warning' my-script-x2k9f
      daskjob logs --workers --since 10m my-script-x2k9f

    With --grep, the exit code is 1 if no line matches. On a cluster, a log is gone with its pod:
    those of scheduler and workers usually when the job ends. Of a long log, Kubernetes keeps the
    last 10 MiB.
    """  # noqa: D301 (click reads the backspace)
    part = _part(component, workers, worker, pod)
    job = jobs.find(name)
    if follow and (waits := _waits_for(job.status)):
        click.echo(f"daskjob: {job.name} waits: {waits}", err=True)
    try:
        chunks = jobs.logs(
            job.ref,
            attempt=attempt,
            pod=part,
            worker=worker or "",
            follow=follow,
            tail=tail,
            since=since,
        )
        if grep is not None:
            from daskjob.submit.log_lines import matching

            chunks = matching(chunks, grep)
        out, has_printed = sys.stdout.buffer, False
        for chunk in chunks:
            out.write(chunk.data)
            out.flush()
            has_printed = True
    except NoSuchLog as error:
        if not worker:
            raise
        raise click.BadParameter(str(error), param_hint="--worker") from error
    if not has_printed and grep is None and since is None and tail != 0 and not follow:
        _report_empty(job)
    return int(grep is not None and not has_printed)


def _waits_for(status: JobStatus) -> str:
    """Return what keeps the job from running, as its status has it; empty if nothing does."""
    runs = status.job_status is JobStatusWord.RUNNING
    return "" if runs or status.finished else status.message


def _report_empty(job: Job) -> None:
    """Report why there is nothing to print."""
    status = job.status
    if status.finished:
        text = "the log is empty"
    elif status.job_status is None:
        text = "no log yet: no operator has picked it up"
    elif waits := _waits_for(status):
        text = f"no log yet: {waits}"
    else:
        text = f"the log is empty so far; the job is {status.phase}"
    click.echo(f"daskjob: {job.name}: {text}", err=True)


def _part(component: str | None, workers: bool, worker: str | None, pod: str | None) -> str:
    """Return the component or the pod whose log is wanted; empty for a single worker."""
    given = {
        f"--component {component}": component,
        "--workers": "worker" if workers else None,
        "--worker NAME": "" if worker is not None else None,
        "--pod NAME": pod,
    }
    wanted = {option: part for option, part in given.items() if part is not None}
    if worker is not None and component == "worker":
        del wanted["--component worker"]
    if len(set(wanted.values())) > 1:
        raise click.UsageError(f"each of these chooses a log, write one: {', '.join(wanted)}")
    for option, value in (("--worker", worker), ("--pod", pod)):
        if value == "":
            raise click.BadParameter("write a name", param_hint=option)
    return next(iter(wanted.values()), "")
