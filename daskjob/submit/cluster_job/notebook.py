"""A notebook beside a cluster: a Deployment with JupyterLab, and its Service. Pure.

Notebook, scheduler and workers have one image and the same settings. The token is in a Secret of
its own, which no manifest of this module has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core import names
from daskjob.core.manifests import Manifest, mappings, metadata
from daskjob.submit.cluster_job.cluster import ClusterSubmission, cluster_of_settings
from daskjob.submit.cluster_job.image import REPOSITORY, Versions
from daskjob.submit.cluster_job.job import script_job
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.cluster_job.submission import with_image
from daskjob.submit.settings.merge import Merged
from daskjob.submit.settings.table import Settings

#: Where notebooks are saved; mount a volume there to keep them.
FOLDER = "/work"
#: What a client in the notebook shows as its dashboard: where `daskjob cluster notebook` and
#: `connect` forward it to, if they can. The scheduler's own name is unknown to a user's browser.
DASHBOARD_LINK = f"http://localhost:{names.PORT_DASHBOARD}/status"
#: Every pod of the deployment has it: ``kubectl get pods -l app=distributed``.
LABELS = {"app": "distributed"}
_COMMAND = ("jupyter", "lab", "--ip=0.0.0.0", f"--port={names.PORT_NOTEBOOK}", "--no-browser")


@dataclass(frozen=True, slots=True)
class NotebookSubmission:
    """A cluster with a notebook, and what to report before."""

    cluster: Manifest
    service: Manifest
    deployment: Manifest
    notes: tuple[str, ...] = ()

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All objects but the Secret."""
        return (self.cluster, self.service, self.deployment)


def notebook_name(cluster: str) -> str:
    """Return the name of the Deployment, the Service and the Secret of a cluster's notebook."""
    return names.shortened(f"{cluster}-notebook")


def saved_secret(found: NotebookSubmission) -> Manifest:
    """Return the Secret of the token without a token, so that one file creates and deletes all."""
    meta = found.deployment["metadata"]
    return {"apiVersion": "v1", "kind": "Secret", "metadata": dict(meta), "type": "Opaque"}


def notebook_of_settings(
    name: str, merged: Merged, *, versions: Versions, idle_seconds: int | None = None
) -> NotebookSubmission:
    """Return a cluster with a notebook; by default from Dask's image with Jupyter.

    Raises
    ------
    NoImage, WrongSettings
        No image has these versions; the settings do not fit together.
    """
    merged = _with_notebook_image(merged, versions)
    found = cluster_of_settings(name, merged, versions=versions, idle_seconds=idle_seconds)
    cluster = _with_notebook(found, name)
    pod = _pod(name, merged.settings)
    meta = _meta(name, merged.settings)
    # All run in the cluster, from one image: the versions here do not matter.
    notes = tuple(note for note in found.notes if "the image's versions run" not in note)
    return NotebookSubmission(cluster, _service(meta), _deployment(meta, pod), notes)


def _with_notebook_image(merged: Merged, versions: Versions) -> Merged:
    if merged.settings.image:
        return merged
    found = with_image(merged, versions)
    image = (found.settings.image or "").replace(REPOSITORY, f"{REPOSITORY}-notebook")
    return replace(found, settings=replace(found.settings, image=image))


def _with_notebook(found: ClusterSubmission, name: str) -> Manifest:
    meta = dict(metadata(found.manifest))
    meta["labels"] = {**LABELS, **(meta.get("labels") or {})}
    noted = {names.ANNOTATION_NOTEBOOK: notebook_name(name)}
    meta["annotations"] = {**(meta.get("annotations") or {}), **noted}
    return {**found.manifest, "metadata": meta}


def _meta(name: str, settings: Settings) -> Manifest:
    labels = {**LABELS, names.LABEL_NOTEBOOK: names.label_value(name)}
    where = {"namespace": settings.namespace} if settings.namespace else {}
    return {"name": notebook_name(name), **where, "labels": labels}


def _pod(name: str, settings: Settings) -> Manifest:
    plain = replace(
        settings, name=name, set={}, retries=None, env_file=None, token=None, files=(), ttl=None
    )
    job = script_job(Program(_COMMAND, name), plain).manifest
    spec: Manifest = job["spec"]["job"]["spec"]
    spec["restartPolicy"] = "Always"
    [container] = spec["containers"]
    container["name"] = "notebook"
    given = mappings(container.get("env"))
    known = {one.get("name") for one in given}
    container["env"] = [*(one for one in _variables(name) if one["name"] not in known), *given]
    container["ports"] = [{"name": "http", "containerPort": names.PORT_NOTEBOOK}]
    # Jupyter answers this without the token.
    container["readinessProbe"] = {
        "httpGet": {"path": "/api", "port": "http"},
        "periodSeconds": 2,
        "timeoutSeconds": 5,
    }
    _add_folder(spec, container)
    return spec


def _variables(name: str) -> list[Manifest]:
    address = f"tcp://{names.scheduler_service_name(name)}:{names.PORT_COMM}"
    secret = {"name": notebook_name(name), "key": names.NOTEBOOK_TOKEN}
    return [
        {"name": names.ENV_SCHEDULER_ADDRESS, "value": address},
        {"name": "JUPYTER_TOKEN", "valueFrom": {"secretKeyRef": secret}},
        {"name": "DASK_DISTRIBUTED__DASHBOARD__LINK", "value": DASHBOARD_LINK},
    ]


def _add_folder(spec: Manifest, container: Manifest) -> None:
    """Start in a folder that any user may write to; a volume that is mounted there is used."""
    container["workingDir"] = FOLDER
    mounts = mappings(container.get("volumeMounts"))
    if any(str(mount.get("mountPath")).rstrip("/") == FOLDER for mount in mounts):
        return
    spec["volumes"] = [*mappings(spec.get("volumes")), {"name": "work", "emptyDir": {}}]
    container["volumeMounts"] = [*mounts, {"name": "work", "mountPath": FOLDER}]


def _service(meta: Mapping[str, object]) -> Manifest:
    port = {"name": "http", "port": names.PORT_NOTEBOOK, "targetPort": "http"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": dict(meta),
        "spec": {"selector": _selector(meta), "ports": [port]},
    }


def _deployment(meta: Mapping[str, object], pod: Manifest) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": dict(meta),
        "spec": {
            "replicas": 1,
            # Two notebooks would not share one volume.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _selector(meta)},
            "template": {"metadata": {"labels": meta["labels"]}, "spec": pod},
        },
    }


def _selector(meta: Mapping[str, object]) -> Manifest:
    labels = meta["labels"]
    assert isinstance(labels, dict)
    return {names.LABEL_NOTEBOOK: labels[names.LABEL_NOTEBOOK]}
