"""How fast the tests' Kubernetes brings pods to Running: the baseline of other figures.

1,000 pods are created on fake nodes, then 50 on the real one, which is as many as it has room for.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cluster import images
from tests.cluster.fake_nodes import fake_placement
from tests.cluster.providers import Native

FAKE_PODS, FAKE_NODES, REAL_PODS = 1000, 5, 50
IN_FLIGHT = 32
NAMESPACE = "default"


def pod(name: str, image: str, **spec: Any) -> bytes:
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    value = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"benchmark": name.partition("-")[0]}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }
    return json.dumps(value).encode()


class Poster:
    """Posts pods as the administrator, with one connection per thread."""

    def __init__(self, cluster: Native) -> None:
        platform = cluster.cluster.platform
        self._address = platform.api_server
        self._tls = ssl.create_default_context(cafile=str(platform.pki.authority))
        self._tls.load_cert_chain(platform.pki.certificate("admin"), platform.pki.key("admin"))
        self._own = threading.local()

    def __call__(self, body: bytes) -> None:
        """Create one pod."""
        if not hasattr(self._own, "connection"):
            self._own.connection = HTTPSConnection(self._address, context=self._tls)
        connection = self._own.connection
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 201:
            raise RuntimeError(text.decode())


@contextmanager
def native(name: str) -> Iterator[Native]:
    cluster = Native(name)
    try:
        yield cluster
    finally:
        cluster.stop()


def measure(cluster: Native, label: str, bodies: list[bytes]) -> None:
    """Create the pods, wait until all of them run, and print both times."""
    started = time.monotonic()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(Poster(cluster), bodies))
    created = time.monotonic() - started
    selected = [f"--namespace={NAMESPACE}", "--selector", f"benchmark={label}"]
    running = "--for=jsonpath={.status.phase}=Running"
    subprocess.run(
        [*cluster.command, "wait", "pod", *selected, running, "--timeout=300s"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    total = time.monotonic() - started
    print(f"{label:5} {len(bodies):5} pods: created in {created:5.1f} s, all run {total:5.1f} s")
    subprocess.run([*cluster.command, "delete", "pod", *selected], stdout=-3, check=True)


def main() -> None:
    with native("benchmark") as cluster:
        cluster.fake_nodes(FAKE_NODES)
        placed = [pod(f"fake-{n}", "none.invalid/x", **fake_placement()) for n in range(FAKE_PODS)]
        measure(cluster, "fake", placed)
        image = images.pause().reference
        measure(cluster, "real", [pod(f"real-{n}", image) for n in range(REAL_PODS)])


if __name__ == "__main__":
    main()
