"""The imports of ``daskjob.kube``."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = ["daskjob.kube", "daskjob.kube.api", "daskjob.kube.credentials", "daskjob.kube.objects"]
#: kr8s takes 0.4 s and 50 MB: only a kubeconfig needs it.
HEAVY = ["daskjob.backends", "dask", "distributed", "kopf", "kr8s", "click", "rich"]


@pytest.mark.parametrize("module", MODULES)
def test_a_client_imports_no_backend_and_no_kr8s(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = ran.stdout.splitlines()
    assert module in loaded
    assert [name for name in HEAVY if name in loaded] == []
