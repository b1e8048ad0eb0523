"""The DaskJob of a step: made from an image, or the user's own with variables for its runner."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping, Sequence

from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.core.names import API_VERSION, Kind
from daskjob.core.spec import DaskJob, read


def job_of_image(image: str, command: Sequence[str] | str, *, n_workers: int) -> Manifest:
    """Return a DaskJob that runs a command beside Dask workers, all from one image."""
    args = shlex.split(command) if isinstance(command, str) else list(command)
    cluster = {
        "scheduler": {"spec": _pod("scheduler", image, ["dask", "scheduler"])},
        "worker": {
            "replicas": n_workers,
            "spec": _pod("worker", image, ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]),
        },
    }
    return {
        "apiVersion": API_VERSION,
        "kind": str(Kind.JOB),
        "metadata": {},
        "spec": {"job": {"spec": _pod("runner", image, args)}, "cluster": {"spec": cluster}},
    }


def _pod(name: str, image: str, args: list[str]) -> Manifest:
    return {"containers": [{"name": name, "image": image, "args": args}]}


def with_variables(job: Manifest, variables: Mapping[str, str]) -> Manifest:
    """Return a DaskJob whose main container, and no other one, has these variables too."""
    made = copy.deepcopy(job)
    main = read(DaskJob, made)[0].main_container
    pod = mapping(mapping(mapping(made.get("spec")).get("job")).get("spec"))
    for container in mappings(pod.get("containers")):
        if container.get("name") == main:
            container["env"] = _with_variables(mappings(container.get("env")), variables)
    return made


def _with_variables(env: list[Manifest], variables: Mapping[str, str]) -> list[Manifest]:
    kept = [each for each in env if each.get("name") not in variables]
    return [*kept, *({"name": name, "value": value} for name, value in variables.items())]
