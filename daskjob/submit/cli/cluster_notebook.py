"""``daskjob cluster notebook``: a notebook, a scheduler and workers from one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.clusters import (
    OF_JOBS,
    ClusterName,
    forward_options,
    until_interrupt,
)
from daskjob.submit.cli.parameters import Duration, Port
from daskjob.submit.cli.settings_options import (
    SettingsCommand,
    SettingType,
    given_flags,
    settings_options,
)
from daskjob.submit.settings.table import SETTINGS

if TYPE_CHECKING:
    from daskjob.submit.cluster_job.notebook import NotebookSubmission
    from daskjob.submit.clusters.client import AsyncClusterClient
    from daskjob.submit.clusters.cluster import Cluster

#: Its Service is dask-scheduler.
DEFAULT_NAME = "dask"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line gives for the objects."""

    name: str
    flags: Mapping[str, object]
    profile: str
    idle_seconds: int | None

    def submission(self) -> NotebookSubmission:
        """Return the objects.

        Raises
        ------
        click.UsageError
            A setting is wrong, or does not fit.
        """
        from daskjob.core.errors import Invalid
        from daskjob.submit.cli.cluster_submissions import merged_settings, versions_here
        from daskjob.submit.cluster_job.image import NoImage
        from daskjob.submit.cluster_job.notebook import notebook_of_settings
        from daskjob.submit.settings.sources import WrongSettings

        try:
            return notebook_of_settings(
                self.name,
                merged_settings(self.flags, self.profile),
                versions=versions_here(),
                idle_seconds=self.idle_seconds,
            )
        except (WrongSettings, NoImage, Invalid) as error:
            raise click.UsageError(str(error)) from error


Decorated = TypeVar("Decorated", bound=Callable[..., object])


def _size(option: str, key: str, text: str) -> Callable[[Decorated], Decorated]:
    setting = SETTINGS[key]
    metavar = setting.kind.metavar
    return click.option(option, type=SettingType(setting), metavar=metavar, help=text)


@click.command("notebook", cls=SettingsCommand, short_help="Create a notebook with a cluster.")
@click.option(
    "--save-manifests",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Create nothing: write the manifests to this file, without the token.",
)
@click.option("--force", is_flag=True, help="With --save-manifests: replace an existing file.")
@click.option("--no-connect", is_flag=True, help="Do not wait for the notebook, nor connect to it.")
@click.option(
    "--port",
    type=Port(),
    default=0,
    help="Local port of the notebook; by default 8888 if it is free, else any.",
)
@click.option(
    "--idle-timeout",
    type=Duration(),
    help="Delete all after this time without work for the workers, such as 8h.",
)
@_size("--notebook-cpu", "runner-cpu", "CPUs of the notebook, such as 2 or 500m.")
@_size("--notebook-memory", "runner-memory", "Memory of the notebook.  [default: 2Gi]")
@forward_options
@settings_options(leave_out=OF_JOBS)
@click.argument("name", required=False, default=DEFAULT_NAME, type=ClusterName())
def notebook_command(
    name: str,
    *,
    file: Path | None,
    force: bool,
    no_connect: bool,
    port: int,
    idle_timeout: int | None,
    notebook_cpu: str | None,
    notebook_memory: str | None,
    address: str,
    timeout: int,
    **given: Any,
) -> int:
    """Create JupyterLab with a Dask cluster, and connect to it, until Ctrl-C.

    \b
      daskjob cluster notebook --image my-image --workers 4 --memory 8Gi
      daskjob cluster notebook                # connects to it again
      daskjob cluster scale dask 10
      daskjob cluster delete dask             # deletes the notebook too

    Notebook, scheduler and workers run one image, which must have JupyterLab; by default Dask's own
    with your versions. `Client()` in the notebook connects to the scheduler, by default at
    dask-scheduler:8786. Notebooks are in /work, which ends with the pod: --mount a volume there to
    keep them. A token is generated; it is in a Secret, and in the printed address.

    Besides the permissions of `daskjob cluster`, it needs get and create for secrets, services and
    deployments.
    """  # noqa: D301 (click reads the backspace)
    flags, profile = given_flags(given), given["profile"] or ""
    sizes = {"runner-cpu": notebook_cpu, "runner-memory": notebook_memory}
    flags |= {key: value for key, value in sizes.items() if value}
    wanted = _Wanted(name, flags, profile, idle_timeout)
    if file is not None:
        return _save(wanted.submission(), file, force=force)
    if force:
        raise click.UsageError("--force replaces the file of --save-manifests; add that")
    place = ClusterPlace(str(flags.get("context") or ""), str(flags.get("namespace") or ""))

    async def act(client: AsyncClusterClient) -> int:
        cluster = await _ensured(client, wanted, place)
        hint = f"daskjob cluster notebook {place.options_for(cluster.ref.namespace)} {name}"
        if no_connect:
            click.echo(f"daskjob: to open it: {hint}", err=True)
            return 0
        with _what_stays(place, cluster) as start:
            await _connected(
                client, cluster, start, port=port, address=address, timeout=timeout, hint=hint
            )
        return 0

    return until_interrupt(place, act)


