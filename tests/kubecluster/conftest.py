"""A namespace with an operator for all tests, and a KubeCluster for those of a module."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.kubecluster.cluster import KubeCluster
from tests.cluster.plugin import Kubectl, Kubernetes, fresh_namespace
from tests.waiting import wait_until

#: The pods of tests are small.
SMALL = {
    "requests": {"cpu": "50m", "memory": "200Mi"},
    "limits": {"memory": "500Mi"},
}
PATIENCE = 120


@dataclass(frozen=True)
class Place:
    """Where clusters are made: a namespace of a Kubernetes, which an operator watches."""

    kubernetes: Kubernetes
    namespace: str

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubernetes, self.namespace)

    def arguments(self, name: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "namespace": self.namespace,
            "kubeconfig": str(self.kubernetes.kubeconfig),
            "image": self.kubernetes.image("dask"),
            "resources": SMALL,
            "quiet": True,
            "resource_timeout": PATIENCE,
            **more,
        }

    def as_user(self, token: str, folder: Path) -> Path:
        """Return a kubeconfig for the owner of a token."""
        found = yaml.safe_load(self.kubernetes.kubeconfig.read_text())
        found["users"] = [
            {"name": user["name"], "user": {"token": token}} for user in found["users"]
        ]
        path = folder / "limited.yaml"
        path.write_text(yaml.safe_dump(found))
        return path

    def cluster(self, name: str, **more: Any) -> KubeCluster:
        return KubeCluster(**self.arguments(name, **more))


@pytest.fixture(scope="session", autouse=True)
def calm() -> Iterator[None]:
    """Dask logs each connection that it loses."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.fixture(scope="module")
def bare(with_crds: Kubernetes, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A namespace without an operator."""
    with fresh_namespace(with_crds, request.node) as namespace:
        yield Place(with_crds, namespace)


@pytest.fixture(scope="session")
def place(
    with_crds: Kubernetes, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A namespace with an operator, which each module leaves without clusters."""
    folder = tmp_path_factory.mktemp("operator")
    with fresh_namespace(with_crds, request.node) as namespace:
        process = started_operator(with_crds, namespace, folder / "operator.log")
        try:
            yield Place(with_crds, namespace)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def started_operator(kubernetes: Kubernetes, namespace: str, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("KUBE")},
        "KUBECONFIG": str(kubernetes.kubeconfig),
        "DASKJOB_POD_UID": namespace,
    }
    command = [sys.executable, "-m", "daskjob.controller", f"--namespace={namespace}", "--verbose"]
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    wait_until(lambda: "making passes" in log.read_text(), shows=log.read_text, pause=0.1)
    return process


@pytest.fixture(scope="module")
def shared(place: Place) -> Iterator[KubeCluster]:
    """A cluster that the tests of a module share: they leave it with one worker or none."""
    with place.cluster("shared", n_workers=1) as cluster:
        yield cluster
