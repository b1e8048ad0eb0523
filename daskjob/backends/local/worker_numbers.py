"""The numbers of a script's workers: 0, 1, … as a LocalCluster counts them.

A worker's number is its name in Dask, and the end of its pod's name. A worker that its nanny
restarts keeps it. Workers of manifests have the names of their pods.
"""

from __future__ import annotations

from collections.abc import Iterable

from daskjob.core import names
from daskjob.core.manifests import Manifest, metadata


class WorkerNumbers:
    """The numbers of one run's workers."""

    def __init__(self) -> None:
        self._next = 0

    def restart(self) -> None:
        """Count from 0 again, for a new cluster of the script; numbers in use are left out."""
        self._next = 0

    def numbered(self, pod: Manifest, others: Iterable[Manifest], attempt: int) -> Manifest:
        """Return a new worker pod with the next number."""
        taken = {number_of(other) for other in others}
        while str(self._next) in taken:
            self._next += 1
        # Not one further: a LocalCluster uses its last number again once that worker is gone.
        number = str(self._next)
        meta = metadata(pod)
        group = str(meta["name"]).rpartition("-worker-")[0]
        # Logs of attempts are apart.
        suffix = f"{number}-attempt-{attempt}" if attempt else number
        spec = pod["spec"]
        containers = [_with_name(container, number) for container in spec["containers"]]
        return {
            **pod,
            "metadata": {**meta, "name": names.worker_name(group, suffix)},
            "spec": {**spec, "containers": containers},
        }


def number_of(pod: Manifest) -> str:
    """Return the name that the worker of a pod has in Dask."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for variable in container.get("env") or ():
            if variable.get("name") == names.ENV_WORKER_NAME:
                return str(variable.get("value") or "")
    return ""


def _with_name(container: Manifest, number: str) -> Manifest:
    env = [v for v in container.get("env") or () if v.get("name") != names.ENV_WORKER_NAME]
    return {**container, "env": [{"name": names.ENV_WORKER_NAME, "value": number}, *env]}
