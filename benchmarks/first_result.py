"""How much longer an interactive cluster takes to its first result than its pods created by hand.

Alternately: a ``KubeCluster``, from its constructor to the first result of a client; then the same
Service and pods, as the operator created them, all at once, with a client that connects as soon as
the scheduler's pod listens. The cluster of the first way is reached by forwarded ports.

    python benchmarks/first_result.py --rounds 5
"""

from __future__ import annotations

import argparse
import logging
import socket
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from distributed import Client

from benchmarks._operators import Cluster, Manifest, benchmark_cluster, create, daskjob_operator
from benchmarks.job_wall_time import made_by
from daskjob import KubeCluster
from tests.cluster.images import image

WORKERS = 2
PATIENCE_SECONDS = 120.0
COMM_PORT = 8786


def first_result(client: Client) -> None:
    """Compute something."""
    if client.submit(sum, range(100)).result(PATIENCE_SECONDS) != 4950:
        raise RuntimeError("the result is wrong")


def by_class(
    cluster: Cluster, namespace: str, reference: str, *, steps: bool
) -> tuple[float, list[Manifest]]:
    """Return the seconds of a KubeCluster, and what the operator has created for it."""
    started, wall = time.monotonic(), time.time()
    with KubeCluster(
        "first",
        namespace=namespace,
        kubeconfig=str(cluster.native.kubeconfig),
        image=reference,
        n_workers=WORKERS,
        quiet=True,
    ) as made:
        constructed = time.monotonic() - started
        with Client(made) as client:
            connected = time.monotonic() - started
            first_result(client)
            seconds = time.monotonic() - started
            made.wait_for_workers(WORKERS, PATIENCE_SECONDS)
        if steps:
            for at, line in made._cluster_manager_logs:
                print(f"    {at.timestamp() - wall:5.2f} s  {line}")
            print(f"    {constructed:5.2f} s  constructed")
            print(f"    {connected:5.2f} s  the client is connected")
        return seconds, made_by(cluster, namespace)


def until_it_makes_passes(cluster: Cluster, operators: int) -> None:
    """Wait until the last of these operators is ready: its start is not what is measured."""
    log = cluster.native.cluster.folder / "daskjob.log"
    give_up = time.monotonic() + PATIENCE_SECONDS
    while log.read_text().count("making passes") < operators:
        if time.monotonic() > give_up:
            raise TimeoutError(f"the operator is not ready: {log.read_text()}")
        time.sleep(0.1)


def by_hand(cluster: Cluster, namespace: str, manifests: Sequence[Manifest]) -> float:
    """Create pods and their Service; return the seconds until a client has its first result."""
    started = time.monotonic()
    create(cluster, namespace, manifests)
    address = listening(cluster, namespace)
    with Client(f"tcp://{address}:{COMM_PORT}") as client:
        first_result(client)
        return time.monotonic() - started


def listening(cluster: Cluster, namespace: str) -> str:
    """Return the address of the scheduler's pod, once it listens."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    selector = "dask.org/component=scheduler"
    while time.monotonic() < give_up:
        for pod in cluster.access.items("pods", namespace, labelSelector=selector):
            address = str(pod["status"].get("podIP") or "")
            if address and listens(address):
                return address
        time.sleep(0.05)
    raise TimeoutError(f"no scheduler listens after {PATIENCE_SECONDS:.0f} s")


def listens(address: str) -> bool:
    """Return whether something listens at the port of schedulers."""
    try:
        socket.create_connection((address, COMM_PORT), 1).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Do both alternately, and print each round and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="show when each step was reached")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    ratios = []
    with benchmark_cluster(fake_nodes=0) as cluster:
        reference = cluster.native.load(image("dask"))
        # What is imported or cached by the first cluster is no part of the comparison.
        for number in range(arguments.rounds + 1):
            namespace = cluster.namespace()
            where = f"--namespace={namespace}"
            with daskjob_operator(cluster, namespace):
                until_it_makes_passes(cluster, number + 1)
                ours, manifests = by_class(
                    cluster, namespace, reference, steps=arguments.steps and number > 0
                )
                cluster.kubectl("wait", "pods", "--all", where, "--for=delete", "--timeout=60s")
            theirs = by_hand(cluster, namespace, manifests)
            cluster.kubectl("delete", "pods,services", "--all", where)
            if number:
                ratios.append(ours / theirs)
                print(f"KubeCluster {ours:5.2f} s, its pods by hand {theirs:5.2f} s")
    ratio = statistics.median(ratios)
    print(f"a KubeCluster takes {ratio:.2f} times as long as its pods created by hand")


if __name__ == "__main__":
    main()
