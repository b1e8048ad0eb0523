"""Manifests of interactive clusters, as dictionaries that a user may change before they are used.

They are those of dask-kubernetes, with today's commands (``dask worker``), without nulls, and
without parts that two results, or a result and an argument, share.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from daskjob.core import names
from daskjob.core.errors import WrongArgument, WrongType
from daskjob.core.manifests import Manifest
from daskjob.core.quantity import is_quantity, parse_quantity, similar_quantity
from daskjob.core.similar_names import did_you_mean

DEFAULT_IMAGE = "ghcr.io/dask/dask:latest"
DEFAULT_WORKER_COMMAND = "dask worker"
SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")

#: The dashboard of a worker, which its container and its command both name.
_PORT_WORKER_DASHBOARD = 8788

Environment = Mapping[str, object] | Sequence[Mapping[str, Any]]
#: The resources of containers that have no domain in their names.
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
Resources = Mapping[str, Mapping[str, object]]


def make_cluster_spec(
    name: str,
    image: str = DEFAULT_IMAGE,
    n_workers: int | None = None,
    resources: Resources | None = None,
    env: Environment | None = None,
    worker_command: str | Sequence[str] = DEFAULT_WORKER_COMMAND,
    scheduler_service_type: str = "ClusterIP",
    idle_timeout: int | None = 0,
    jupyter: bool = False,
) -> Manifest:
    """Return a DaskCluster.

    Parameters
    ----------
    name
        The name of the cluster.
    image
        The image of scheduler and workers.
    n_workers
        The number of workers of the default group; by default left to Kubernetes.
    resources
        The ``requests`` and ``limits`` of the scheduler and of each worker.
    env
        Variables of scheduler and workers: a dictionary, or a list as Kubernetes has it.
    worker_command
        The command of a worker, as text or as a list of words.
    scheduler_service_type
        ``ClusterIP``, ``NodePort`` or ``LoadBalancer``.
    idle_timeout
        After how many seconds without work the operator deletes the cluster; 0: never.
    jupyter
        Whether the scheduler also starts a Jupyter server.

    Raises
    ------
    WrongArgument, WrongType
        An argument that no cluster can have; they are also ``ValueError`` and ``TypeError``.
    """
    worker = make_worker_spec(
        image=image,
        n_workers=n_workers,
        resources=resources,
        env=env,
        worker_command=worker_command,
    )
    scheduler = make_scheduler_spec(
        name,
        env=env,
        resources=resources,
        image=image,
        scheduler_service_type=scheduler_service_type,
        jupyter=jupyter,
    )
    return {
        "apiVersion": names.API_VERSION,
        "kind": str(names.Kind.CLUSTER),
        "metadata": {"name": name},
        "spec": {"idleTimeout": idle_timeout or 0, "worker": worker, "scheduler": scheduler},
    }


def make_worker_spec(
    image: str = DEFAULT_IMAGE,
    n_workers: int | None = 3,
    resources: Resources | None = None,
    env: Environment | None = None,
    worker_command: str | Sequence[str] = DEFAULT_WORKER_COMMAND,
    *,
    cluster_name: str | None = None,
) -> Manifest:
    """Return the worker part of a cluster or of a group: ``replicas`` and ``spec``.

    ``cluster_name`` changes nothing: a group's object names its cluster, its pods do not.

    Raises
    ------
    WrongArgument, WrongType
        As of `make_cluster_spec`.
    """
    del cluster_name
    dashboard = ["--dashboard", "--dashboard-address", str(_PORT_WORKER_DASHBOARD)]
    container = {
        "name": "worker",
        "image": image,
        "args": [
            *command_words(worker_command),
            "--name",
            f"$({names.ENV_WORKER_NAME})",
            *dashboard,
        ],
        "env": variables(env),
        "resources": checked_resources(resources),
        "ports": [_container_port("http-dashboard", _PORT_WORKER_DASHBOARD)],
    }
    replicas = {} if n_workers is None else {"replicas": n_workers}
    return {**replicas, "spec": {"containers": [container]}}


def make_scheduler_spec(
    cluster_name: str,
    env: Environment | None = None,
    resources: Resources | None = None,
    image: str = DEFAULT_IMAGE,
    scheduler_service_type: str = "ClusterIP",
    jupyter: bool = False,
) -> Manifest:
    """Return the scheduler part of a cluster: ``spec`` and ``service``.

    Raises
    ------
    WrongArgument, WrongType
        As of `make_cluster_spec`.
    """
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    container = {
        "name": "scheduler",
        "image": image,
        "args": ["dask", "scheduler", "--host", "0.0.0.0", *(["--jupyter"] if jupyter else [])],
        "env": variables(env),
        "resources": checked_resources(resources),
        "ports": [
            _container_port(names.PORT_NAME_COMM, names.PORT_COMM),
            _container_port("http-dashboard", names.PORT_DASHBOARD),
        ],
        "readinessProbe": {
            **copy.deepcopy(health),
            "initialDelaySeconds": 0,
            "periodSeconds": 1,
            "timeoutSeconds": 300,
        },
        "livenessProbe": {**health, "initialDelaySeconds": 15, "periodSeconds": 20},
    }
    service = _service(cluster_name, scheduler_service_type)
    return {"spec": {"containers": [container]}, "service": service}


def _service(cluster: str, service_type: str) -> Manifest:
    if service_type not in SERVICE_TYPES:
        allowed = ", ".join(SERVICE_TYPES)
        raise WrongArgument(
            f"a scheduler's Service cannot be of the type {service_type!r}; choose one of {allowed}"
        )
    ports = ((names.PORT_NAME_COMM, names.PORT_COMM), ("http-dashboard", names.PORT_DASHBOARD))
    return {
        "type": service_type,
        "selector": {
            names.LABEL_CLUSTER_NAME: names.label_value(cluster),
            names.LABEL_COMPONENT: str(names.Component.SCHEDULER),
        },
        "ports": [
            {"name": name, "protocol": "TCP", "port": port, "targetPort": name}
            for name, port in ports
        ],
    }


def _container_port(name: str, port: int) -> Manifest:
    return {"name": name, "containerPort": port, "protocol": "TCP"}


def command_words(command: str | Sequence[str]) -> list[str]:
    """Return the words of a worker's command; ``dask-worker`` as ``dask worker``.

    distributed 2026.6 no longer has the former.

    Raises
    ------
    WrongArgument
        There are no words, or an open quotation mark.
    WrongType
        It is neither text nor a list.
    """
    if not isinstance(command, str | list | tuple):
        raise WrongType(f"the worker command is {command!r}; write text, or a list of words")
    try:
        words = shlex.split(command) if isinstance(command, str) else [str(w) for w in command]
    except ValueError as error:
        raise WrongArgument(f"the worker command {command!r} cannot be read: {error}") from error
    if not words:
        raise WrongArgument("the worker command is empty; write one, such as 'dask worker'")
    return ["dask", "worker", *words[1:]] if words[0] == "dask-worker" else words


def variables(env: Environment | None) -> list[Manifest]:
    """Return variables as a container has them; values become text, as Kubernetes wants them.

    Raises
    ------
    WrongType
        It is no dictionary, and no list of variables with a name.
    """
    if env is None:
        return []
    if isinstance(env, Mapping):
        return [{"name": str(key), "value": _text(key, value)} for key, value in env.items()]
    items: object = env
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise WrongType(
            f"env is {items!r}; write a dictionary, {{'NAME': 'value'}}, or a list of variables as "
            "Kubernetes has it"
        )
    return [_variable(item) for item in items]


def _variable(item: object) -> Manifest:
    if not isinstance(item, Mapping) or not item.get("name"):
        raise WrongType(
            f"env has {item!r}, which is no variable; write {{'name': 'NAME', 'value': 'value'}}"
        )
    found: Manifest = copy.deepcopy(dict(item))
    if "value" in found:
        found["value"] = _text(item["name"], found["value"])
    return found


#: The text of an object whose class has none: its address.
_OF_NO_USE = (object.__str__, object.__repr__)


def _text(name: object, value: object) -> str:
    if isinstance(value, Mapping | list | tuple | set):
        raise WrongType(
            f"the variable {name} in env is {value!r}, but a variable is text; for valueFrom, "
            "write env as a list as Kubernetes has it"
        )
    if callable(value) or (type(value).__str__, type(value).__repr__) == _OF_NO_USE:
        raise WrongType(f"the variable {name} in env is {value!r}, but a variable is text")
    return "" if value is None else str(value)


def checked_resources(resources: Resources | None) -> Manifest:
    """Return a copy of ``requests`` and ``limits``.

    Raises
    ------
    WrongArgument
        Another field, or an amount that Kubernetes cannot read.
    WrongType
        They are no dictionaries.
    """
    if resources is None:
        return {}
    example = "{'requests': {'cpu': 1}, 'limits': {'memory': '4Gi'}}"
    if not isinstance(resources, Mapping):
        raise WrongType(f"resources is {resources!r}; write a dictionary, such as {example}")
    for field, amounts in resources.items():
        if field not in ("limits", "requests"):
            raise WrongArgument(
                f"resources has the unknown field {field!r}; it has limits and requests: {example}"
            )
        if not isinstance(amounts, Mapping):
            raise WrongType(
                f"resources has {field}: {amounts!r}; write a dictionary, such as {example}"
            )
        for name, amount in amounts.items():
            _check_name(field, str(name))
            _check_amount(f"{field}.{name}", amount)
    _check_limits(resources)
    return {field: dict(amounts) for field, amounts in resources.items()}


def _check_limits(resources: Resources) -> None:
    """Reject a request of more than the limit: the API server rejects each pod that has one."""
    limits = resources.get("limits", {})
    for name, amount in resources.get("requests", {}).items():
        if name in limits and _number(amount) > _number(limits[name]):
            raise WrongArgument(
                f"resources.requests.{name} is {amount!r}, more than resources.limits.{name}, "
                f"which is {limits[name]!r}; request at most the limit"
            )


def _number(amount: Any) -> Decimal:
    return parse_quantity(amount)


def _check_name(field: str, name: str) -> None:
    if "/" in name or name in _RESOURCES or name.startswith("hugepages-"):
        return
    near = " (did you mean nvidia.com/gpu?)" if "gpu" in name.lower() else ""
    raise WrongArgument(
        f"resources.{field} has the unknown resource {name!r}"
        f"{near or did_you_mean(name.lower(), _RESOURCES)}; resources are {', '.join(_RESOURCES)}, "
        "and devices such as nvidia.com/gpu"
    )


def _check_amount(where: str, amount: object) -> None:
    if not is_quantity(amount):
        wanted = similar_quantity(amount) or "a number, '500m' for half a CPU, '4Gi' for memory"
        raise WrongArgument(
            f"resources.{where} is {amount!r}, which is no quantity of Kubernetes; write {wanted}"
        )
