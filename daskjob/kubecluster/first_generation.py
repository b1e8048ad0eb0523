"""The calls of the first generation of ``KubeCluster``, on today's class.

A pod template of a worker becomes a DaskCluster: the scheduler runs in a pod of the same image.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from daskjob.core import names
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.warn import warn_user
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import PODS, Selection
from daskjob.kubecluster.specs import make_cluster_spec

#: Arguments about a scheduler in the program itself, where it no longer is.
_WITHOUT_MEANING = ("host", "port", "deploy_mode", "interface", "protocol", "dashboard_address")


def cluster_of_template(pod_template: Any) -> Manifest:
    """Return a DaskCluster without a name whose workers are made from a pod template.

    Raises
    ------
    ValueError
        The template has no containers.
    """
    from daskjob.classic.first_generation import worker_spec

    worker = worker_spec(pod_template)
    container = worker["spec"]["containers"][0]
    image = {"image": container["image"]} if container.get("image") else {}
    made = make_cluster_spec("template", n_workers=0, env=container.get("env") or [], **image)
    made["spec"]["worker"] = {"replicas": 0, **worker}
    for key in ("imagePullSecrets", "serviceAccountName"):
        if key in worker["spec"]:
            made["spec"]["scheduler"]["spec"][key] = worker["spec"][key]
    return {**made, "metadata": {}}


def read_pod(path: Any) -> Any:
    """Return the pod template of a YAML file, with variables filled in."""
    from daskjob.classic.templates import read_template

    return read_template(Path(path) if isinstance(path, str) else path)


def without_old_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments without those that have no meaning any more, with a warning."""
    for name in _WITHOUT_MEANING:
        if given.pop(name, None) is not None:
            warn_user(
                f"{name} has no effect: the scheduler runs in a pod",
                FutureWarning,
            )
    return given


def workers_at(addresses: Iterable[Any], workers: Any) -> list[str]:
    """Return the names of the workers at these addresses."""
    from daskjob.classic.first_generation import workers_at as named

    return [str(name) for name in named(addresses, workers)]


def at_least(n: int, present: int) -> int:
    """Return the number of workers after ``scale_up(n)``."""
    from daskjob.classic.first_generation import total
    from daskjob.kubecluster.defaults import configured

    return total(n, present, configured("count.max"))


async def worker_pods(api: Api, cluster: ObjectRef) -> list[Any]:
    """Return the pods of all workers as Kubernetes' Python client does: ``pod.metadata.name``."""
    from daskjob.classic.models import object_of

    label = names.label_value(cluster.name)
    wanted = f"{names.LABEL_CLUSTER_NAME}={label},{names.LABEL_COMPONENT}=worker"
    found = await list_objects(api, Selection(PODS, cluster.namespace, wanted))
    return [object_of("Pod", manifest) for manifest in found.items]