def _save(found: NotebookSubmission, file: Path, *, force: bool) -> int:
    from daskjob.submit.cli.yaml_text import as_yaml
    from daskjob.submit.cluster_job.notebook import notebook_name, saved_secret

    name = notebook_name(found.cluster["metadata"]["name"])
    text = as_yaml([saved_secret(found), *found.manifests]) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
    else:
        _write(file, text, force=force)
    place = found.service["metadata"].get("namespace")
    where = f" -n {place}" if place else ""
    for line in (
        f"daskjob: the notebook needs a token, which is in no file; add one to Secret {name}:",
        "  python -c 'import json, secrets; "
        'print(json.dumps({"stringData": {"token": secrets.token_urlsafe(32)}}))\' |'
        f" kubectl patch secret{where} {name} --patch-file=/dev/stdin",
    ):
        click.echo(line, err=True)
    return 0


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise click.UsageError(f"{file} exists; --force replaces it") from None
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error.strerror}") from error


@dataclass
class _Start:
    """Whether the notebook was reached."""

    is_over: bool = False


@contextmanager
def _what_stays(place: ClusterPlace, cluster: Cluster) -> Iterator[_Start]:
    """Report what an error, or Ctrl-C, leaves in the namespace, and how to delete it."""
    start = _Start()
    try:
        yield start
    except BaseException:
        if not start.is_over:
            options = place.options_for(cluster.ref.namespace)
            click.echo(
                f"daskjob: daskcluster/{cluster.name} stays, with what belongs to it; "
                f"to delete it: daskjob cluster delete {options} {cluster.name}",
                err=True,
            )
        raise


async def _ensured(client: AsyncClusterClient, wanted: _Wanted, place: ClusterPlace) -> Cluster:
    """Return the cluster, created with its notebook if it does not exist."""
    from daskjob.core.errors import Conflict, NotFound
    from daskjob.submit.clusters.notebook import is_complete

    try:
        cluster = await client.get(wanted.name)
    except NotFound:
        return await _created(client, wanted, place)
    where = f"cluster {wanted.name} of namespace {cluster.ref.namespace}"
    if not cluster.notebook:
        raise Conflict(
            f"{where} has no notebook: choose another name, or delete it: daskjob cluster delete "
            f"{wanted.name}"
        )
    if not await is_complete(await client.api(), cluster):
        await _add(client, cluster, wanted.submission())
    elif wanted.flags.keys() - {"namespace", "context"}:
        click.echo(f"daskjob: {where} exists: its settings stay as they are", err=True)
    return cluster


async def _created(client: AsyncClusterClient, wanted: _Wanted, place: ClusterPlace) -> Cluster:
    found = wanted.submission()
    for note in found.notes:
        click.echo(f"daskjob: {note}", err=True)
    cluster = await client.create(found.cluster)
    with _what_stays(place, cluster):
        await _add(client, cluster, found)
    click.echo(f"daskjob: daskcluster/{cluster.name} was created, with a notebook", err=True)
    return cluster


async def _add(client: AsyncClusterClient, cluster: Cluster, found: NotebookSubmission) -> None:
    from daskjob.submit.clusters.notebook import add_notebook

    await add_notebook(await client.api(), cluster, (found.service, found.deployment))


def note_other_port(port: int) -> None:
    """Report that the links in a notebook do not lead to the dashboard, if that is so."""
    from daskjob.core.names import PORT_DASHBOARD

    if port != PORT_DASHBOARD:
        click.echo(
            "daskjob: links to the dashboard within the notebook lead to local port "
            f"{PORT_DASHBOARD}, which is not this one; use the address above",
            err=True,
        )


async def _connected(
    client: AsyncClusterClient,
    cluster: Cluster,
    start: _Start,
    *,
    port: int,
    address: str,
    timeout: int,
    hint: str,
) -> None:
    from daskjob.submit.cli.clusters import running
    from daskjob.submit.cli.connection import notify
    from daskjob.submit.clusters.notebook import notebook_forward

    click.echo("daskjob: waiting for the notebook and the scheduler", err=True)
    async with notebook_forward(
        await client.api(),
        cluster,
        port=port,
        address=address,
        timeout_seconds=timeout,
        notify=notify,
    ) as notebook:
        cluster = await running(client, cluster.name, timeout)
        async with client.connected(
            cluster, address=address, comm=False, timeout_seconds=timeout
        ) as ways:
            click.echo(f"Notebook:   {notebook.link}")
            click.echo(f"Dashboard:  {ways.dashboard_link}")
            note_other_port(ways.dashboard.port)
            click.echo(f"daskjob: Ctrl-C ends the connection; to open it again: {hint}", err=True)
            start.is_over = True
            await client.gone(cluster)
