"""The place whose jobs a command handles; the commands themselves use only ``Jobs``.

``click`` passes ``Context.obj`` from the group to its commands, and to completion. With ``-n`` or
``--context``, it is a namespace of a cluster instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeGuard, TypeVar

import click

from daskjob.submit.cli.cluster_place import ClusterPlace

if TYPE_CHECKING:
    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.jobs import JobRef, Jobs
    from daskjob.submit.records.my_jobs import MyJobs
    from daskjob.submit.records.record import Record

P = ParamSpec("P")
R = TypeVar("R")

#: Where the options are kept in ``Context.meta``.
_META = "daskjob.place"
_CONTEXT_HELP = "All jobs of the cluster of this context, instead of those started here."
_NAMESPACE_HELP = "All jobs of this namespace of a cluster; by default the context's."


def wanted_place(context: click.Context) -> ClusterPlace | None:
    """Return the cluster that the options name; ``None``: this machine."""
    found: dict[str, str] = context.meta.get(_META, {})
    return ClusterPlace(**found) if found else None


def jobs_of(context: click.Context) -> Jobs:
    """Return the jobs of the chosen place, by default this machine."""
    place = wanted_place(context)
    if place is not None:
        return cluster_jobs(context, place)
    if context.obj is None:
        context.obj = _jobs_started_here(context)
    jobs: Jobs = context.obj
    return jobs


def _jobs_started_here(context: click.Context) -> Jobs:
    """Return the jobs of this machine; with those submitted from it, if there are any."""
    from daskjob.submit.local import LocalJobs
    from daskjob.submit.records.store import Records

    if Records().names():
        return of_my_jobs(context)
    return LocalJobs(command=context.info_name or "")


def of_my_jobs(context: click.Context) -> MyJobs:
    """Return the jobs of this machine and those submitted from it."""
    from daskjob.submit.local import LocalJobs
    from daskjob.submit.records.my_jobs import MyJobs

    command = context.info_name or ""
    connect = functools.partial(_jobs_of_record, context)
    found = MyJobs(LocalJobs(command=command), connect=connect, command=command or "status")

    def report_skipped() -> None:
        if note := found.records.note():
            click.echo(f"daskjob: {note}", err=True)

    context.call_on_close(report_skipped)
    return found


def _jobs_of_record(context: click.Context, record: Record) -> Jobs:
    from daskjob.submit.records.clusters import usable_kubeconfig
    from daskjob.submit.records.lost_context import check_context

    kubeconfig = usable_kubeconfig(record.cluster)
    check_context(record, kubeconfig, context.info_name or "status")
    return cluster_jobs(context, _place_of_record(record))


def _place_of_record(record: Record) -> ClusterPlace:
    from daskjob.submit.records.clusters import usable_kubeconfig

    kubeconfig = usable_kubeconfig(record.cluster) or ""
    return ClusterPlace(record.cluster.context, record.namespace, kubeconfig)


def is_mine(jobs: Jobs) -> TypeGuard[MyJobs]:
    """Return whether they include jobs that were submitted from here."""
    from daskjob.submit.records.my_jobs import MyJobs

    return isinstance(jobs, MyJobs)


def of_this_machine(jobs: Jobs) -> Jobs:
    """Return the jobs of this machine alone, where they are among the given ones."""
    return jobs.local if is_mine(jobs) else jobs


def place_of_job(context: click.Context, jobs: Jobs, ref: JobRef) -> ClusterPlace | None:
    """Return the cluster and the namespace of a job; ``None``: it is of this machine."""
    place = wanted_place(context)
    record = jobs.record(ref) if place is None and is_mine(jobs) else None
    return place if record is None else _place_of_record(record)


def options_of(context: click.Context, jobs: Jobs, ref: JobRef) -> str:
    """Return the options with which commands find a job; empty for one of this machine."""
    place = wanted_place(context)
    if place is not None:
        return place.options_for(ref.namespace)
    return jobs.options(ref) if is_mine(jobs) else ""


def cluster_jobs(context: click.Context, place: ClusterPlace) -> JobClient:
    """Return the jobs of a cluster, with a connection that ends with the command.

    Raises
    ------
    DaskJobError
        A package that it needs is missing.
    """
    from daskjob.submit.cli.connection import connected

    client = connected(place)
    context.call_on_close(client.close)
    return client


def pass_jobs(command: Callable[Concatenate[Jobs, P], R]) -> Callable[P, R]:
    """Call a command with the jobs of the chosen place before its own arguments."""

    @functools.wraps(command)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(jobs_of(click.get_current_context()), *args, **kwargs)

    return _with_option(
        "-n",
        "--namespace",
        "namespace",
        text=_NAMESPACE_HELP,
    )(_with_option("--context", "context", text=_CONTEXT_HELP)(called))


def _with_option(*names: str, text: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def kept(context: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            if not value:
                raise click.BadParameter("write a name", context, param)
            context.meta.setdefault(_META, {})[str(param.name)] = str(value)

    return click.option(*names, metavar="NAME", help=text, expose_value=False, callback=kept)
