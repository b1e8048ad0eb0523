"""What a new job needs that the manifest of the old one does not have: secret values. No I/O."""

from __future__ import annotations

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.names import ANNOTATION_SCRIPT, SUBMITTED_SCRIPT
from daskjob.submit.again import containers, own_code
from daskjob.submit.cluster_job.variables import env_secret_name
from daskjob.submit.records.secret_values import missing_values


class Incomplete(DaskJobError):
    """A job cannot be made from a record alone; the message has what to give again."""


def check_complete(job: Manifest, *, old: str, env_file: str = "") -> None:
    """Reject a job from a record that lacks secret values, which are not recorded.

    Raises
    ------
    Incomplete
        With what to give again, as flags of ``daskjob submit --like``.
    """
    flags, places = [], []
    for path, name in missing_values(job):
        is_variable = ".env[" in path
        flags.append(f"--env {name}=VALUE" if is_variable else f"--set {path}=VALUE")
        places.append(name if is_variable else path)
    secret = env_secret_name(old)
    if uses_secret(job, secret):
        flags.append(f"--env-file {env_file or 'FILE'}")
        places.append(f"the variables of {env_file or '--env-file'}")
    if not flags:
        return
    what = ", ".join(dict.fromkeys(places))
    again = " ".join(dict.fromkeys(flags))
    raise Incomplete(
        f"records of jobs have no secret values, and {old} needs {what}; give them again: "
        f"daskjob submit --like {old} {again}"
    )


def lost_code(job: Manifest, where: str = "") -> str:
    """Return the message about a job whose code cannot be copied."""
    name = metadata(job)["name"]
    place = where or "in ConfigMaps that were deleted with it"
    return f"{name} has its code {place}; submit its script again: daskjob submit SCRIPT"


def check_has_code(job: Manifest) -> None:
    """Reject a job that is gone with its code: records have none.

    Raises
    ------
    Incomplete
        With what to do instead.
    """
    if own_code(job):
        raise Incomplete(lost_code(job))


def own_secret(job: Manifest) -> str:
    """Return the name of the Secret with the job's own variables; empty if it has none."""
    name = env_secret_name(str(metadata(job)["name"]))
    return name if uses_secret(job, name) else ""


def uses_secret(job: Manifest, name: str) -> bool:
    """Return whether variables of a pod are those of a Secret."""
    refs = (
        mapping(source.get("secretRef")).get("name")
        for container in containers(job)
        for source in mappings(container.get("envFrom"))
    )
    return name in refs


def use_secret(job: Manifest, old: str, new: str) -> None:
    """Let the variables of all pods that are those of a Secret be those of another, in place."""
    for container in containers(job):
        for source in mappings(container.get("envFrom")):
            reference = mapping(source.get("secretRef"))
            if reference.get("name") == old:
                reference["name"] = new


def without_secret(job: Manifest, name: str) -> None:
    """Remove a Secret from the variables of all pods, in place."""
    for container in containers(job):
        sources = mappings(container.get("envFrom"))
        kept = [s for s in sources if mapping(s.get("secretRef")).get("name") != name]
        if len(kept) < len(sources):
            container["envFrom"] = kept
            if not kept:
                del container["envFrom"]


def is_of_this_machine(job: Manifest) -> bool:
    """Return whether a job was made from a script for this machine, where it needs no image."""
    script = mapping(metadata(job).get("annotations")).get(ANNOTATION_SCRIPT)
    return bool(script) and script != SUBMITTED_SCRIPT
