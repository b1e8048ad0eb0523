"""``daskjob diff``: what differs between two jobs, or between two attempts of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daskjob.submit.cli.originals import original_of, place_of
from daskjob.submit.cli.output import Format, output_option, print_objects
from daskjob.submit.cli.parameters import JobName
from daskjob.submit.cli.place import cluster_jobs, pass_jobs, wanted_place

if TYPE_CHECKING:
    from daskjob.submit.comparison.compared import Difference
    from daskjob.submit.jobs import Jobs, PodImage
    from daskjob.submit.records.originals import Original


@click.command("diff")
@click.argument("one", metavar="[A]", required=False, default="", type=JobName())
@click.argument("other", metavar="[B]", required=False, type=JobName())
@click.option(
    "--attempts",
    nargs=2,
    type=click.IntRange(0),
    metavar="N M",
    help="Compare these two attempts of A, by default of the newest job; the first one is 0.",
)
@output_option
@pass_jobs
def diff_command(
    jobs: Jobs,
    one: str,
    other: str | None,
    attempts: tuple[int, int] | None,
    output: str | None,
) -> None:
    """Show what differs between the jobs A and B, or between two attempts of A.

    The image comes first, by its digest where pods of both jobs still exist; then the versions of
    dask and Python, the spec, variables, resources, counts, the result and the times.

    \b
      daskjob diff nightly-1c4d2f8a90b7 nightly-7a01be35ff42
      daskjob diff nightly --attempts 0 1
    """  # noqa: D301 (click reads the backspace)
    from daskjob.submit.comparison.sides import difference_of, difference_of_attempts

    del jobs  # a job that is gone is compared by its record
    if (other is None) == (attempts is None):
        raise click.UsageError("name two jobs, or one job and two attempts: --attempts 0 1")
    context = click.get_current_context()
    wanted = wanted_place(context)
    first = original_of(context, one, wanted)
    if attempts is not None:
        found = difference_of_attempts(first, *attempts, _images)
        sides = [f"{first.ref.name}, attempt {number}" for number in attempts]
    else:
        second = original_of(context, other or "", wanted)
        found = difference_of(first, second, _images)
        sides = [f"{side.ref.name} ({side.where})" for side in (first, second)]
    if output in (Format.JSON, Format.YAML):
        print_objects([_plain(sides, found)], Format(output), as_list=False)
        return
    click.echo(" → ".join(sides))
    for difference in found:
        click.echo(f"  {difference}")
    if not found:
        click.echo("  no differences")


def _plain(sides: list[str], found: tuple[Difference, ...]) -> dict[str, object]:
    items = [
        {"topic": d.topic, "what": d.what, "before": d.before, "after": d.after} for d in found
    ]
    return {"sides": sides, "differences": items}


def _images(job: Original) -> tuple[PodImage, ...]:
    context = click.get_current_context()
    return cluster_jobs(context, place_of(job, wanted_place(context))).images(job.ref)
