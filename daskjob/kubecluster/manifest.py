"""The DaskCluster of a ``KubeCluster``, and the DaskWorkerGroup of an additional group. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from daskjob.core import names
from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings, metadata
from daskjob.core.warn import warn_user
from daskjob.kubecluster.arguments import Arguments
from daskjob.kubecluster.errors import ValidationError
from daskjob.kubecluster.specs import make_cluster_spec

#: What a copied manifest may have, and the API server rejects.
_OF_THE_SERVER = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")
_OF_A_LEASE = (names.ANNOTATION_LEASE_DURATION, names.ANNOTATION_LEASE_RENEW_TIME)


def cluster_manifest(arguments: Arguments, annotations: Mapping[str, str]) -> Manifest:
    """Return the DaskCluster to create, with these annotations.

    Raises
    ------
    ValidationError
        An argument cannot be applied to the custom spec.
    """
    custom = arguments.custom_cluster_spec
    made = _built(arguments) if custom is None else _customised(custom, arguments)
    meta = metadata(made)
    # Those of the cluster that a custom spec was copied from are no lease of the new one.
    kept = {k: v for k, v in mapping(meta.get("annotations")).items() if k not in _OF_A_LEASE}
    noted = {**kept, **annotations}
    own = {key: value for key, value in meta.items() if key not in _OF_THE_SERVER}
    named = {**own, "name": arguments.name, "annotations": noted}
    if arguments.namespace:
        named["namespace"] = arguments.namespace
    return {
        **made,
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.CLUSTER),
        "metadata": named,
    }


def _built(arguments: Arguments) -> Manifest:
    return make_cluster_spec(
        arguments.name,
        image=arguments.image,
        n_workers=arguments.n_workers,
        resources=arguments.resources,
        env=arguments.env,
        worker_command=arguments.worker_command,
        scheduler_service_type=arguments.scheduler_service_type,
        idle_timeout=arguments.idle_timeout,
        jupyter=arguments.jupyter,
    )


def _customised(custom: Manifest, arguments: Arguments) -> Manifest:
    """Return a custom spec with the arguments that were given beside it."""
    made = copy.deepcopy(custom)
    given = arguments.given
    if "worker_command" in given:
        raise ValidationError(
            "worker_command cannot be applied to custom_cluster_spec: write the command into "
            "spec.worker.spec.containers[0].args"
        )
    spec = made["spec"]
    worker, scheduler = spec.setdefault("worker", {}), spec.setdefault("scheduler", {})
    if "n_workers" in given:
        worker["replicas"] = arguments.n_workers
    if "idle_timeout" in given:
        spec["idleTimeout"] = arguments.idle_timeout
    if "scheduler_service_type" in given:
        scheduler.setdefault("service", {})["type"] = arguments.scheduler_service_type
    for part in (scheduler, worker):
        _apply(part, arguments)
    if "jupyter" in given and arguments.jupyter:
        _add_word(scheduler, "--jupyter")
    return made


def _apply(part: Manifest, arguments: Arguments) -> None:
    """Apply image, resources and variables to the first container."""
    for container in mappings(mapping(part.get("spec")).get("containers"))[:1]:
        if "image" in arguments.given:
            container["image"] = arguments.image
        if "resources" in arguments.given:
            container["resources"] = copy.deepcopy(arguments.resources)
        if "env" in arguments.given:
            ours = {variable["name"] for variable in arguments.env}
            kept = [v for v in mappings(container.get("env")) if v.get("name") not in ours]
            container["env"] = [*kept, *copy.deepcopy(arguments.env)]


def _add_word(part: Manifest, word: str) -> None:
    for container in mappings(mapping(part.get("spec")).get("containers"))[:1]:
        key = "args" if container.get("args") else "command"
        words = container.get(key) or ["dask", "scheduler"]
        if word not in words:
            container[key] = [*words, word]


def group_manifest(cluster: ObjectRef, name: str, worker: Manifest) -> Manifest:
    """Return an additional group of a cluster, which is deleted with it."""
    label = {
        names.LABEL_CLUSTER_NAME: names.label_value(cluster.name),
        names.LABEL_COMPONENT: str(names.Component.GROUP),
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.GROUP),
        "metadata": {
            "name": names.group_name(cluster.name, name),
            "namespace": cluster.namespace,
            "labels": label,
            "ownerReferences": [_owner(cluster)],
        },
        "spec": {"cluster": cluster.name, "worker": worker},
    }


def autoscaler_manifest(cluster: str, group: ObjectRef, minimum: int, maximum: int) -> Manifest:
    """Return the autoscaler of an additional group, which is deleted with the group."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.AUTOSCALER),
        "metadata": {
            "name": group.name,
            "namespace": group.namespace,
            "labels": {names.LABEL_CLUSTER_NAME: names.label_value(cluster)},
            "ownerReferences": [_owner(group)],
        },
        "spec": {
            "cluster": cluster,
            "workerGroup": group.name,
            "minimum": minimum,
            "maximum": maximum,
        },
    }


def _owner(owner: ObjectRef) -> Manifest:
    # Not a controller: what a cluster controls follows its spec, and this is not in it.
    return {
        "apiVersion": names.API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }


def warn_of_ignored_name(arguments: Arguments, name: object) -> None:
    """Warn if a name was given, and the custom spec has another one."""
    if "name" in arguments.given and name != arguments.name:
        warn_user(
            f"the cluster is named {arguments.name}, as in custom_cluster_spec, and not {name}",
        )
