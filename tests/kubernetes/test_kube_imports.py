"""The imports of ``daskjob.kube``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.kubeconfigs import kubeconfig

MODULES = ["daskjob.kube", "daskjob.kube.api", "daskjob.kube.credentials", "daskjob.kube.objects"]
#: kr8s takes 0.25 s and 50 MB.
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


READING = """
import sys
from daskjob.kube.kubeconfig import Kubeconfig
assert Kubeconfig(sys.argv[1]).at_once()
print(*sys.modules, sep="\\n")
"""


@pytest.mark.parametrize(
    "user",
    [
        {"token": "abc"},
        {"username": "me", "password": "secret"},
        {"auth-provider": {"name": "oidc", "config": {"id-token": "abc"}}},
        {},
    ],
)
def test_a_kubeconfig_without_a_plugin_needs_no_event_loop(
    user: dict[str, Any], tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", READING, kubeconfig(tmp_path, user)],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {*HEAVY, "asyncio", "aiohttp", "httpx", "msgspec", "subprocess"}
    assert not heavy & set(ran.stdout.splitlines())
