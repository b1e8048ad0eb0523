"""The number of workers of a pod, by its command and its limits."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.core.spec.pod import PodTemplate
from daskjob.core.worker_command import workers_per_pod
from tests.core.manifests import container, pod

FOUR_GPUS = {"limits": {"nvidia.com/gpu": "4"}}


@pytest.mark.parametrize(
    ("words", "resources", "workers"),
    [
        (["dask", "worker"], FOUR_GPUS, 1),
        (["dask", "worker", "--nworkers", "3"], FOUR_GPUS, 3),
        (["dask-worker", "--nprocs=2"], {}, 2),
        (["dask", "worker", "--nworkers", "auto"], {}, 1),
        (["dask", "cuda", "worker"], FOUR_GPUS, 4),
        (["dask-cuda-worker", "tcp://simple-scheduler:8786"], FOUR_GPUS, 4),
        (["sh", "-c", "exec dask cuda worker --memory-limit 32GB"], FOUR_GPUS, 4),
        (["dask", "cuda", "worker"], {"limits": {"nvidia.com/gpu": 2}}, 2),
        (["dask", "cuda", "worker"], {"limits": {"memory": "8Gi"}}, 1),
        (["dask", "cuda", "worker"], {}, 1),
        (["dask", "cuda", "worker"], "none", 1),
        (["dask", "cuda", "worker"], {"limits": ["nvidia.com/gpu"]}, 1),
    ],
)
def test_workers_of_a_pod(words: list[str], resources: Any, workers: int) -> None:
    spec = pod(container("worker", *words, resources=resources))
    assert workers_per_pod(PodTemplate(spec=spec)) == workers
