"""The page of the provisioned deployment: notebook, scheduler and workers by one command."""

from __future__ import annotations

import sys

import dask
import pytest

from tests.cluster.images import image
from tests.cluster.plugin import Kubernetes
from tests.documented.blocks import documented
from tests.documented.session import Session, rows, rows_shown
from tests.waiting import wait_until

SECONDS = 240

pytestmark = [
    pytest.mark.usefixtures("operator"),
    pytest.mark.filterwarnings("ignore:Mismatched versions"),
]


def test_notebook_scheduler_and_workers(user: Session, kubernetes: Kubernetes) -> None:
    native = kubernetes.provider.native
    assert native is not None
    python = ".".join(map(str, sys.version_info[:2]))
    name = f"ghcr.io/dask/dask-notebook:{dask.__version__}-py{python}"
    native.name_image(image("jupyter"), name)

    user.console("provisioned/make-cluster")
    parts = ("dask-scheduler", "dask-default-worker", "dask-notebook")

    def missing() -> list[str]:
        listed = user.console("provisioned/pods")
        return [part for part in parts if part not in listed]

    wait_until(lambda: not missing(), SECONDS, missing, pause=0.5)
    (ran,) = user.ran("provisioned/pods-starting")
    wanted = rows_shown(list(ran.command.shown))
    found = rows(ran.text.splitlines())
    assert set(wanted[0]) == set(found[0])
    user.until_shown("provisioned/services")
    selected = {"labelSelector": "app=distributed"}
    (notebook,) = (name for name in user.kubectl.there("pods", **selected) if "notebook" in name)
    wait = ("wait", notebook, "--for=condition=Ready", f"--timeout={SECONDS}s")
    user.kubectl(*wait)
    code = documented()["provisioned/client-inside"].text
    code += "print(c.submit(sum, range(100)).result())"
    assert "4950" in user.kubectl("exec", notebook, "--", "python", "-c", code)

    (service,) = user.kubectl.items("services", fieldSelector="metadata.name=dask-scheduler")
    outside = documented()["provisioned/client-outside"].text
    exec(outside.replace("99.99.99.98", service["spec"]["clusterIP"]), user.names)
    client = user.names["c"]
    assert client.submit(sum, range(100)).result(timeout=SECONDS) == 4950
    client.close()

    (logs,) = user.ran("provisioned/logs")
    assert "Scheduler at:" in logs.text
    user.console("provisioned/exec")
    user.console("provisioned/delete")
    wait_until(lambda: not user.kubectl.there("pods", "daskclusters"), SECONDS)
