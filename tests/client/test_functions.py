"""``daskjob.submit_async`` on a real cluster, with a real operator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import daskjob
from daskjob import AsyncJobClient
from daskjob.core.errors import UserFailure
from tests.cluster.plugin import Kubernetes
from tests.operator.process import OperatorProcess

MODULE = """\
from distributed import get_client

from helper_of_calls import double

def total(count):
    client = get_client()
    return {"total": sum(client.gather(client.map(double, range(count))))}

def text(length):
    return "x" * length
"""
SETTINGS: dict[str, Any] = {
    "memory": "512Mi",
    "runner_memory": "512Mi",
    "scheduler_memory": "512Mi",
    "cpu": "100m",
}


async def test_a_function_runs_with_what_its_module_imports(
    with_crds: Kubernetes, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calls_on_cluster.py").write_text(MODULE)
    (tmp_path / "helper_of_calls.py").write_text("def double(n):\n    return 2 * n\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import calls_on_cluster as module  # type: ignore[import-not-found]

    image = with_crds.image("dask")
    operator = OperatorProcess(with_crds.kubeconfig, namespace, tmp_path / "operator.log")
    await operator.start()
    try:
        async with AsyncJobClient(namespace, kubeconfig=str(with_crds.kubeconfig)) as client:
            options = {"client": client, "workers": 1, "image": image, **SETTINGS}
            assert await daskjob.submit_async(module.total, 10, **options) == {"total": 90}
            with pytest.raises(UserFailure, match="result of text has 5002 bytes as JSON"):
                await daskjob.submit_async(module.text, 5000, **options)
    finally:
        await operator.stop()
        for name in ("calls_on_cluster", "helper_of_calls"):
            sys.modules.pop(name, None)
