"""Commands about jobs at any place: they parse, call ``Jobs`` and print."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

import click

from daskjob.core.dask import losses_of
from daskjob.core.errors import NotFound, Timeout
from daskjob.core.exit_codes import ExitCode, exit_code
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest, integer, mapping, object_ref
from daskjob.core.quantity import format_peak
from daskjob.core.status import JobStatus
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.errors import report_failures
from daskjob.submit.cli.html_file import DEFAULT, name_and_file, write_html
from daskjob.submit.cli.job_rows import HEADER, LEAST, LIMIT, progress_of, row_of, took
from daskjob.submit.cli.named_jobs import NamedJobs
from daskjob.submit.cli.output import (
    Format,
    listing_option,
    output_option,
    print_fitting_table,
    print_objects,
    print_table,
)
from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES, JobName
from daskjob.submit.cli.place import (
    cluster_jobs,
    is_mine,
    options_of,
    pass_jobs,
    wanted_place,
)
from daskjob.submit.cli.time_limit import seconds_left
from daskjob.submit.cli.timeout_option import timeout_option
from daskjob.submit.jobs import Job, JobRef, Jobs


@click.command("list")
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help=f"Only the newest N jobs; 0: all.  [default: {LIMIT}; with -o json, yaml or name: all]",
)
@click.option(
    "-A", "--all-namespaces", is_flag=True, help="The jobs of all namespaces of a cluster."
)
@listing_option
@pass_jobs
def list_command(jobs: Jobs, limit: int | None, all_namespaces: bool, output: str | None) -> None:
    """List the jobs that were started here, or all of a cluster (-n, -A, --context), newest first.

    WHERE is this machine, or the context and the namespace to which a job was submitted from here.
    Such a job is listed for 30 days, also when it is not on its cluster any more.

    Tables fit the screen: long names are shortened in the middle, and columns are left out. All
    commands accept a shortened name. -o wide prints everything; -o name prints the full names.

    \b
    At the end of each run on this machine, older ones are removed with their logs; running ones
    never are. Kept are
      the newest 200 runs          $DASKJOB_KEEP_RUNS=200
      for 30 days                  $DASKJOB_KEEP_DAYS=30
      up to 1 GiB together         $DASKJOB_KEEP_SIZE=1GiB
      up to 64 MiB of each log     $DASKJOB_LOG_SIZE=64MiB
    """  # noqa: D301 (click reads the backspace)
    if not all_namespaces and is_mine(jobs):
        from daskjob.submit.cli.my_list import print_my_jobs

        print_my_jobs(jobs, limit, output)
        return
    found, empty = _listed(jobs, all_namespaces)
    if output not in (None, Format.TABLE, Format.WIDE):
        shown = found[: limit or None]
        print_objects([job.manifest for job in shown], Format(output), as_list=True)
        return
    if not found:
        click.echo(empty or jobs.place.empty, err=True)
        return
    shown = found[: (LIMIT if limit is None else limit) or None]
    header: tuple[str, ...] = HEADER
    rows = [row_of(job) for job in shown]
    if all_namespaces:
        header = (header[0], "NAMESPACE", *header[1:])
        rows = [(row[0], job.ref.namespace, *row[1:]) for job, row in zip(shown, rows, strict=True)]
    if output == Format.WIDE:
        print_table(header, rows)
    else:
        print_fitting_table(header, rows, least=LEAST)
    if len(shown) < len(found):
        click.echo(f"{len(shown)} of {len(found)} jobs; all of them: --limit 0", err=True)


def _listed(jobs: Jobs, all_namespaces: bool) -> tuple[tuple[Job, ...], str]:
    """Return the jobs of a place, or of all namespaces of its cluster, and a message for none."""
    if not all_namespaces:
        return jobs.list(), ""
    context = click.get_current_context()
    place = wanted_place(context) or ClusterPlace()
    if place.namespace:
        raise click.UsageError("-A lists all namespaces, -n one: leave one of them out")
    found = cluster_jobs(context, place).list(all_namespaces=True)
    return found, "No jobs in any namespace."


@click.command("status")
@click.argument("name", required=False, default="", type=JobName())
@click.option("-w", "--watch", is_flag=True, help="Show each change until the job ends.")
@output_option
@pass_jobs
def status_command(jobs: Jobs, name: str, watch: bool, output: str | None) -> None:
    """Show the status, attempts and events of a job; without NAME, of the newest job.

    With --watch, a terminal has one view that is drawn again; elsewhere each change is a line. The
    exit code is 0 however the job ends; `daskjob wait` returns that of the job.
    """
    job = jobs.find(name)
    if watch:
        found = _watched(jobs, job.ref, output)
        if found is None:
            return
        job = found
    if output not in (None, Format.TABLE):
        print_objects([job.manifest], Format(output), as_list=False)
        return
    for line in _fact_lines(jobs, job):
        click.echo(line)
    _print_attempts(job.status)
    _print_events(jobs, job)


def _watched(jobs: Jobs, ref: JobRef, output: str | None) -> Job | None:
    """Show a job up to its end; return it if it is to be printed then."""
    from daskjob.submit.cli import watching
    from daskjob.submit.patient_watch import states

    found = states(jobs, ref)
    if output not in (None, Format.TABLE):
        watching.print_documents(found, Format(output))
    elif watching.is_view_possible():
        return watching.show_view(found, partial(_fact_lines, jobs))
    else:
        watching.print_rows(found, HEADER, row_of, times=("AGE", "TOOK"))
    return None


def _fact_lines(jobs: Jobs, job: Job) -> list[str]:
    status = job.status
    facts = {
        "Name": job.name,
        "Status": status.phase or "Pending",
        "Reason": status.reason,
        "Message": status.message,
        "Exit code": "" if status.exit_code is None else str(status.exit_code),
        "Progress": f"{progress_of(status)} tasks" if progress_of(status) else "",
        "Workers": _workers(job),
        "Dashboard": _dashboard(jobs, job),
        "Started": _local(status.start_time),
        "Ended": _local(status.end_time),
        "Took": took(status),
        "Result": "" if status.result is None else json.dumps(status.result),
        **dict(job.details),
    }
    return [f"{title + ':':<12}{text}" for title, text in facts.items() if text]


def _dashboard(jobs: Jobs, job: Job) -> str:
    """Return its address; that of a cluster is unusable from here, so the command that opens it."""
    url = job.status.dashboard_url
    if not url or job.status.finished:
        return ""
    options = options_of(click.get_current_context(), jobs, job.ref)
    return f"daskjob dashboard {options} {job.name}" if options else url


def _workers(job: Job) -> str:
    if not job.workers:
        return ""
    return f"{job.workers} at peak" if job.status.finished else f"{job.workers} ready"


def _print_attempts(status: JobStatus) -> None:
    if len(status.attempts) < 2:
        return
    click.echo("Attempts:")
    for attempt in status.attempts:
        code = "" if attempt.exit_code is None else f" (exit code {attempt.exit_code})"
        click.echo(f"  {attempt.number}: {attempt.reason}{code}: {attempt.message}")


def _print_events(jobs: Jobs, job: Job) -> None:
    events = jobs.events(job.ref)
    if events:
        click.echo("Events:")
    for event in events:
        click.echo(f"  {_local(event.time)}  {event.reason}: {event.message}")


def _local(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""


@click.command("why")
@click.argument("name", metavar="[NAME|FILE]", required=False, default="", type=JobName())
@click.option(
    "-f",
    "--filename",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A DaskJob with its status, instead of a job; - is the standard input.",
)
@output_option
@pass_jobs
def why_command(jobs: Jobs, name: str, filename: Path | None, output: str | None) -> None:
    """Explain why a job failed or is waiting, and what to do next.

    NAME is a job of the chosen place, by default its newest; FILE is a DaskJob with its status, or
    several, for example: kubectl get daskjob NAME -o yaml | daskjob why -f -
    """
    answers = _explanations(jobs, name, filename)
    if output in (Format.JSON, Format.YAML):
        found = [_as_object(title, answer) for title, answer in answers.items()]
        print_objects(found, Format(output), as_list=len(found) > 1)
        return
    for number, (title, answer) in enumerate(answers.items()):
        if number:
            click.echo()
        if title:
            click.echo(f"{title}:")
        _print_explanation(answer)


def _as_object(title: str, answer: Explanation) -> Manifest:
    return {
        **({"job": title} if title else {}),
        "headline": answer.headline,
        "evidence": list(answer.evidence),
        "nextStep": answer.next_step,
        **({"command": answer.command} if answer.command else {}),
    }


def _print_explanation(answer: Explanation) -> None:
    click.echo(answer.headline)
    for line in answer.evidence:
        click.echo(f"  {line}")
    if answer.next_step:
        click.echo(f"Next: {answer.next_step}")
    if answer.command:
        click.echo(f"  {answer.command}")


def _explanations(jobs: Jobs, name: str, file: Path | None) -> dict[str, Explanation]:
    """Return an explanation for each job, by its name; that of a single job has none."""
    from daskjob.submit.cli.documents import saved_jobs
    from daskjob.submit.saved_job import explain_saved

    if file is not None and name:
        raise click.UsageError("name a job, or a file with -f, not both")
    path = file or Path(name)
    if file is None and not (path.suffix in MANIFEST_SUFFIXES and path.is_file()):
        return {"": jobs.why(jobs.find(name).ref)}
    place = wanted_place(click.get_current_context())
    context = place.context if place else ""
    saved = saved_jobs(path)
    if len(saved) == 1:
        return {"": explain_saved(saved[0], context=context)}
    found: dict[str, Explanation] = {}
    for number, job in enumerate(saved, start=1):
        ref = object_ref(job)
        title = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name or f"job {number}"
        found[title if title not in found else f"{title} ({number})"] = explain_saved(
            job, context=context
        )
    return found


@click.command("report")
@click.argument("name", required=False, default="", type=JobName())
@click.option(
    "--html",
    is_flag=False,
    flag_value=DEFAULT,
    metavar="[FILE]",
    help="Write all that is known of the job to an HTML file; by default NAME.html, - for stdout.",
)
@output_option
@pass_jobs
def report_command(jobs: Jobs, name: str, html: str | None, output: str | None) -> None:
    """Show the tasks, times and memory of a job's cluster; without NAME, of the newest job.

    The file of --html shows how the job ended and why, its attempts, workers, memory and tasks over
    time, events and settings. It needs no network, and has no values of variables.
    """
    if html is not None:
        if output is not None:
            raise click.UsageError("--html and -o are two formats: write one of them")
        name, html = name_and_file(name, html)
    job = jobs.find(name)
    report = jobs.report(job.ref)
    if html is not None:
        write_html(jobs, job, report, html)
        return
    if report is None or ("tasks" not in report and output is None):
        running = "" if job.status.finished else " yet; it is written when an attempt ends"
        raise NotFound(f"{job.name} has no report{running}")
    if output in (Format.JSON, Format.YAML):
        print_objects([report], Format(output), as_list=False)
        return
    _print_report(job.name, job.status, report)


def _print_report(name: str, status: JobStatus, report: Manifest) -> None:
    tasks, workers = report.get("tasks") or {}, report.get("workers") or {}
    click.echo(
        f"{name}: {status.phase} in {took(status)}, attempt {status.attempts[-1].number}"
        if status.attempts
        else f"{name}: {status.phase}"
    )
    click.echo(
        f"Tasks:    {tasks.get('done', 0)} of {tasks.get('total', 0)} done, "
        f"{tasks.get('erred', 0)} erred, {report.get('computeSeconds', 0):.1f} s of compute time"
    )
    click.echo(
        f"Workers:  {workers.get('peak', 0)} at peak, {workers.get('seen', 0)} in total, "
        f"{workers.get('lost', 0)} lost"
    )
    prefixes = _table(report, "prefixes")
    if prefixes:
        click.echo()
        rows = [
            (
                str(row[0]),
                str(row[1]),
                f"{row[2]:.2f}",
                f"{row[2] / max(row[1], 1):.4f}",
                str(row[3]),
            )
            for row in prefixes[:20]
        ]
        print_table(("TASK", "COUNT", "SECONDS", "MEAN", "ERRED"), rows)
    peaks = _table(report, "peakMemory")
    if peaks:
        click.echo()
        print_table(("WORKER", "PEAK MEMORY"), list(_peaks(status, report, peaks)))


def _peaks(
    status: JobStatus, report: Manifest, rows: Iterable[list[float]]
) -> Iterator[tuple[str, str]]:
    """Yield workers with their peaks; those that were lost may have exceeded their limit."""
    least = integer(mapping(mapping(status.report).get("peakMemory")).get("atLeast")) or 0
    lost = {loss.worker for loss in losses_of(mapping(report.get("workers")).get("losses"))}
    for name, peak in islice(((str(row[0]), int(row[1])) for row in rows), 20):
        yield name, format_peak(peak, least if name in lost else 0)


def _table(report: Manifest, key: str) -> list[list[float]]:
    found = (report.get(key) or {}).get("rows")
    return [row for row in found if isinstance(row, list)] if isinstance(found, list) else []


@click.command("cancel")
@click.argument("names_", metavar="[NAME]...", nargs=-1, type=JobName())
@click.option("--wait", is_flag=True, help="Wait until they have ended.")
@pass_jobs
def cancel_command(jobs: Jobs, names_: tuple[str, ...], wait: bool) -> None:
    """Cancel running jobs; without NAME, the newest one that is running.

    Of several jobs, each one that is there is cancelled, and each other name is an error. Scripts
    get SIGTERM, and SIGKILL after their grace period.
    """
    named = NamedJobs()
    if names_:
        named.find(jobs, names_)
    else:
        newest = _newest_running(jobs)
        if newest.status.finished:
            text = f"no job is running; the newest is {newest.name}: {newest.status.phase}"
            click.echo(text, err=True)
            return
        named.found[newest.ref] = ("", newest)
    for _, job in named:
        if jobs.cancel(job.ref):
            click.echo(f"{job.name} is being cancelled")
        else:
            click.echo(f"{job.name} has already ended: {jobs.get(job.ref).status.phase}")
    for _, job in named if wait else ():
        # A job that is deleted in the meantime has ended, too.
        with contextlib.suppress(NotFound):
            jobs.wait(job.ref, raise_on_failure=False)
    report_failures(named.failures)


def _newest_running(jobs: Jobs) -> Job:
    """Return the newest job that has not ended; the newest of all if there is none."""
    running = (job for job in jobs.list() if not job.status.finished)
    return next(running, None) or jobs.find()


@click.command("wait")
@click.argument("names_", metavar="[NAME]...", nargs=-1, type=JobName())
@timeout_option("Wait at most this long, such as 90s or 2h.")
@pass_jobs
def wait_command(jobs: Jobs, names_: tuple[str, ...], timeout: int | None) -> int:
    """Wait until jobs have ended; without NAME, the newest job.

    The exit code is that of the job, as of `daskjob run`; of several, the first that is not 0. It
    is 124 if a job has not ended within --timeout.
    """
    found = [jobs.find(name) for name in names_ or ("",)]
    code = 0
    for job in found:
        try:
            ended = jobs.wait(job.ref, timeout_seconds=seconds_left(), raise_on_failure=False)
        except Timeout:
            click.echo(f"{job.name} has not ended within {timeout} s", err=True)
            return ExitCode.WAIT_TIMEOUT
        click.echo(f"{job.name} has ended: {ended.status.phase}")
        code = code or exit_code(ended.status)
    return code
