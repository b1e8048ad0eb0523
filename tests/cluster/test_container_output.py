"""A native cluster's log of a container has all of its output, however busy the machine is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.plugin import Kubectl, Kubernetes, WaitFor
from tests.cluster.providers import Native
from tests.cluster.test_kubernetes import phase, python
from tests.waiting import wait_until

#: What is left in the pipes between a container and its log when the container ends: they hold
#: 160 KB, and the more lines that is, the longer it takes to read them.
REST = {
    "130000 empty lines": r"'\n' * 130000",
    "40000 short lines": r"''.join(f'{n % 90 + 10}\n' for n in range(40000))",
    "a last line without an end": r"'\n' * 120000 + 'end'",
}

CODE = """
import os, time
text = {text}
os.close(os.open("/shared/runs", os.O_CREAT))
while not os.path.exists("/shared/go"):
    time.sleep(0.01)
os.write(1, text.encode())
os.rename("/shared/runs", "/shared/wrote")
"""


@pytest.mark.parametrize("text", REST.values(), ids=REST.keys())
def test_the_output_of_a_container_that_ends_before_its_runtime_has_read_it_is_in_the_log(
    text: str,
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    apply: Callable[..., None],
    wait_for: WaitFor,
    tmp_path: Path,
) -> None:
    if not isinstance(kubernetes.provider, Native):
        pytest.skip("only processes of this machine can be stopped")
    (runtime,) = (c for c in kubernetes.provider.cluster.parts() if c.name == "containerd")
    tmp_path.chmod(0o777)
    mounted: dict[str, Any] = {
        "container": {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
        "volumes": [{"name": "shared", "hostPath": {"path": str(tmp_path)}}],
    }
    apply(python("writer", kubernetes.image("dask"), CODE.format(text=text), **mounted))
    wait_until((tmp_path / "runs").exists)
    os.kill(runtime.pid, signal.SIGSTOP)
    try:
        (tmp_path / "go").touch()
        wait_until((tmp_path / "wrote").exists)
    finally:
        os.kill(runtime.pid, signal.SIGCONT)
    wait_for("pod", "writer", phase("Succeeded"))
    assert kubectl.log("writer") == eval(text)
