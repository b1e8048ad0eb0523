"""The scheduler's Service."""

from __future__ import annotations

import copy

from daskjob.core import names
from daskjob.core.desired.metadata import inherited, object_metadata
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskCluster
from daskjob.core.spec.pod import PodTemplate


def scheduler_service(cluster: DaskCluster) -> Manifest:
    """Return the Service of a cluster's scheduler.

    Its selector is always set from the cluster's name: with a ``generateName``, the selector in the
    manifest names another cluster. It publishes not-ready addresses, so that workers and runner
    connect as soon as the scheduler listens (design §2.2).
    """
    spec: Manifest = copy.deepcopy(cluster.spec.service)
    spec.setdefault("type", "ClusterIP")
    if not spec.get("ports"):
        spec["ports"] = [
            _port(names.PORT_NAME_COMM, names.PORT_COMM),
            _port(names.PORT_NAMES_DASHBOARD[0], names.PORT_DASHBOARD),
        ]
    spec["selector"] = {
        names.LABEL_CLUSTER_NAME: names.label_value(cluster.meta.name),
        names.LABEL_COMPONENT: str(names.Component.SCHEDULER),
    }
    spec["publishNotReadyAddresses"] = True
    base = dict(spec["selector"])
    labels = inherited(cluster.meta.labels, cluster.spec.scheduler.labels, base)
    annotations = inherited(cluster.meta.annotations, cluster.spec.scheduler.annotations, {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(
            names.scheduler_service_name(cluster.meta.name),
            cluster.meta,
            labels,
            annotations,
        ),
        "spec": spec,
    }


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "protocol": "TCP", "port": number, "targetPort": number}


def dashboard_port(service: Manifest) -> int:
    """Return a Service's dashboard port: by name, then by number (design §2.2)."""
    return int(_dashboard(service).get("port", names.PORT_DASHBOARD))


def dashboard_container_port(service: Manifest, scheduler: PodTemplate) -> int:
    """Return the port of the dashboard in the scheduler's pod.

    It is the target of the Service's dashboard port: a number, or a container's named port.
    """
    target = _dashboard(service).get("targetPort")
    for container in scheduler.containers:
        for port in container.get("ports") or ():
            if target and port.get("name") == target and isinstance(port.get("containerPort"), int):
                return int(port["containerPort"])
    return target if isinstance(target, int) else dashboard_port(service)


def _dashboard(service: Manifest) -> Manifest:
    """Return a Service's dashboard port as declared; empty if there is none."""
    ports = [p for p in service.get("ports") or () if isinstance(p, dict)]
    for name in names.PORT_NAMES_DASHBOARD:
        for port in ports:
            if port.get("name") == name and isinstance(port.get("port"), int):
                return port
    return {}
