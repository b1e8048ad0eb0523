"""``daskjob install``: parses, calls ``submit.installing`` and prints."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskjob.core.errors import DaskJobError
from daskjob.submit.cli.parameters import Duration

if TYPE_CHECKING:
    from daskjob.submit.installing.cluster_objects import ClusterObjects

#: How a note begins that comes once everything is installed, and only its use is awaited.
WAITING = "waiting for the operator"
_HELP = """Install the operator in a Kubernetes cluster, or upgrade it: all that its Helm chart
installs, without Helm.

\b
daskjob install --set image.name=REGISTRY/daskjob-operator --set image.tag=dev
daskjob install --dry-run -f values.yaml | kubectl apply --server-side -f -
daskjob install --uninstall

Doing it again changes nothing. An upgrade keeps the values of the installation, and --set changes
some; --values FILE, or --reset-values, replaces all of them. The values are those of the chart
(operator-chart/README.md); --set takes a.b=c, list={x,y} and several with commas.

Permissions are checked before anything is changed. Exit code 125: nothing was installed, or the
operator is not ready in time; the message has the reason.
"""


@click.command("install", help=_HELP)
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    default="daskjob",
    show_default=True,
    help="Namespace of the operator; created if it does not exist.",
)
@click.option("--context", metavar="NAME", default="", help="Context of the kubeconfig.")
@click.option(
    "-f",
    "--values",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Values of the chart, as YAML.",
)
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="One value of the chart."
)
@click.option(
    "--reset-values", is_flag=True, help="Go back to the chart's own values, and those of --set."
)
@click.option(
    "--dry-run", is_flag=True, help="Print the objects of these values; connect to no cluster."
)
@click.option("--uninstall", is_flag=True, help="Remove what was installed in the namespace.")
@click.option(
    "--crds",
    is_flag=True,
    help="With --uninstall: remove the CRDs also if there are jobs, with all of them.",
)
@click.option("--skip-crds", is_flag=True, help="Leave the CRDs to someone else.")
@click.option(
    "--force",
    is_flag=True,
    help="Take over what Helm installed; install although "
    "another operator watches the same namespaces.",
)
@click.option(
    "--timeout",
    type=Duration(),
    default=300,
    metavar="DURATION",
    help="How long to wait for the operator.  [default: 5m]",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the operator.")
def install_command(
    namespace: str,
    context: str,
    files: Sequence[Path],
    assignments: Sequence[str],
    *,
    reset_values: bool,
    dry_run: bool,
    uninstall: bool,
    crds: bool,
    skip_crds: bool,
    force: bool,
    timeout: int,
    no_wait: bool,
) -> None:
    """Install, upgrade or uninstall the operator."""
    _check_name(namespace)
    if uninstall:
        if files or assignments or dry_run or reset_values:
            raise click.UsageError("--uninstall removes what was installed; it takes no values")
        _uninstall(namespace, context, crds=crds, seconds=float(timeout))
        return
    if crds:
        raise click.UsageError("--crds belongs to --uninstall; CRDs are installed by default")
    from daskjob.submit.installing.chart_values import layered, user_values

    values = user_values(files, assignments)
    if dry_run:
        _print(namespace, values, skip_crds=skip_crds)
        return
    keeps_values = not (files or reset_values)
    printed: list[str] = []
    waits: list[str] = []

    def changed(text: str) -> None:
        printed.append(text)
        click.echo(text)

    def noted(text: str) -> None:
        if text.startswith(WAITING):
            waits[:] = [text]
        _note(text)

    async def install(cluster: ClusterObjects) -> None:
        from daskjob.submit.installing.installation import (
            Installation,
            Options,
            earlier_values,
            summary,
        )
        from daskjob.submit.installing.release import Release

        wanted = values
        earlier = await earlier_values(cluster, namespace) if keeps_values else {}
        if earlier:
            wanted = layered(earlier, values)
            if wanted != values:
                _note("the values of the installation are kept (--reset-values: the chart's own)")
        release = Release(namespace, wanted)
        options = Options(force, skip_crds, 0.0 if no_wait else float(timeout))
        await Installation(cluster, release, options, changed, noted).install()
        click.echo(summary(release))

    with _progress_shown(namespace, printed, waits):
        _with_cluster(context, install)


@contextmanager
def _progress_shown(namespace: str, printed: Sequence[str], waits: Sequence[str]) -> Iterator[None]:
    """Report what was changed where an installation does not come to its end, and what blocks it.

    Where only the wait is left, the same command would only wait again.
    """
    try:
        yield
    except KeyboardInterrupt:
        what = f"interrupted while {waits[-1]}" if waits else "interrupted"
        _note(f"{what}; {_progress(namespace, printed, waits)}")
        raise
    except DaskJobError as error:
        if printed:
            error.add_note(_progress(namespace, printed, waits))
        raise


def _progress(namespace: str, printed: Sequence[str], waits: Sequence[str]) -> str:
    if not printed:
        return _changed(printed)
    again = "" if waits else "the same command again completes it; "
    return f"{_changed(printed)}; {again}daskjob install --uninstall -n {namespace} removes it"


def _changed(printed: Sequence[str]) -> str:
    number = len(printed)
    if not number:
        return "no object was changed yet"
    return f"{number} object{'s were' if number > 1 else ' was'} changed so far, as listed above"


def _uninstall(namespace: str, context: str, *, crds: bool, seconds: float) -> None:
    async def uninstall(cluster: ClusterObjects) -> None:
        from daskjob.submit.installing.removal import Removal

        await Removal(cluster, namespace, crds, seconds, click.echo, _note).uninstall()

    _with_cluster(context, uninstall)


def _print(namespace: str, values: Mapping[str, Any], *, skip_crds: bool) -> None:
    from daskjob.submit.cli.yaml_text import as_yaml
    from daskjob.submit.installing.installation import manifests
    from daskjob.submit.installing.release import Release

    click.echo(as_yaml(manifests(Release(namespace, values), skip_crds=skip_crds)))


def _with_cluster(context: str, use: Callable[[ClusterObjects], Coroutine[Any, Any, None]]) -> None:
    from daskjob.submit.cli.connection import check_packages, patience_with

    check_packages()
    from daskjob.submit.installing.connected import with_cluster

    with_cluster(context, use, name="install", patience=patience_with(context))


def _check_name(namespace: str) -> None:
    import re

    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise click.BadParameter(
            f"{namespace!r} is no name of a namespace; write lower-case letters, digits and '-'",
            param_hint="'--namespace'",
        )


def _note(text: str) -> None:
    click.echo(f"daskjob: {text}", err=True)
