"""The operator as users install it: the project's chart and image, with Helm."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.audit import Request
from tests.cluster.binaries import binary
from tests.cluster.plugin import Audited, Kubernetes

CHART = Path(__file__).parents[2] / "operator-chart"
NAMESPACE = "daskjob-system"
RELEASE = "daskjob"


@dataclass(frozen=True)
class Operator:
    """An installed operator."""

    kubernetes: Kubernetes
    deployment: str
    namespace: str = NAMESPACE

    @property
    def user(self) -> str:
        """Its user name at the API server."""
        path = "jsonpath={.spec.template.spec.serviceAccountName}"
        account = self.kubectl("get", self.deployment, "-o", path)
        return f"system:serviceaccount:{self.namespace}:{account}"

    def asked(self, audited: Audited, namespace: str) -> list[Request]:
        """Return its requests about a namespace."""
        return [r for r in audited.of(self.user) if r.namespace == namespace]

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the operator's namespace."""
        return self.kubernetes.kubectl(f"--namespace={self.namespace}", *arguments)

    def stop(self) -> None:
        """Stop it, and wait until it is gone."""
        self.kubectl("scale", self.deployment, "--replicas=0")
        self.kubectl("wait", "pods", "--all", "--for=delete", "--timeout=60s")

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.kubectl("scale", self.deployment, "--replicas=1")
        self.kubectl("rollout", "status", self.deployment, "--timeout=60s")

    def uninstall(self) -> None:
        """Uninstall it, as users do."""
        uninstalled(self.kubernetes, self.namespace)

    def logs(self) -> str:
        """Return its log."""
        return self.kubectl("logs", self.deployment, "--tail=-1")


def installed(kubernetes: Kubernetes, *values: str, namespace: str = NAMESPACE) -> Operator:
    """Install the operator of this checkout, and wait until it is ready."""
    name, _, tag = kubernetes.image("operator").rpartition(":")
    values = (f"image.name={name}", f"image.tag={tag}", *values)
    command = [*_helm(kubernetes, namespace), "upgrade", "--install", RELEASE, str(CHART)]
    command += ["--create-namespace", "--wait", "--timeout=120s", "--skip-crds"]
    done = subprocess.run(
        [*command, *(word for value in values for word in ("--set", value))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + _why(kubernetes, namespace)
    found = kubernetes.kubectl(
        f"--namespace={namespace}", "get", "deployments", "--output=name"
    ).split()
    return Operator(kubernetes, found[0], namespace)


def uninstalled(kubernetes: Kubernetes, namespace: str = NAMESPACE) -> None:
    """Uninstall an operator, or the remains of a failed installation."""
    helm = _helm(kubernetes, namespace)
    subprocess.run([*helm, "uninstall", RELEASE, "--wait", "--ignore-not-found"], check=True)


def _helm(kubernetes: Kubernetes, namespace: str) -> list[str]:
    where = [f"--kubeconfig={kubernetes.kubeconfig}", f"--namespace={namespace}"]
    return [str(binary("helm")), *where]


def _why(kubernetes: Kubernetes, namespace: str) -> str:
    where = f"--namespace={namespace}"
    return kubernetes.kubectl(where, "get", "pods,events") + kubernetes.kubectl(
        where, "logs", "--selector=app.kubernetes.io/name", "--tail=50"
    )
