"""``dask kubernetes``: the commands that dask-kubernetes documents.

Dask imports this module at each ``dask`` command, also at the start of each worker, so it imports
only click and small modules of the command line.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import click

from daskjob.submit.cli.parameters import Assignment, Count, Duration, Port

if TYPE_CHECKING:
    from daskjob.submit.clusters.client import AsyncClusterClient
    from daskjob.submit.clusters.cluster import Cluster
    from daskjob.submit.clusters.forwards import Forwards

GROUP = "dask_cli"
NAME = "kubernetes"
#: Where dask-kubernetes is installed too: its command keeps the name, or each command of Dask would
#: warn that one replaces the other.
SECOND_NAME = "daskjob-kubernetes"
LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 300
#: As the CRD has it.
MOST_WORKERS = 10_000


class _Guarded(click.Group):
    """A group whose commands end with a message where daskjob has one, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises
        ------
        click.ClickException
            An error, as Dask's command line shows it.
        """
        from daskjob.core.connection_advice import advice
        from daskjob.core.errors import DaskJobError

        try:
            return super().invoke(ctx)
        except DaskJobError as error:
            raise click.ClickException(f"{error}{advice(error)}") from error


def command_name() -> str:
    """Return the name of the commands: another one if dask-kubernetes is installed beside."""
    found = metadata.entry_points(group=GROUP, name=NAME)
    others = [entry for entry in found if not entry.value.startswith("daskjob.")]
    return SECOND_NAME if others else NAME


@click.group(command_name(), cls=_Guarded)
def main() -> None:
    """Utilities for Dask clusters on Kubernetes."""


@main.group()
def gen() -> None:
    """Generate Kubernetes specs for Dask resources."""


@gen.command()
@click.option("--name", required=True, help="Name of the DaskCluster.")
@click.option("--image", help="Container image.  [default: ghcr.io/dask/dask:latest]")
@click.option(
    "--n-workers",
    type=Count(0, MOST_WORKERS),
    default=3,
    show_default=True,
    help="Number of workers.",
)
@click.option(
    "--resources",
    metavar="JSON",
    help="""Resources of scheduler and workers, such as '{"limits": {"memory": "4Gi"}}'.""",
)
@click.option(
    "-e",
    "--env",
    type=Assignment(),
    multiple=True,
    help="Variable of scheduler and workers; KEY alone passes on its value here.",
)
@click.option("--worker-command", help="Command of the workers.  [default: dask worker]")
@click.option(
    "--scheduler-service-type", help="Type of the scheduler's Service.  [default: ClusterIP]"
)
@click.option("--idle-timeout", type=Duration(), help="Delete the cluster after this idle time.")
@click.option("--jupyter", is_flag=True, help="Start Jupyter on the scheduler.")
def cluster(
    name: str, resources: str | None, env: tuple[tuple[str, str], ...], **given: Any
) -> None:
    """Generate a DaskCluster, for `kubectl apply -f -`."""
    from daskjob.core.errors import WrongArgument, WrongType
    from daskjob.core.names import NAME_RULE, is_valid_name
    from daskjob.kubecluster.specs import make_cluster_spec
    from daskjob.submit.cli.yaml_text import as_yaml

    if not is_valid_name(name):
        raise click.UsageError(f"--name {name!r} is not a valid cluster name; write {NAME_RULE}")
    arguments = {key: value for key, value in given.items() if value is not None}
    try:
        manifest = make_cluster_spec(
            name, resources=_json(resources) if resources else None, env=dict(env), **arguments
        )
    except (WrongArgument, WrongType) as error:
        raise click.UsageError(str(error)) from error
    click.echo(as_yaml([manifest]))


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"--resources is not JSON: {error}; write it such as "
            """'{"limits": {"memory": "4Gi"}}'"""
        ) from error


@main.command("port-forward")
@click.option("-n", "--namespace", default="", help="Namespace of the cluster.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--port", type=Port(), default=0, help="Local port of the scheduler.")
@click.option("--dashboard-port", type=Port(), default=0, help="Local port of the dashboard.")
@click.option(
    "--address",
    default=LOOPBACK,
    show_default=True,
    help="Local address. Anyone who reaches another one can run code in the cluster.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default=CONNECT_SECONDS,
    help="Wait at most this long for the scheduler.  [default: 5m]",
)
@click.argument("cluster")
def port_forward(cluster: str, *, namespace: str, context: str, timeout: int, **where: Any) -> None:
    """Forward local ports to the scheduler of a cluster, until Ctrl-C; the cluster stays."""
    from daskjob.submit.cli.cluster_place import ClusterPlace
    from daskjob.submit.cli.clusters import running, until_interrupt

    async def act(client: AsyncClusterClient) -> int:
        found = await running(client, cluster.removeprefix("daskcluster/"), timeout)
        async with client.connected(found, timeout_seconds=timeout, **where) as ways:
            _show(found, ways)
            await client.gone(found)
        return 0

    until_interrupt(ClusterPlace(context, namespace), act)
    click.echo("Shutting down port-forward")


def _show(found: Cluster, ways: Forwards) -> None:
    click.echo(f"Scheduler at: {ways.scheduler_address}")
    click.echo(f"Dashboard at: {ways.dashboard_link}")
    if found.has_jupyter:
        click.echo(f"Jupyter at: {ways.dashboard_link.removesuffix('/status')}/jupyter/lab")
    click.echo("Press ctrl+c to exit")
