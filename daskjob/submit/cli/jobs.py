"""Commands about jobs that run, or ran, on this machine."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from daskjob.backends.local.state import RunFolder, find_folder, folders, state_root
from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.core.explain import explain
from daskjob.core.manifests import Manifest, metadata, parse_time
from daskjob.core.quantity import format_bytes
from daskjob.core.status import JobStatus, job_status_from
from daskjob.submit.cli.output import (
    Format,
    age,
    duration,
    output_option,
    print_objects,
    print_table,
)
from daskjob.submit.cli.parameters import MANIFEST_SUFFIXES, JobName

#: How often a log or a job that is followed is looked at again.
FOLLOW_SECONDS = 0.2
#: How long a job that is deleted may take to end.
DELETE_SECONDS = 60.0
#: What ``why`` reads of a log's end.
TAIL_BYTES = 16 * 1024


@click.command("list")
@output_option
def list_command(output: str | None) -> None:
    """List the jobs that ran here, newest first."""
    jobs = [folder.job() for folder in folders(state_root())]
    if output not in (None, Format.TABLE):
        print_objects(jobs, Format(output), as_list=True)
        return
    if not jobs:
        click.echo(f"No job has run here yet ({state_root()}).", err=True)
        return
    header = ("NAME", "STATUS", "REASON", "PROGRESS", "WORKERS", "ATTEMPTS", "AGE", "TOOK")
    print_table(header, [_row(job) for job in jobs])


def _row(job: Manifest) -> tuple[str, ...]:
    status = job_status_from(job.get("status"))
    return (
        str(metadata(job).get("name")),
        status.phase or "Pending",
        status.reason,
        _progress(status),
        "" if status.finished else _workers(status),
        str(status.attempts_begun),
        age(job),
        _took(status),
    )


def _progress(status: JobStatus) -> str:
    return str(status.progress) if status.progress and status.progress.total else ""


def _workers(status: JobStatus) -> str:
    return str(status.workers) if status.workers else ""


def _took(status: JobStatus) -> str:
    if status.start_time is None:
        return ""
    return duration((status.end_time or datetime.now(UTC)) - status.start_time)


@click.command("status")
@click.argument("name", required=False, default="", type=JobName())
@output_option
def status_command(name: str, output: str | None) -> None:
    """Show how a job stands: the one of that name, or the newest."""
    folder = find_folder(state_root(), name)
    job = folder.job()
    if output not in (None, Format.TABLE):
        print_objects([job], Format(output), as_list=False)
        return
    status = job_status_from(job.get("status"))
    facts = {
        "Name": str(metadata(job).get("name")),
        "Status": status.phase or "Pending",
        "Reason": status.reason,
        "Message": status.message,
        "Exit code": "" if status.exit_code is None else str(status.exit_code),
        "Progress": f"{_progress(status)} tasks" if _progress(status) else "",
        "Workers": f"{_workers(status)} ready" if not status.finished and status.workers else "",
        "Dashboard": "" if status.finished else status.dashboard_url,
        "Started": _local(status.start_time),
        "Ended": _local(status.end_time),
        "Took": _took(status),
        "Result": "" if status.result is None else json.dumps(status.result),
        "Folder": str(folder.path),
    }
    for title, text in facts.items():
        if text:
            click.echo(f"{title + ':':<12}{text}")
    if len(status.attempts) > 1:
        click.echo("Attempts:")
        for attempt in status.attempts:
            code = "" if attempt.exit_code is None else f" (exit code {attempt.exit_code})"
            click.echo(f"  {attempt.number}: {attempt.reason}{code}: {attempt.message}")
    events = folder.events()
    if events:
        click.echo("Events:")
        for event in events:
            when = _local(parse_time(event.get("time")))
            click.echo(f"  {when}  {event.get('reason')}: {event.get('message')}")


def _local(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""


@click.command("logs")
@click.argument("name", required=False, default="", type=JobName())
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option(
    "--attempt", type=click.IntRange(0), help="The runner of this attempt; else the last."
)
@click.option("--pod", help="Another pod: scheduler, worker, or its name.")
@click.option("--tail", type=click.IntRange(0), help="Only so many last lines.")
def logs_command(
    name: str, follow: bool, attempt: int | None, pod: str | None, tail: int | None
) -> None:
    """Print the log of a job's runner, scheduler or worker; of the newest job without a NAME.

    With --follow the log is followed from attempt to attempt until the job ends.
    """
    folder = find_folder(state_root(), name)
    if pod is not None or attempt is not None or not follow:
        path = _log(folder, attempt, pod)
        _print_log(folder, path, follow=follow, tail=tail)
        return
    number = job_status_from(folder.job().get("status")).attempt
    while True:
        _print_log(folder, _runner_log(folder, number), follow=True, tail=tail)
        status = job_status_from(folder.job().get("status"))
        if status.finished or status.attempt == number:
            return
        number += 1


def _runner_log(folder: RunFolder, attempt: int) -> Path:
    job = str(metadata(folder.job()).get("name"))
    return folder.log(names.runner_name(job, attempt))


def _log(folder: RunFolder, attempt: int | None, pod: str | None) -> Path:
    """Return the log that is meant.

    Raises
    ------
    NotFound
        There is none; the message names those that there are.
    """
    if pod is None:
        if attempt is None:
            status = job_status_from(folder.job().get("status"))
            attempt = status.attempt
            while attempt and not _runner_log(folder, attempt).exists():
                attempt -= 1
        path = _runner_log(folder, attempt)
        if path.exists() or folder.is_live():
            return path
    known = sorted(path.stem for path in folder.logs.glob("*.log"))
    wanted = f"-{pod}" if pod in ("scheduler", "runner") else "-worker-" if pod == "worker" else pod
    for stem in known:
        if pod is not None and (stem == pod or (wanted and wanted in stem)):
            return folder.logs / f"{stem}.log"
    there = ", ".join(known) or "none"
    raise NotFound(f"there is no such log; logs of this job: {there}")


def _print_log(folder: RunFolder, path: Path, *, follow: bool, tail: int | None) -> None:
    """Print a log as it is, byte by byte; following ends with the job, or its next attempt."""
    out = sys.stdout.buffer
    job = job_status_from(folder.job().get("status"))
    while follow and not path.exists() and not job.finished:
        time.sleep(FOLLOW_SECONDS)
        job = job_status_from(folder.job().get("status"))
    if not path.exists():
        return
    with path.open("rb") as log:
        if tail is not None:
            log.seek(_offset_of_tail(path, tail))
        while True:
            ended = not follow or _is_over(folder, path)
            while data := log.read(1 << 20):
                out.write(data)
            out.flush()
            if ended:
                return
            time.sleep(FOLLOW_SECONDS)


def _is_over(folder: RunFolder, path: Path) -> bool:
    """Say whether nothing more will come: the job has ended, or this attempt has."""
    status = job_status_from(folder.job().get("status"))
    ended = {attempt.runner_pod_name for attempt in status.attempts}
    return status.finished or path.stem in ended


def _offset_of_tail(path: Path, lines: int) -> int:
    """Return where a file's last lines begin."""
    if lines == 0:
        return path.stat().st_size
    with path.open("rb") as file:
        end = file.seek(0, 2)
        position, found = end, 0
        while position > 0:
            step = min(65536, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            # A newline at the very end closes the last line and begins none.
            stop = len(block) - 1 if position + step == end else len(block)
            while (index := block.rfind(b"\n", 0, stop)) >= 0:
                found += 1
                if found == lines:
                    return position + index + 1
                stop = index
    return 0


def tail_of(path: Path) -> str:
    """Return the end of a log as text."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


@click.command("why")
@click.argument("name", metavar="[NAME|FILE]", required=False, default="", type=JobName())
@output_option
def why_command(name: str, output: str | None) -> None:
    """Say why a job is as it is, and what to do next.

    NAME is a job that ran here, the newest where it is not given; FILE is a DaskJob with its
    status, saved from anywhere: `kubectl get daskjob NAME -o yaml`.
    """
    job, log_tail = _job_and_log(name)
    answer = explain(job, log_tail=log_tail)
    if output in (Format.JSON, Format.YAML):
        found = {
            "headline": answer.headline,
            "evidence": list(answer.evidence),
            "nextStep": answer.next_step,
        }
        print_objects([found], Format(output), as_list=False)
        return
    click.echo(answer.headline)
    for line in answer.evidence:
        click.echo(f"  {line}")
    if answer.next_step:
        click.echo(f"Next: {answer.next_step}")


def _job_and_log(name: str) -> tuple[Manifest, str]:
    from daskjob.submit.cli.documents import read_job

    path = Path(name)
    if path.suffix in MANIFEST_SUFFIXES and path.is_file():
        return read_job(path)[0], ""
    folder = find_folder(state_root(), name)
    job = folder.job()
    status = job_status_from(job.get("status"))
    return job, tail_of(folder.logs / f"{status.job_runner_pod_name}.log")


@click.command("report")
@click.argument("name", required=False, default="", type=JobName())
@output_option
def report_command(name: str, output: str | None) -> None:
    """Show what a job's cluster did: tasks, times, memory. Without NAME: the newest job's."""
    folder = find_folder(state_root(), name)
    status = job_status_from(folder.job().get("status"))
    report = folder.report() or status.report
    if report is None:
        running = "" if status.finished else " yet: it is written when an attempt ends"
        raise NotFound(f"there is no report of {folder.name}{running}")
    if output in (Format.JSON, Format.YAML):
        print_objects([report], Format(output), as_list=False)
        return
    _print_report(folder.name, status, report)


def _print_report(name: str, status: JobStatus, report: Manifest) -> None:
    tasks, workers = report.get("tasks") or {}, report.get("workers") or {}
    click.echo(
        f"{name}: {status.phase} in {_took(status)}, attempt {status.attempts[-1].number}"
        if status.attempts
        else f"{name}: {status.phase}"
    )
    click.echo(
        f"Tasks:    {tasks.get('done', 0)} of {tasks.get('total', 0)} done, "
        f"{tasks.get('erred', 0)} erred, {report.get('computeSeconds', 0):.1f} s of computing"
    )
    click.echo(
        f"Workers:  {workers.get('peak', 0)} at most, {workers.get('seen', 0)} in all, "
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
        print_table(
            ("WORKER", "PEAK MEMORY"), [(str(r[0]), format_bytes(int(r[1]))) for r in peaks[:20]]
        )


def _table(report: Manifest, key: str) -> list[list[float]]:
    found = (report.get(key) or {}).get("rows")
    return [row for row in found if isinstance(row, list)] if isinstance(found, list) else []


@click.command("cancel")
@click.argument("names_", metavar="NAME...", nargs=-1, required=True, type=JobName())
@click.option("--wait", is_flag=True, help="Return when they have ended.")
def cancel_command(names_: tuple[str, ...], wait: bool) -> None:
    """Stop jobs that run here: their runners get SIGTERM and 10 s."""
    found = [(name, find_folder(state_root(), name)) for name in names_]
    for name, folder in found:
        if not folder.is_live():
            status = job_status_from(folder.job().get("status"))
            click.echo(f"{name} has ended already: {status.phase}")
            continue
        folder.ask_to_cancel()
        click.echo(f"{name} is being cancelled")
    while wait and any(folder.is_live() for _, folder in found):
        time.sleep(FOLLOW_SECONDS)


@click.command("delete")
@click.argument("names_", metavar="NAME...", nargs=-1, type=JobName())
@click.option("--all", "everything", is_flag=True, help="Every job that has ended.")
@click.option("--force", is_flag=True, help="Also jobs that still run: they are cancelled first.")
def delete_command(names_: tuple[str, ...], everything: bool, force: bool) -> None:
    """Delete jobs that ran here, with their logs and reports."""
    if not names_ and not everything:
        raise click.UsageError("name jobs to delete, or say --all")
    root = state_root()
    found = (
        folders(root) if everything else [find_folder(root, name, exact=True) for name in names_]
    )
    for folder in found:
        name = folder.name
        if folder.is_live() and not (force and _ended(folder)):
            if not everything:
                raise click.UsageError(f"{name} still runs; cancel it first, or say --force")
            continue
        folder.remove()
        click.echo(f"{name} deleted")


def _ended(folder: RunFolder) -> bool:
    """Cancel a job and say whether it ended in time."""
    folder.ask_to_cancel()
    give_up = time.monotonic() + DELETE_SECONDS
    while folder.is_live() and time.monotonic() < give_up:
        time.sleep(FOLLOW_SECONDS)
    return not folder.is_live()
