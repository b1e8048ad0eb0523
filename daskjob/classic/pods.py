"""The objects of a cluster: scheduler and worker pods, Service, PodDisruptionBudget. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskjob.classic.builders import (
    clean_pdb_template,
    clean_pod_template,
    clean_service_template,
    make_pdb_from_dict,
    make_service_from_dict,
)
from daskjob.classic.commands import modernise, runs_scheduler, runs_worker, with_default
from daskjob.classic.models import manifest_of
from daskjob.classic.naming import labels
from daskjob.core import names
from daskjob.core.command_line import has_option, words
from daskjob.core.manifests import Manifest, ObjectRef, mapping

#: Without a scheduler for this long, a worker ends.
DEATH_TIMEOUT_SECONDS = 60
SERVICE: Manifest = {
    "apiVersion": "v1",
    "kind": "Service",
    "spec": {
        "selector": {names.LABEL_CLUSTER_NAME: "", names.LABEL_COMPONENT: "scheduler"},
        "ports": [
            {"name": name, "protocol": "TCP", "port": port, "targetPort": port}
            for name, port in (("tcp-comm", 8786), ("http-dashboard", 8787))
        ],
    },
}
DISRUPTION_BUDGET: Manifest = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "spec": {
        "minAvailable": 1,
        "selector": {
            "matchLabels": {names.LABEL_CLUSTER_NAME: "", names.LABEL_COMPONENT: "scheduler"}
        },
    },
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What all objects of a cluster have in common."""

    name: str
    namespace: str
    env: Mapping[str, Any]
    affinity: str = "preferred"

    def template(self, pod: Any, component: str) -> Manifest:
        """Return a pod template with the cluster's labels, variables and placement."""
        manifest: Manifest = manifest_of(clean_pod_template(pod, self.affinity, component))
        meta = manifest["metadata"]
        meta["labels"] = {**meta["labels"], **labels(self.name, component)}
        meta["namespace"], meta["generateName"] = self.namespace, self.name
        container = manifest["spec"]["containers"][0]
        ours = [{"name": name, "value": str(value)} for name, value in self.env.items()]
        container["env"] = [*container["env"], *ours]
        for one in manifest["spec"]["containers"]:
            if one.get("env"):
                one["env"] = [_as_text(variable) for variable in one["env"]]
        return manifest


def _as_text(variable: Manifest) -> Manifest:
    """Return a variable whose value is text, as the API server needs it; YAML has numbers too."""
    value = variable.get("value")
    return variable if value is None else {**variable, "value": str(value)}


def scheduler_args(
    container: Manifest, idle_timeout: str | float | None, *, own_template: bool
) -> None:
    """Make a container run a scheduler; one of a scheduler's own template may have options."""
    modernise(container)
    if not (own_template and runs_scheduler(words(container))):
        command = container.get("command") or []
        if runs_worker(command) or command[-1:] == ["dask"]:
            # Of the workers' template: it would start a worker.
            del container["command"]
        container["args"] = ["dask", "scheduler"]
    if idle_timeout is not None:
        container["args"] = [*container.get("args", []), "--idle-timeout", str(idle_timeout)]


def scheduler_pod(template: Manifest, variables: Mapping[str, str]) -> Manifest:
    """Return the scheduler's pod."""
    pod = _pod(template, "scheduler")
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    if spec.get("restartPolicy", "Always") == "Always":
        # A scheduler that has ended because it was idle, or its client is gone, has ended.
        spec["restartPolicy"] = "OnFailure"
    _add_variables(container, {**variables, "DASKJOB_POD": pod["metadata"]["name"]})
    return pod


def worker_pod(template: Manifest, address: str, name: object) -> Manifest:
    """Return the pod of a worker of this name, which ends if it has no scheduler."""
    pod = _pod(template, "worker")
    pod["spec"].setdefault("restartPolicy", "Never")
    container = pod["spec"]["containers"][0]
    modernise(container)
    if not words(container):
        container["args"] = ["dask", "worker"]
    args = list(container.get("args") or [])
    if runs_worker(words(container)) and not has_option(words(container), "--death-timeout"):
        args = with_default(args, "--death-timeout", str(DEATH_TIMEOUT_SECONDS))
    container["args"] = [*args, "--name", str(name)] if name is not None else args
    # Last: the address of this scheduler, whatever the template has.
    _add_variables(container, {names.ENV_SCHEDULER_ADDRESS: address})
    return pod


def _pod(template: Manifest, component: str) -> Manifest:
    pod: Manifest = manifest_of(template)
    meta = pod["metadata"]
    # Known before the request, so that a request of unknown outcome can be repeated.
    meta["name"] = f"{meta.pop('generateName')}-{component}-{secrets.token_hex(3)}"
    pod["spec"]["containers"][0].setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    return {**pod, "apiVersion": "v1", "kind": "Pod"}


def _add_variables(container: Manifest, variables: Mapping[str, str]) -> None:
    kept = [one for one in container.get("env") or () if one.get("name") not in variables]
    container["env"] = [*kept, *({"name": n, "value": v} for n, v in variables.items())]


def service(template: Mapping[str, Any], identity: Identity, kind: str, like: Manifest) -> Manifest:
    """Return the Service of the scheduler; ``like``: the pod whose labels it gets."""
    made: Manifest = manifest_of(clean_service_template(make_service_from_dict(template)))
    spec = made.setdefault("spec", {})
    spec["selector"] = {**mapping(spec.get("selector")), names.LABEL_CLUSTER_NAME: identity.name}
    spec.setdefault("type", kind)
    return {**made, "apiVersion": "v1", "kind": "Service", "metadata": _meta(made, identity, like)}


def disruption_budget(template: Mapping[str, Any], identity: Identity, like: Manifest) -> Manifest:
    """Return the PodDisruptionBudget of the scheduler."""
    made: Manifest = manifest_of(clean_pdb_template(make_pdb_from_dict(template)))
    selector = made["spec"]["selector"]
    selector["matchLabels"] = {
        **mapping(selector.get("matchLabels")),
        names.LABEL_CLUSTER_NAME: identity.name,
    }
    meta = _meta(made, identity, like)
    return {**made, "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta}


def _meta(made: Manifest, identity: Identity, like: Manifest) -> Manifest:
    meta = mapping(made.get("metadata"))
    common = {**mapping(meta.get("labels")), **like["metadata"]["labels"]}
    return {**meta, "name": identity.name, "namespace": identity.namespace, "labels": common}


def owned(manifest: Manifest, owners: Sequence[ObjectRef]) -> Manifest:
    """Return an object that Kubernetes deletes with its owner, a pod."""
    references = [
        {"apiVersion": "v1", "kind": owner.kind, "name": owner.name, "uid": owner.uid}
        for owner in owners
    ]
    if not references:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": references}}
