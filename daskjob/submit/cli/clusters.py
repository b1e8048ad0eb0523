"""``daskjob cluster``: clusters of a Kubernetes without a job, for interactive work."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from daskjob.core.errors import Conflict, DaskJobError, NotFound
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.errors import report_failures
from daskjob.submit.cli.output import Format, age, output_option, print_objects, print_table
from daskjob.submit.cli.parameters import Count, Duration, Port
from daskjob.submit.cli.settings_options import SettingsCommand, given_flags, settings_options

if TYPE_CHECKING:
    from daskjob.core.manifests import Manifest
    from daskjob.submit.clusters.client import AsyncClusterClient
    from daskjob.submit.clusters.cluster import Cluster
    from daskjob.submit.clusters.forwards import Forwards

T = TypeVar("T")
Decorated = TypeVar("Decorated", bound=Callable[..., object])

#: As the CRD has it.
MOST_WORKERS = 10_000
LOOPBACK = "127.0.0.1"
#: How long a connection may take, unless an option says otherwise.
CONNECT_SECONDS = 300
#: Settings that only jobs have.
OF_JOBS = (
    *("runner-cpu", "runner-memory", "runner-gpu", "env-file", "files", "retries", "deadline"),
    *("attempt-deadline", "startup-deadline", "stall-deadline", "ttl", "name", "token"),
    *("packages", "requirements", "index-url", "extra-index-url", "find-links", "index-secret"),
)


class ClusterName(click.ParamType):  # type: ignore[type-arg]
    """The name of a cluster, also as ``-o name`` prints it: ``daskcluster/NAME``."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name alone."""
        from daskjob.core.names import NAME_RULE, is_valid_name

        text = str(value).removeprefix("daskcluster/")
        if not is_valid_name(text):
            self.fail(f"{text!r} is not a valid cluster name; write {NAME_RULE}", param, ctx)
        return text


def place_options(command: Decorated) -> Decorated:
    """Add ``-n`` and ``--context`` to a command."""
    for names, text in (
        (("--context", "context"), "Context of the kubeconfig; by default the current one."),
        (("-n", "--namespace", "namespace"), "Namespace of the cluster; by default the context's."),
    ):
        command = click.option(*names, metavar="NAME", default="", help=text)(command)
    return command


def forward_options(command: Decorated) -> Decorated:
    """Add the options of local ports to a command."""
    options = (
        click.option(
            "--address",
            default=LOOPBACK,
            show_default=True,
            help="Local address. Anyone who reaches another one can run code in the cluster.",
        ),
        click.option(
            "--timeout",
            type=Duration(),
            default=CONNECT_SECONDS,
            help="Wait at most this long for the scheduler.  [default: 5m]",
        ),
    )
    for option in options:
        command = option(command)
    return command


