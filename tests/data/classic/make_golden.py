"""Runs the builders of dask-kubernetes 2024.4.2 on cases from its input; writes both to a file.

    python -m tests.classic.golden

runs it in an environment of its own, and writes `golden.json`. It imports nothing of daskjob.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import warnings
from typing import Any

import dask
from dask_kubernetes.classic.kubecluster import KubeCluster, Scheduler, Worker
from dask_kubernetes.common import objects

warnings.simplefilter("ignore")
NAME, NAMESPACE, ADDRESS = "dask-jane-1", "team", "tcp://dask-jane-1.team:8786"


def plain(value: Any) -> Any:
    return objects.SERIALIZATION_API_CLIENT.sanitize_for_serialization(value)


async def pods(pod: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """What a cluster makes of a worker's pod template."""
    cluster = KubeCluster(copy.deepcopy(pod), asynchronous=True, **arguments)
    cluster._generate_name, cluster.namespace = NAME, NAMESPACE
    affinity = cluster.apply_default_affinity

    def filled(template: Any, kind: str) -> Any:
        clean = objects.clean_pod_template(template, affinity, kind)
        return cluster._fill_pod_templates(clean, kind)

    common = {"cluster": cluster, "core_api": None, "policy_api": None, "namespace": NAMESPACE}
    base = cluster.scheduler_pod_template or copy.deepcopy(cluster.pod_template)
    base.spec.containers[0].args = ["dask-scheduler"]
    scheduler = Scheduler(
        idle_timeout=cluster._idle_timeout, pod_template=filled(base, "scheduler"), **common
    )
    worker = Worker(ADDRESS, name=0, pod_template=filled(cluster.pod_template, "worker"), **common)
    return {"worker": plain(worker.pod_template), "scheduler": plain(scheduler.pod_template)}


def run(case: dict[str, Any]) -> Any:
    function, arguments = case["function"], copy.deepcopy(case.get("arguments", {}))
    try:
        if function == "pods":
            return {"result": asyncio.run(pods(**arguments))}
        if function == "clean_pod_template":
            pod = objects.make_pod_from_dict(arguments.pop("pod"))
            return {"result": plain(objects.clean_pod_template(pod, **arguments))}
        if function in ("clean_service_template", "clean_pdb_template"):
            kind = function.split("_")[1]
            made = getattr(objects, f"make_{kind}_from_dict")(arguments["template"])
            return {"result": plain(getattr(objects, function)(made))}
        return {"result": plain(getattr(objects, function)(**arguments))}
    except (ValueError, TypeError) as error:
        return {"error": type(error).__name__}


templates = {
    name: dask.config.get(f"kubernetes.{name}")
    for name in ("scheduler-service-template", "scheduler-pdb-template")
}
cases = [{**case, **run(case)} for case in json.load(sys.stdin)]
with open(sys.argv[1], "w") as file:
    json.dump({"templates": templates, "cases": cases}, file, indent=1, sort_keys=True)
    file.write("\n")
