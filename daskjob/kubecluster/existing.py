"""A cluster that exists already: found, with the values that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distributed.security import Security

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings
from daskjob.kube.api import Api
from daskjob.kube.objects import get_object
from daskjob.kubecluster.arguments import Arguments
from daskjob.kubecluster.errors import NoSuchCluster, OperatorNotInstalled, ValidationError
from daskjob.kubecluster.transport_security import secret_name, security_of
from daskjob.submit.client.errors import NotInstalled
from daskjob.submit.clusters.client import AsyncClusterClient
from daskjob.submit.clusters.cluster import Cluster

#: What makes a cluster, and changes none that exists.
_MAKING = (
    "image",
    "n_workers",
    "resources",
    "env",
    "worker_command",
    "idle_timeout",
    "scheduler_service_type",
    "custom_cluster_spec",
    "jupyter",
)


async def existing(clients: AsyncClusterClient, name: str) -> Cluster:
    """Return the cluster of this name.

    Raises
    ------
    NoSuchCluster
        There is none.
    OperatorNotInstalled
        There are no clusters in this Kubernetes.
    """
    try:
        return await clients.get(name)
    except NotFound as error:
        raise NoSuchCluster(str(error)) from None
    except NotInstalled:
        raise OperatorNotInstalled() from None


async def security_of_existing(api: Api, cluster: Cluster) -> Security | None:
    """Return the certificates of a cluster that uses TLS, from its Secret.

    Raises
    ------
    ValidationError
        They are not there, or may not be read.
    """
    if cluster.protocol != "tls":
        return None
    ref = ObjectRef("Secret", cluster.ref.namespace, secret_name(cluster.name))
    try:
        return security_of(await get_object(api, ref))
    except NotFound:
        reason = f"there is no Secret {ref.name} with its certificates"
    except DaskJobError as error:
        reason = str(error)
    except (KeyError, ValueError):
        reason = f"Secret {ref.name} has no certificates"
    raise ValidationError(
        f"cluster {cluster.name} uses TLS: pass security=, a distributed.Security with the "
        f"certificates of a client; {reason}"
    )


def values_of(cluster: Cluster) -> dict[str, Any]:
    """Return the values of a cluster, by the arguments that make them; no image if it has none."""
    worker = _first_container(cluster.manifest, "worker")
    scheduler = _first_container(cluster.manifest, "scheduler")
    spec = mapping(cluster.manifest.get("spec"))
    words = [*(scheduler.get("command") or ()), *(scheduler.get("args") or ())]
    image = {"image": str(worker["image"])} if worker.get("image") else {}
    return {
        **image,
        "n_workers": cluster.desired_workers,
        "env": mappings(worker.get("env")),
        "resources": mapping(worker.get("resources")),
        "idle_timeout": spec.get("idleTimeout") or 0,
        "jupyter": "--jupyter" in words,
    }


def without_effect(arguments: Arguments, values: Mapping[str, Any]) -> list[str]:
    """Return the arguments that were given, and are others than those of the existing cluster."""
    return [
        name
        for name in _MAKING
        if name in arguments.given
        and (name not in values or values[name] != getattr(arguments, name))
    ]


def _first_container(manifest: Manifest, part: str) -> Manifest:
    """Return the first container of the scheduler or of the workers; may be empty."""
    spec = mapping(mapping(manifest.get("spec")).get(part))
    return next(iter(mappings(mapping(spec.get("spec")).get("containers"))), {})
