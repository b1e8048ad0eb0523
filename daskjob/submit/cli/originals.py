"""The job that ``retry`` and ``submit --like`` make a new one of, and the place of the new one."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from daskjob.core.command_line import words
from daskjob.core.errors import NotFound
from daskjob.submit.again import (
    containers,
    same_again,
    use_own_code,
    use_own_files,
    uses_code,
)
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.place import cluster_jobs, of_my_jobs
from daskjob.submit.records.completeness import (
    check_complete,
    check_has_code,
    is_of_this_machine,
    own_secret,
    without_secret,
)
from daskjob.submit.records.originals import Original, my_original, original_at

if TYPE_CHECKING:
    from daskjob.core.manifests import Manifest
    from daskjob.submit.cli.submissions import Given
    from daskjob.submit.cluster_job.submission import Submission
    from daskjob.submit.local_again import EarlierRun

#: How many changes of the spec a message shows.
_SHOWN_CHANGES = 8


@dataclass(frozen=True, slots=True)
class Like:
    """A submission that is like another one, and where it goes."""

    submission: Submission
    place: ClusterPlace


def original_of(context: click.Context, name: str, place: ClusterPlace | None) -> Original:
    """Return a job of a place, by default one that was started here."""
    if place is None:
        return my_original(of_my_jobs(context), name)
    jobs = cluster_jobs(context, place)
    return original_at(jobs, name, context=place.context, namespace=place.namespace)


def earlier_of(context: click.Context, name: str) -> EarlierRun | Original:
    """Return a job that was started here: of this machine, also without its folder, or a cluster's.

    Raises
    ------
    NotFound
        There is neither such a job nor its record.
    """
    from daskjob.submit.local import LocalJobs

    local = LocalJobs()
    try:
        original = my_original(of_my_jobs(context), name)
    except NotFound:
        with contextlib.suppress(NotFound):
            return local.earlier_run(name)
        raise
    if original.cluster is not None:
        return original
    return local.earlier_run(original.ref.name, original.ref.uid)


def place_of(original: Original, given: ClusterPlace | None) -> ClusterPlace:
    """Return where a new job goes: to the original's place, but for what was given."""
    from daskjob.submit.records.clusters import usable_kubeconfig

    cluster = original.cluster
    namespace = original.ref.namespace if cluster else ""
    found = ClusterPlace(
        cluster.context if cluster else "",
        namespace,
        (usable_kubeconfig(cluster) or "") if cluster else "",
    )
    if given and given.context and given.context != found.context:
        found = replace(found, context=given.context, kubeconfig="")
    return found


def like_submission(context: click.Context, name: str, given: Given) -> Like:
    """Return the submission of a job that is like another one, with the changes of flags.

    Raises
    ------
    click.UsageError
        A setting is wrong, or the other job cannot run on a cluster.
    """
    from daskjob.submit.cli.submissions import changed_manifest

    wanted = ClusterPlace(
        str(given.flags.get("context") or ""), str(given.flags.get("namespace") or "")
    )
    asked = wanted if wanted.context or wanted.namespace else None
    original = _original_for(context, name, asked)
    if is_of_this_machine(original.manifest):
        raise click.UsageError(
            f"{original.ref.name} is a script's job on this machine, with its folders and without "
            f"an image; submit the script: {_submission_of(original.manifest)}"
        )
    base = same_again(original.manifest)
    secret = own_secret(original.manifest)
    if secret and given.flags.get("env-file"):
        without_secret(base, secret)
    place = place_of(original, asked)
    if place.namespace:
        base["metadata"]["namespace"] = place.namespace
    found = changed_manifest(base, given)
    if original.from_record:
        check_complete(found.manifest, old=original.ref.name, env_file=original.env_file)
    notes = [_note(original, base, found.manifest), *found.notes]
    if secret and not given.flags.get("env-file") and not original.from_record:
        notes.append(secret_note(original, secret))
    use_own_files(found.manifest, original.ref.name)
    code = _code_for(context, found.manifest, original)
    return Like(replace(found, notes=tuple(notes), code=code), place)


def _code_for(context: click.Context, new: Manifest, original: Original) -> tuple[Manifest, ...]:
    """Let a new job use a copy of the code that belongs to its original, in place; return that."""
    if not uses_code(new, original.manifest):
        return ()
    if original.from_record:
        check_has_code(original.manifest)
    use_own_code(new, original.ref.name)
    client = cluster_jobs(context, place_of(original, None))
    return tuple(client.code_for(new, original.manifest))


def _original_for(context: click.Context, name: str, place: ClusterPlace | None) -> Original:
    """Return the job at a place, else one of this machine: the place is where the new one goes."""
    try:
        return original_of(context, name, place)
    except NotFound:
        if place is None:
            raise
        with contextlib.suppress(NotFound):
            original = my_original(of_my_jobs(context), name)
            if original.cluster is None:
                return original
        raise


def _submission_of(job: Manifest) -> str:
    """Return the command that submits the script of a job of this machine."""
    runner = next(containers(job), {})
    command = [word.replace("$$", "$") for word in words(runner)]
    if command[:1] == ["python"]:
        command = command[1:]
    return shlex.join(["daskjob", "submit", *command])


def secret_note(original: Original, secret: str) -> str:
    """Return the note on a new job that uses the Secret of the first one."""
    name = original.ref.name
    return (
        f"the new job uses the variables in the Secret {secret}, which is deleted with {name}; "
        f"with a Secret of its own: daskjob submit --like {name} --env-file FILE"
    )


def _note(original: Original, before: Manifest, after: Manifest) -> str:
    from daskjob.submit.records.secret_values import without_secret_values
    from daskjob.submit.submission import differences

    source = ", from its record" if original.from_record else ""
    old, new = (
        {k: v for k, v in without_secret_values(job)["spec"].items() if k != "submissionID"}
        for job in (before, after)
    )
    changes = differences(old, new, _SHOWN_CHANGES)
    changed = "\n  ".join(["changed:", *changes]) if changes else "nothing else is changed"
    return (
        f"like {original.ref.name} ({original.where}{source}); the new job has a name and a token "
        f"of its own; {changed}"
    )
