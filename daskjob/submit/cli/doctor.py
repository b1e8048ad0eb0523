"""``daskjob doctor``: parses, calls ``submit.doctor`` and prints a line as soon as it is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from daskjob.submit.cli.cluster_place import ClusterPlace

if TYPE_CHECKING:
    from daskjob.submit.doctor.cluster_checks import Wanted
    from daskjob.submit.doctor.finding import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}
_HELP = """Check what jobs need; each line with what to do.

Without -n and --context: what runs of this machine need, and whether a package index answers from
here, within 5 s. With one of them: the connection, the
versions of Kubernetes, CRDs and operator, permissions, Pod Security, quota and limits of a
namespace. --job also starts a pod (image, DNS) and a small job there, and deletes both. Nothing
else is changed. Exit code 1 if a check failed.
"""


@click.command("doctor", help=_HELP)
@click.option("-n", "--namespace", metavar="NAME", help="Check this namespace of a cluster.")
@click.option("--context", metavar="NAME", help="Check the cluster of this context.")
@click.option("--job", "with_job", is_flag=True, help="Run a pod and a small job, and delete both.")
@click.option(
    "--image",
    metavar="IMAGE",
    default="",
    help="Image of these; by default, that of this environment's versions.",
)
@click.option("-o", "--output", type=click.Choice(["json"]), help="Output format.")
def doctor_command(
    namespace: str | None,
    context: str | None,
    *,
    with_job: bool,
    image: str,
    output: str | None,
) -> int:
    """Check what jobs need, here or in a cluster."""
    for name, value in (("--namespace", namespace), ("--context", context)):
        if value == "":
            raise click.BadParameter("write a name", param_hint=f"'{name}'")
    place = ClusterPlace(context or "", namespace or "") if namespace or context else None
    if place is None and (with_job or image):
        raise click.UsageError("--job and --image check a cluster: name it with -n or --context")
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if output is None:
            _print(finding)

    if place is None:
        _check_machine(found)
    else:
        from daskjob.submit.doctor.cluster_checks import Wanted

        _check_cluster(place, Wanted(image, with_job), found)
    if output is not None:
        click.echo(json.dumps({"checks": [one.as_dict() for one in findings]}, indent=2))
    elif place is None:
        click.echo("For a cluster: daskjob doctor -n NAMESPACE [--job]", err=True)
    return int(any(one.state == "failed" for one in findings))


def _check_machine(found: Callable[[Finding], None]) -> None:
    from daskjob.submit.doctor.machine_checks import machine_checks

    for finding in machine_checks():
        found(finding)


def _check_cluster(place: ClusterPlace, wanted: Wanted, found: Callable[[Finding], None]) -> None:
    from daskjob.submit.cli.connection import check_packages, patience_with

    check_packages()
    from daskjob.submit.doctor.examination import examine_cluster

    patience = patience_with(place.context)
    examine_cluster(place.context, place.namespace, wanted, found, patience=patience)


def _print(finding: Finding) -> None:
    state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
    text = " ".join(finding.text.split())
    click.echo(f"{state} {finding.check}: {text}")
    if finding.fix:
        click.echo(f"         → {finding.fix}")