class _InOrder(click.Group):
    """Lists its commands in the order of a cluster's life."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands as they were added."""
        del ctx
        return [*list(self.commands), "notebook"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; that of notebooks has a module of its own."""
        if cmd_name == "notebook":
            from daskjob.submit.cli.cluster_notebook import notebook_command

            return notebook_command
        return super().get_command(ctx, cmd_name)


@click.group("cluster", cls=_InOrder)
def cluster_command() -> None:
    """Create and use Dask clusters on Kubernetes, without a job.

    \b
      daskjob cluster create mine --workers 4 --memory 8Gi --wait
      daskjob cluster connect mine -- python my_script.py
      daskjob cluster delete mine

    A client needs the permissions get, list, watch, create, patch and delete for daskclusters, get,
    list and watch for pods, and get and create for pods/portforward.
    """  # noqa: D301 (click reads the backspace)


@cluster_command.command("create", cls=SettingsCommand, short_help="Create a cluster.")
@click.option(
    "-f",
    "--filename",
    "manifest",
    type=click.Path(path_type=Path),
    help="The DaskCluster in this file; '-' is standard input.",
)
@click.option(
    "--idle-timeout",
    type=Duration(),
    help="Delete the cluster after this time without work, such as 30m.",
)
@click.option("--wait", is_flag=True, help="Wait until the scheduler and all workers run.")
@click.option("--timeout", type=Duration(), help="With --wait: wait at most this long.")
@click.option("--dry-run", is_flag=True, help="Print what would be created.")
@output_option
@settings_options(leave_out=OF_JOBS)
@click.argument("name", required=False, type=ClusterName())
def create_command(
    name: str | None,
    *,
    manifest: Path | None,
    idle_timeout: int | None,
    wait: bool,
    timeout: int | None,
    dry_run: bool,
    output: str | None,
    **given: Any,
) -> int:
    """Create the cluster NAME.

    Its pods are those that `daskjob submit` makes. Settings are flags; the profile that --profile
    names; `[tool.daskjob]` in pyproject.toml; `daskjob` in Dask's configuration. A manifest (-f) is
    changed by flags and --profile only. The exit code is 124 if the cluster is not ready within
    --timeout; it stays then.
    """
    from daskjob.core.errors import Timeout
    from daskjob.core.exit_codes import ExitCode
    from daskjob.submit.cli.cluster_submissions import Wanted, wanted_cluster

    if timeout is not None and not wait:
        raise click.UsageError("--timeout is how long --wait waits; add --wait")
    if not name and not manifest:
        raise click.UsageError("name the cluster, or a manifest: -f cluster.yaml")
    flags, profile = given_flags(given), given["profile"] or ""
    found = wanted_cluster(Wanted(name or "", manifest, flags, profile, idle_timeout))
    for note in found.notes:
        click.echo(f"daskjob: {note}", err=True)
    if dry_run:
        _print(found.manifest, output or Format.YAML, "")
        return 0
    settings = found.merged.settings
    place = ClusterPlace(settings.context or "", settings.namespace or "")

    async def act(client: AsyncClusterClient) -> int:
        cluster = await client.create(found.manifest)
        if wait:
            click.echo(f"daskjob: {cluster.name} was created; waiting for its pods", err=True)
            try:
                cluster = await client.wait(cluster, timeout_seconds=timeout)
            except Timeout as error:
                click.echo(f"daskjob: {error}", err=True)
                return ExitCode.WAIT_TIMEOUT
        ready = f"ready with {cluster.workers} workers" if wait else "created"
        _print(cluster.manifest, output, ready)
        if output is None:
            options = place.options_for(cluster.ref.namespace)
            hint = f"daskjob cluster connect {options} {cluster.name}"
            click.echo(f"daskjob: to use it: {hint}", err=True)
        return 0

    return _run(place, act)


@cluster_command.command("list")
@click.option("-A", "--all-namespaces", is_flag=True, help="The clusters of all namespaces.")
@output_option
@place_options
def list_command(all_namespaces: bool, output: str | None, namespace: str, context: str) -> None:
    """List the clusters of a namespace, those of jobs included."""
    if all_namespaces and namespace:
        raise click.UsageError("-A lists all namespaces, -n one: leave one of them out")
    found, where = _run(
        ClusterPlace(context, namespace), lambda client: _listed(client, all_namespaces)
    )
    if output == Format.NAME:
        for cluster in found:
            click.echo(f"daskcluster/{cluster.name}")
    elif output in (Format.JSON, Format.YAML):
        print_objects([item.manifest for item in found], Format(output), as_list=True)
    elif not found:
        click.echo(f"No clusters in {where}.", err=True)
    else:
        header: tuple[str, ...] = ("NAME", "STATUS", "WORKERS", "JOB", "AGE")
        rows = [_row(cluster) for cluster in found]
        if any(cluster.notebook for cluster in found):
            header = (*header, "NOTEBOOK")
            rows = [(*row, c.notebook) for row, c in zip(rows, found, strict=True)]
        if all_namespaces:
            header = (header[0], "NAMESPACE", *header[1:])
            rows = [
                (row[0], cluster.ref.namespace, *row[1:])
                for cluster, row in zip(found, rows, strict=True)
            ]
        print_table(header, rows)


async def _listed(
    client: AsyncClusterClient, all_namespaces: bool
) -> tuple[tuple[Cluster, ...], str]:
    where = "any namespace" if all_namespaces else f"namespace {await client.namespace()}"
    return await client.list(all_namespaces=all_namespaces), where


def _row(cluster: Cluster) -> tuple[str, ...]:
    return (
        cluster.name,
        cluster.status.phase or "Pending",
        cluster.workers,
        cluster.job,
        age(cluster.manifest),
    )


@cluster_command.command("connect", short_help="Make a cluster reachable from this machine.")
@click.option(
    "--port",
    type=Port(),
    default=0,
    help="Local port of the scheduler; by default 8786 if it is free, else any.",
)
@click.option(
    "--dashboard-port",
    type=Port(),
    default=0,
    help="Local port of the dashboard; by default 8787 if it is free, else any.",
)
@forward_options
@place_options
@click.argument("name", type=ClusterName())
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def connect_command(
    name: str,
    command: tuple[str, ...],
    *,
    port: int,
    dashboard_port: int,
    address: str,
    timeout: int,
    namespace: str,
    context: str,
) -> int:
    """Make the cluster NAME reachable from this machine, until Ctrl-C or the end of COMMAND.

    \b
      daskjob cluster connect mine
      daskjob cluster connect mine -- python my_script.py --input data.csv

    COMMAND finds the scheduler by DASK_SCHEDULER_ADDRESS, as `Client()` does; its exit code is
    returned. The local ports stay the same while the scheduler's pod is replaced or the connection
    to the API server is lost.
    """  # noqa: D301 (click reads the backspace)
    if command and shutil.which(command[0]) is None:
        raise click.UsageError(f"there is no command {command[0]!r}")

    async def act(client: AsyncClusterClient) -> int:
        from daskjob.submit.clusters.child import run_child

        cluster = await running(client, name, timeout)
        async with client.connected(
            cluster,
            port=port,
            dashboard_port=dashboard_port,
            address=address,
            timeout_seconds=timeout,
        ) as ways:
            if command:
                return await run_child(command, variables_of(ways))
            click.echo(f"Scheduler:  {ways.scheduler_address}")
            click.echo(f"Dashboard:  {ways.dashboard_link}")
            async with _notebook_of(
                client, cluster, address, timeout, dashboard_port=ways.dashboard.port
            ):
                click.echo("daskjob: Ctrl-C ends the connection; the cluster goes on", err=True)
                await client.gone(cluster)
        return 0

    return until_interrupt(ClusterPlace(context, namespace), act)


@asynccontextmanager
async def _notebook_of(
    client: AsyncClusterClient, cluster: Cluster, address: str, timeout: int, *, dashboard_port: int
) -> AsyncIterator[None]:
    """Connect to the notebook of a cluster, if it has one, and print its address."""
    if not cluster.notebook:
        yield
        return
    from daskjob.submit.cli.cluster_notebook import note_other_port
    from daskjob.submit.cli.connection import notify
    from daskjob.submit.clusters.notebook import notebook_forward

    async with notebook_forward(
        await client.api(), cluster, address=address, timeout_seconds=timeout, notify=notify
    ) as notebook:
        click.echo(f"Notebook:   {notebook.link}")
        note_other_port(dashboard_port)
        yield


async def running(client: AsyncClusterClient, name: str, timeout: int) -> Cluster:
    """Return a cluster as soon as its scheduler runs."""
    cluster = await client.get(name)
    if cluster.is_ready(0):
        return cluster
    click.echo(f"daskjob: waiting for the scheduler of {name}: {cluster.state()}", err=True)
    return await client.wait(cluster, workers=0, timeout_seconds=timeout)


def variables_of(ways: Forwards) -> dict[str, str]:
    """Return the variables by which a program finds the scheduler."""
    from daskjob.core.names import ENV_SCHEDULER_ADDRESS

    return {ENV_SCHEDULER_ADDRESS: ways.scheduler_address}


@cluster_command.command("dashboard", short_help="Open the dashboard of a cluster.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--port",
    type=Port(),
    default=0,
    help="Local port; by default 8787 if it is free, else any.",
)
@forward_options
@place_options
@click.argument("name", type=ClusterName())
def dashboard_command(
    name: str,
    *,
    no_browser: bool,
    port: int,
    address: str,
    timeout: int,
    namespace: str,
    context: str,
) -> int:
    """Open the dashboard of the cluster NAME, until Ctrl-C."""

    async def act(client: AsyncClusterClient) -> int:
        cluster = await running(client, name, timeout)
        async with client.connected(
            cluster, dashboard_port=port, address=address, comm=False, timeout_seconds=timeout
        ) as ways:
            show_dashboard(ways, no_browser=no_browser)
            await client.gone(cluster)
        return 0

    return until_interrupt(ClusterPlace(context, namespace), act)


def show_dashboard(ways: Forwards, *, no_browser: bool) -> None:
    """Print the address of a dashboard, and open it."""
    click.echo(ways.dashboard_link)
    if not no_browser:
        from daskjob.submit.cli.browser import open_browser

        open_browser(ways.dashboard_link)
    click.echo("daskjob: Ctrl-C ends the connection", err=True)


@cluster_command.command("scale", short_help="Set the number of workers of a cluster.")
@place_options
@click.argument("name", type=ClusterName())
@click.argument("workers", metavar="N", type=Count(0, MOST_WORKERS))
def scale_command(name: str, workers: int, namespace: str, context: str) -> None:
    """Set the number of workers of the default group of the cluster NAME to N."""

    async def act(client: AsyncClusterClient) -> None:
        await client.scale(await client.get(name), workers)

    _run(ClusterPlace(context, namespace), act)
    click.echo(f"{name} is being scaled to {workers} workers")


@cluster_command.command("delete")
@click.option("--force", is_flag=True, help="Also delete the cluster of a job.")
@place_options
@click.argument("names_", metavar="NAME...", nargs=-1, required=True, type=ClusterName())
def delete_command(names_: tuple[str, ...], force: bool, namespace: str, context: str) -> None:
    """Delete clusters with all of their pods.

    Of several clusters, each one that can be is deleted, and each other one is an error.
    """

    async def act(client: AsyncClusterClient) -> None:
        failures: list[DaskJobError] = []
        for name in dict.fromkeys(names_):
            try:
                cluster = await client.get(name)
                await client.delete(cluster, force=force)
            except (NotFound, Conflict) as error:
                failures.append(error)
            else:
                click.echo(f"{cluster.name} is being deleted")
        report_failures(failures)

    _run(ClusterPlace(context, namespace), act)


def _run(place: ClusterPlace, act: Callable[[AsyncClusterClient], Awaitable[T]]) -> T:
    import asyncio

    from daskjob.submit.cli.connection import connected_clusters

    async def main() -> T:
        async with connected_clusters(place) as client:
            return await act(client)

    return asyncio.run(main())


def until_interrupt(
    place: ClusterPlace, act: Callable[[AsyncClusterClient], Awaitable[int]]
) -> int:
    """Run until the end, or until Ctrl-C, which is how a connection ends."""
    try:
        return _run(place, act)
    except KeyboardInterrupt:
        return 0


def _print(manifest: Manifest, output: str | None, done: str) -> None:
    from daskjob.submit.cli.yaml_text import as_yaml

    name = f"daskcluster/{manifest['metadata']['name']}"
    match output:
        case Format.YAML:
            click.echo(as_yaml([manifest]))
        case Format.JSON:
            click.echo(json.dumps(manifest, indent=2))
        case Format.NAME:
            click.echo(name)
        case _:
            click.echo(f"{name} {done}")
