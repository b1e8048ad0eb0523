"""Pod templates from arguments or dictionaries, and what every pod of a cluster has.

The results equal those of dask-kubernetes 2024.4.2, except that no result shares a dictionary with
an argument, a default or another result, and no argument is changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from daskjob.classic.models import V1Object, fields_of, manifest_of, object_of
from daskjob.core.errors import WrongArgument, WrongType
from daskjob.core.manifests import Manifest, mapping
from daskjob.core.messages import cut
from daskjob.core.quantity import is_quantity, similar_quantity

#: The name of the container of `make_pod_spec`.
CONTAINER = "dask-container"
AFFINITIES = ("none", "preferred", "required")
#: Two: GKE rejects a taint of a node pool whose key has a ``/``.
_DEDICATED = ("k8s.dask.org/dedicated", "k8s.dask.org_dedicated")
_PURPOSE = "k8s.dask.org/node-purpose"


def make_pod_spec(
    image: str,
    labels: Mapping[str, str] | None = None,
    threads_per_worker: int = 1,
    env: Mapping[str, Any] | None = None,
    extra_container_config: Mapping[str, Any] | None = None,
    extra_pod_config: Mapping[str, Any] | None = None,
    resources: str | None = None,
    memory_limit: float | str | None = None,
    memory_request: float | str | None = None,
    cpu_limit: float | str | None = None,
    cpu_request: float | str | None = None,
    gpu_limit: int | None = None,
    annotations: Mapping[str, str] | None = None,
) -> V1Object:
    """Return a pod template for workers.

    Parameters
    ----------
    image
        The container image.
    labels, annotations
        Metadata of the pods.
    threads_per_worker
        Threads of a worker.
    env
        Environment variables.
    extra_container_config, extra_pod_config
        More fields of the container and of the PodSpec, by their names in manifests. Mappings are
        merged, lists appended, and other values replaced.
    resources
        Resources for tasks, such as ``"GPU=2 MEM=10e9"``.
    memory_limit, cpu_limit, gpu_limit
        Limits of the container. A worker gets the memory limit too, as ``--memory-limit``.
    memory_request, cpu_request
        Requests of the container.

    Raises
    ------
    ValueError
        An extra field does not exist, or an amount is no quantity of Kubernetes.

    Examples
    --------
    >>> make_pod_spec(image="ghcr.io/dask/dask:latest", memory_limit="4G", memory_request="4G")
    """
    for name, amount in (
        ("memory_limit", memory_limit),
        ("memory_request", memory_request),
        ("cpu_limit", cpu_limit),
        ("cpu_request", cpu_request),
    ):
        _check_amount(name, amount)
    args = ["dask-worker", "$(DASK_SCHEDULER_ADDRESS)", "--nthreads", str(threads_per_worker)]
    args += ["--death-timeout", "60"]
    args += ["--memory-limit", str(memory_limit)] if memory_limit else []
    args += ["--resources", str(resources)] if resources else []
    limits = {"cpu": cpu_limit, "nvidia.com/gpu": gpu_limit, "memory": memory_limit}
    requests = {"cpu": cpu_request, "memory": memory_request}
    container: Manifest = {
        "name": CONTAINER,
        "image": image,
        "args": args,
        "env": [{"name": name, "value": value} for name, value in checked_env(env).items()],
        "resources": {
            "limits": {name: amount for name, amount in limits.items() if amount},
            "requests": {name: amount for name, amount in requests.items() if amount},
        },
    }
    _add_fields("Container", container, extra_container_config or {})
    spec: Manifest = {"restartPolicy": "Never", "containers": [container]}
    _add_fields("PodSpec", spec, extra_pod_config or {})
    meta = {"labels": dict(labels or {}), "annotations": dict(annotations or {})}
    return object_of("Pod", {"metadata": meta, "spec": spec})


def _check_amount(name: str, amount: object) -> None:
    if amount is not None and not is_quantity(amount):
        wanted = similar_quantity(amount) or "'500m' for half a CPU, '4Gi' for memory"
        raise WrongArgument(
            f"{name} is {amount!r}, which is no quantity of Kubernetes; write {wanted}"
        )


def checked_env(env: object) -> Mapping[str, Any]:
    """Return variables by name.

    Raises
    ------
    WrongType
        They are no dictionary.
    """
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise WrongType(f"env is {env!r}; write a dictionary, such as {{'NAME': 'value'}}")
    return env


def _add_fields(kind: str, given: Manifest, extra: Mapping[str, Any]) -> None:
    known = fields_of(kind)
    for name, value in extra.items():
        if name not in known:
            raise WrongArgument(f"{kind} has no field {name!r}: Attribute must be one of {known}")
        given[name] = _merged(given.get(name), manifest_of(value), append=True)


def _merged(old: Any, new: Any, *, append: bool = False) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    if not (isinstance(old, list) and isinstance(new, list)):
        return new
    if append:
        return [*old, *new]
    # Within a mapping, lists are merged item by item.
    both = [_merged(*pair) for pair in zip(old, new, strict=False)]
    return [*both, *old[len(new) :], *new[len(old) :]]


def make_pod_from_dict(dict_: Mapping[str, Any]) -> V1Object:
    """Return the pod template of a dictionary; containers without a name get one.

    Raises
    ------
    ValueError
        It has no containers.
    """
    manifest = manifest_of(dict_) if isinstance(dict_, Mapping) else {}
    spec = mapping(manifest.get("spec"))
    containers = spec.get("containers")
    if not (isinstance(containers, list) and containers and all(map(_is_mapping, containers))):
        shown = cut(repr(dict_), 200)
        raise WrongArgument(
            f"a pod template needs spec.containers with a container; found: {shown}"
        )
    named = [{"name": f"dask-{i}", **given} for i, given in enumerate(containers)]
    return object_of("Pod", {**manifest, "spec": {**spec, "containers": named}}, convert=True)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def make_service_from_dict(dict_: Mapping[str, Any]) -> V1Object:
    """Return the Service of a dictionary."""
    return object_of("Service", dict_, convert=True)


def make_pdb_from_dict(dict_: Mapping[str, Any]) -> V1Object:
    """Return the PodDisruptionBudget of a dictionary."""
    return object_of("PodDisruptionBudget", dict_, convert=True)


def clean_pod_template(
    pod_template: Any, apply_default_affinity: str = "preferred", pod_type: str = "worker"
) -> V1Object:
    """Return a copy of a pod template with metadata, labels, tolerations and node affinity.

    Raises
    ------
    TypeError
        It is a dictionary or a path.
    ValueError
        ``apply_default_affinity`` is neither required, preferred nor none.
    """
    if isinstance(pod_template, Mapping):
        raise WrongType("this is a dictionary: use make_pod_from_dict, or KubeCluster.from_dict")
    if isinstance(pod_template, str):
        raise WrongType("this is text: for the path of a file, use KubeCluster.from_yaml")
    check_affinity(apply_default_affinity)
    manifest: Manifest = manifest_of(pod_template)
    meta = manifest.setdefault("metadata", {})
    meta.setdefault("labels", {})
    spec = manifest["spec"]
    spec["containers"][0].setdefault("env", [])
    spec["tolerations"] = [*spec.get("tolerations", []), *_tolerations(pod_type)]
    if apply_default_affinity != "none":
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        _add_affinity(affinity, apply_default_affinity, pod_type)
    return object_of("Pod", manifest)


def check_affinity(value: str) -> None:
    """Raise ``ValueError`` if this is no default affinity."""
    if value not in AFFINITIES:
        raise WrongArgument(
            'Attribute apply_default_affinity must be one of "none", "preferred", or "required"; '
            f"found {value!r}"
        )


def _tolerations(pod_type: str) -> list[Manifest]:
    common = {"operator": "Equal", "value": pod_type, "effect": "NoSchedule"}
    return [{"key": key, **common} for key in _DEDICATED]


def _add_affinity(affinity: Manifest, how: str, pod_type: str) -> None:
    term = {"matchExpressions": [{"key": _PURPOSE, "operator": "In", "values": [pod_type]}]}
    if how == "required":
        selector = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
        selector.setdefault("nodeSelectorTerms", []).append(term)
    else:
        preferred = affinity.setdefault("preferredDuringSchedulingIgnoredDuringExecution", [])
        preferred.append({"preference": term, "weight": 100})


def clean_service_template(service_template: Any) -> V1Object:
    """Return a copy of a Service with metadata and labels."""
    return object_of("Service", _with_labels(manifest_of(service_template)))


def clean_pdb_template(pdb_template: Any) -> V1Object:
    """Return a copy of a PodDisruptionBudget with metadata, labels and a selector."""
    manifest = _with_labels(manifest_of(pdb_template))
    manifest["spec"].setdefault("selector", {})
    return object_of("PodDisruptionBudget", manifest)


def _with_labels(manifest: Manifest) -> Manifest:
    copied = copy.deepcopy(manifest)
    copied.setdefault("metadata", {}).setdefault("labels", {})
    return copied
