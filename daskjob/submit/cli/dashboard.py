"""``daskjob dashboard``: the dashboard of a running job, at either place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from daskjob.core.errors import NotFound
from daskjob.core.manifests import ObjectRef
from daskjob.core.names import Kind
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.parameters import Duration, JobName, Port
from daskjob.submit.cli.place import pass_jobs, place_of_job

if TYPE_CHECKING:
    from daskjob.submit.jobs import Job, Jobs


@click.command("dashboard")
@click.argument("name", required=False, default="", type=JobName())
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--port",
    type=Port(),
    default=None,
    help="On a cluster: the local port; by default 8787 if it is free, else any.",
)
@click.option("--address", default=None, help="On a cluster: the local address.")
@click.option(
    "--timeout", type=Duration(), default=None, help="On a cluster: wait at most this long for it."
)
@pass_jobs
def dashboard_command(
    jobs: Jobs,
    name: str,
    no_browser: bool,
    port: int | None,
    address: str | None,
    timeout: int | None,
) -> int:
    """Open the dashboard of a running job; without NAME, of the newest job.

    On a cluster, the command makes it reachable from this machine, until the job ends or Ctrl-C.
    """
    job = jobs.find(name)
    if job.status.finished:
        raise NotFound(
            f"{job.name} has ended, and its dashboard with it; daskjob report shows its tasks"
        )
    place = place_of_job(click.get_current_context(), jobs, job.ref)
    if place is not None:
        return _forwarded(job, place, no_browser, (port or 0, address, timeout))
    if port is not None or address or timeout is not None:
        raise click.UsageError("--port, --address and --timeout are for jobs of a cluster (-n)")
    url = job.status.dashboard_url
    if not url:
        raise NotFound(f"{job.name} has no dashboard yet: its scheduler is starting")
    click.echo(url)
    if not no_browser:
        from daskjob.submit.cli.browser import open_browser

        open_browser(url)
    return 0


def _forwarded(
    job: Job, place: ClusterPlace, no_browser: bool, way: tuple[int, str | None, int | None]
) -> int:
    import asyncio

    from daskjob.submit.cli.clusters import CONNECT_SECONDS, LOOPBACK, running, show_dashboard
    from daskjob.submit.cli.connection import connected_clusters

    cluster_name = job.status.cluster_name
    if not cluster_name:
        raise NotFound(f"{job.name} has no cluster yet; daskjob why shows what it waits for")
    port, address, timeout = way

    async def main() -> None:
        there = replace(place, namespace=job.ref.namespace)
        async with connected_clusters(there) as client:
            cluster = await running(client, cluster_name, timeout or CONNECT_SECONDS)
            async with client.connected(
                cluster,
                dashboard_port=port,
                address=address or LOOPBACK,
                comm=False,
                timeout_seconds=timeout or CONNECT_SECONDS,
            ) as ways:
                show_dashboard(ways, no_browser=no_browser)
                await client.job_ended(
                    ObjectRef(Kind.JOB, job.ref.namespace, job.name, job.ref.uid)
                )
        click.echo(f"daskjob: {job.name} has ended", err=True)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
    return 0
