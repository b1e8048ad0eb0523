"""A new job that is like another one: which parts it takes over, and what is its own. No I/O."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from daskjob.core.manifests import Manifest, mapping, mappings, metadata
from daskjob.core.names import (
    ANNOTATION_OPEN_TO_SCRIPT,
    ANNOTATION_SCRIPT,
    code_prefix,
    files_name,
    is_private,
)
from daskjob.submit.submission_names import label_of, new_token, submission_name

#: Requests about one job, and its identity; a new job has its own.
OF_ONE_JOB = ("cancel", "suspend", "submissionID")


def same_again(job: Manifest) -> Manifest:
    """Return the manifest of a new job with the same spec, to be named anew."""
    meta = metadata(job)
    kept = {
        part: {key: value for key, value in mapping(meta.get(part)).items() if _is_kept(key)}
        for part in ("labels", "annotations")
    }
    spec = {k: v for k, v in mapping(job.get("spec")).items() if k not in OF_ONE_JOB}
    return {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "metadata": {
            "generateName": label_of(str(meta["name"])),
            **{part: values for part, values in kept.items() if values},
        },
        "spec": copy.deepcopy(spec),
    }


def named_again(job: Manifest, token: str | None = None) -> Manifest:
    """Return a new job with the same spec and the name of a token, by default of a new one."""
    used = token or new_token()
    made = same_again(job)
    name = submission_name(str(metadata(made)["generateName"]), used)
    namespace = {k: v for k, v in metadata(job).items() if k == "namespace"}
    kept = {k: v for k, v in metadata(made).items() if k != "generateName"}
    meta = {"name": name, **namespace, **kept}
    made = {**made, "metadata": meta, "spec": {**made["spec"], "submissionID": used}}
    use_own_files(made, str(metadata(job)["name"]))
    use_own_code(made, str(metadata(job)["name"]))
    return made


def as_sent(job: Manifest) -> Manifest:
    """Return a job without what the API server and the operator have written."""
    meta = metadata(job)
    sent = ("name", "namespace", "labels", "annotations")
    kept = {key: meta[key] for key in sent if key in meta}
    parts: Manifest = {key: job[key] for key in ("apiVersion", "kind", "spec") if key in job}
    return {**parts, "metadata": kept}


def retry_token(job: Manifest, number: int) -> str:
    """Return the token of the n-th retry of a job, from 1: a repeated one makes no second job."""
    uid = str(metadata(job).get("uid") or "")
    return f"retry-{number}-of-{uid}" if uid else new_token()


def use_own_files(job: Manifest, old: str) -> None:
    """Let volumes with the files of the job ``old`` be those of this one, in place.

    The ConfigMap is deleted with its job.
    """
    new = str(metadata(job)["name"])
    for spec in pod_specs(job):
        for volume in mappings(spec.get("volumes")):
            source = mapping(volume.get("configMap"))
            if source.get("name") == files_name(old):
                source["name"] = files_name(new)


def own_code(job: Manifest) -> list[str]:
    """Return the names of the ConfigMaps with the code of a job that are deleted with it."""
    code = mapping(mapping(job.get("spec")).get("code"))
    prefix = code_prefix(str(metadata(job).get("name") or ""))
    found = code.get("configMaps")
    return [str(n) for n in found if str(n).startswith(prefix)] if isinstance(found, list) else []


def uses_code(job: Manifest, other: Manifest) -> bool:
    """Return whether a job has the code that belongs to another one."""
    code = mapping(mapping(job.get("spec")).get("code")).get("configMaps")
    return isinstance(code, list) and bool(set(own_code(other)) & set(map(str, code)))


def use_own_code(job: Manifest, old: str) -> None:
    """Let the code that is the job ``old``'s be a copy that belongs to this one, in place."""
    code = mapping(mapping(job.get("spec")).get("code"))
    if isinstance(code.get("configMaps"), list):
        names = [copied_name(str(n), old, str(metadata(job)["name"])) for n in code["configMaps"]]
        code["configMaps"] = names


def copied_name(name: str, old: str, new: str) -> str:
    """Return the name of the copy of a ConfigMap with code; another one's own name stays."""
    if not name.startswith(code_prefix(old)):
        return name
    return code_prefix(new) + name.removeprefix(code_prefix(old))


def pod_specs(job: Manifest) -> Iterator[Manifest]:
    """Yield the PodSpecs of a job."""
    spec = mapping(job.get("spec"))
    cluster = mapping(mapping(spec.get("cluster")).get("spec"))
    templates = (spec.get("job"), cluster.get("scheduler"), cluster.get("worker"))
    for template in (*templates, *mappings(cluster.get("workerGroups"))):
        yield mapping(mapping(template).get("spec"))


def containers(job: Manifest) -> Iterator[Manifest]:
    """Yield the containers of all pods of a job."""
    for spec in pod_specs(job):
        yield from mappings(spec.get("initContainers"))
        yield from mappings(spec.get("containers"))


def _is_kept(key: str) -> bool:
    """Return whether a new job has this label or annotation too; one made from a script has."""
    return key in (ANNOTATION_SCRIPT, ANNOTATION_OPEN_TO_SCRIPT) or not is_private(key)
