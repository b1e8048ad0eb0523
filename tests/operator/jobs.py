"""DaskJobs for tests of the operator: real ones, and ones with cheap fake pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.cluster.fake_nodes import ENDS_AFTER, FAILURES, fake_placement
from tests.cluster.plugin import Kubectl
from tests.waiting import wait_until

Manifest = dict[str, Any]

#: A job, and what daskjob makes for it.
KINDS_OF_A_JOB = ("daskjobs", "daskclusters", "daskworkergroups", "pods", "services")
SLEEPS = ["sleep", "3600"]


def container(image: str, name: str, *args: str, **more: Any) -> Manifest:
    """A container of an image that the nodes have already."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(args),
        **more,
    }


def pod_spec(*containers: Manifest, **more: Any) -> Manifest:
    """A PodSpec with a short grace period."""
    return {"terminationGracePeriodSeconds": 1, "containers": list(containers), **more}


def job(
    image: str, *runner: str, name: str = "sums", workers: int = 1, dask: bool = False, **spec: Any
) -> Manifest:
    """A DaskJob whose runner runs this command; without ``dask``, its cluster only sleeps."""
    scheduler, worker = (["dask", "scheduler"], ["dask", "worker"]) if dask else (SLEEPS, SLEEPS)
    cluster = {
        "scheduler": {"spec": pod_spec(container(image, "scheduler", *scheduler))},
        "worker": {
            "replicas": workers,
            "spec": pod_spec(container(image, "worker", *worker)),
        },
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": {"spec": pod_spec(container(image, "job", *runner))},
            "cluster": {"spec": cluster},
            **spec,
        },
    }


def python_job(image: str, code: str, **more: Any) -> Manifest:
    """A DaskJob whose runner runs Python code."""
    return job(image, "python", "-c", code, **more)


def fake_job(
    name: str = "sums", *, workers: int = 2, ends_after: str = "", failures: int = 0, **spec: Any
) -> Manifest:
    """A DaskJob whose pods are on fake nodes; its runner ends after a time, or never.

    Progress queries are off, since its scheduler does not exist.
    """
    manifest = job("none", "true", name=name, workers=workers, **spec)
    given = {ENDS_AFTER: ends_after} if ends_after else {}
    manifest["spec"]["job"]["metadata"] = {"annotations": {**given, FAILURES: str(failures)}}
    cluster = manifest["spec"]["cluster"]["spec"]
    for part in (manifest["spec"]["job"], cluster["scheduler"], cluster["worker"]):
        part["spec"].update(fake_placement())
    manifest["spec"]["progress"] = {"intervalSeconds": 0}
    return manifest


def ended(found: Manifest) -> bool:
    """Return whether a job has ended."""
    return found.get("status", {}).get("jobStatus") in ("Successful", "Failed")


def says(word: str) -> Any:
    """Return a check of a job's ``jobStatus``."""
    return lambda found: found.get("status", {}).get("jobStatus") == word


def condition(found: Manifest, kind: str) -> Manifest:
    """A condition of an object; empty if it has none of this type."""
    conditions = found.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def until_only(
    kubectl: Kubectl, *left: str, kinds: Sequence[str] = KINDS_OF_A_JOB, seconds: float = 60
) -> None:
    """Wait until of some kinds nothing exists but this, as ``kind/name``."""

    def there() -> list[str]:
        return kubectl.there(*kinds)

    wait_until(lambda: there() == sorted(left), seconds, there, pause=0.2)
