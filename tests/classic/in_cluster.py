"""A program in a pod that has the rights of the classic page's Role, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tests.classic.golden import DATA
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.waiting import wait_until

ACCOUNT = "dask"
#: Before each program: a pod template of workers.
START = """
import asyncio, json, os, signal, sys, time
import dask
from distributed import Client
from daskjob.classic import KubeCluster, make_pod_spec
dask.config.set({{"distributed.comm.timeouts.connect": "20s"}})

def pod(**more):
    return make_pod_spec(
        image={image!r}, memory_limit="400Mi", cpu_request="50m", threads_per_worker=1,
        extra_container_config={{"imagePullPolicy": "IfNotPresent"}},
        extra_pod_config={{"terminationGracePeriodSeconds": 1, **more}},
    )

def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.05)
"""


@dataclass(frozen=True)
class Programs:
    """Runs programs in pods of a namespace."""

    kubernetes: Kubernetes
    kubectl: Kubectl
    apply: Callable[..., None]

    def prepare(self) -> None:
        """Create the service account with the Role."""
        role = yaml.safe_load((DATA / "role.yaml").read_text())
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
            role,
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": ACCOUNT},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": role["metadata"]["name"],
                },
                "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT}],
            },
        )

    def start(self, name: str, code: str, **variables: str) -> None:
        """Start a program in a pod."""
        text = START.format(image=self.kubernetes.image("dask")) + code
        container = {
            "name": "client",
            "image": self.kubernetes.image("operator"),
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", text],
            "env": [{"name": n, "value": v} for n, v in {"HOME": "/tmp", **variables}.items()],
        }
        spec = {
            "serviceAccountName": ACCOUNT,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        meta = {"name": name, "labels": {"client": "yes"}}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    def finished(self, name: str, seconds: float = 120) -> list[Any]:
        """Wait for the end of a program; return its lines of JSON."""

        def ended() -> str:
            (pod,) = self.kubectl.items("pods", fieldSelector=f"metadata.name={name}")
            phase = str(pod.get("status", {}).get("phase"))
            return phase if phase in ("Succeeded", "Failed") else ""

        phase = wait_until(ended, seconds, lambda: self.kubectl.log(name)[-3000:], pause=0.2)
        log = self.kubectl.log(name)
        assert phase == "Succeeded", log
        return [json.loads(line) for line in log.splitlines() if line.startswith(("[", "{"))]

    def left(self) -> list[str]:
        """The pods, Services and budgets of the namespace, without those of programs."""
        pods = self.kubectl.there("pods", labelSelector="!client")
        budgets = self.kubernetes.access.get(
            f"/apis/policy/v1/namespaces/{self.kubectl.namespace}/poddisruptionbudgets"
        )["items"]
        names = [f"budget/{item['metadata']['name']}" for item in budgets]
        return [*pods, *self.kubectl.there("services"), *names]
