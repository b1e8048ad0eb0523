"""Fake nodes, and fake pods on them that only have a status: kwok, for scale.

The life cycle of those pods is in ``stages.yaml``; a test ends a pod with annotations.

A cluster has real and fake nodes. Fake ones have a taint: a pod is scheduled there only if it
tolerates it and selects them by their label (`fake_placement`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cluster.binaries import KWOK_STAGES, binary
from tests.cluster.cache import input_hash

LABEL = "daskjob.test/node"
NAME_PREFIX = "fake-"
ANNOTATION = "kwok.x-k8s.io/node"
#: kwok's own rules for nodes; those for pods are ours.
STAGES = ("node/fast/*.yaml", "node/heartbeat-with-lease/*.yaml")
OUR_STAGES = Path(__file__).with_name("stages.yaml")
#: The time after which a pod ends by itself, as ``500ms``.
ENDS_AFTER = "daskjob.test/ends-after"
#: The number of failing attempts of a job; the pods of later ones succeed.
FAILURES = "daskjob.test/failures"


def node(number: int) -> dict[str, Any]:
    """Return a fake node with room for 10,000 pods."""
    room = {"cpu": "10000", "memory": "100Ti", "pods": "10000", "ephemeral-storage": "100Ti"}
    name = f"{NAME_PREFIX}{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {LABEL: "fake", "kubernetes.io/hostname": name},
        },
        "spec": {"taints": [{"key": LABEL, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }


def fake_placement() -> dict[str, Any]:
    """Return the fields of a PodSpec that place it on fake nodes."""
    return {
        "nodeSelector": {LABEL: "fake"},
        "tolerations": [{"key": LABEL, "operator": "Exists", "effect": "NoSchedule"}],
    }


def kwok_command(kubeconfig: Path, folder: Path) -> list[str]:
    """Return kwok's command for a cluster's fake nodes, and write its stages to the folder."""
    kwok = binary("kwok")
    documents = [
        path.read_text()
        for stages in STAGES
        for path in sorted(kwok.with_name(KWOK_STAGES).glob(stages))
        if "kind: Stage" in path.read_text()
    ]
    documents.append(OUR_STAGES.read_text())
    config = folder / f"kwok-{input_hash(*documents)}.yaml"
    config.write_text("\n---\n".join(documents))
    return [
        str(kwok),
        f"--kubeconfig={kubeconfig}",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        # Without Leases, each node is briefly lost after 40 s, with all its pods.
        "--node-lease-duration-seconds=40",
        f"--config={config}",
    ]


def nodes_manifest(count: int) -> str:
    """Return the manifest of this many fake nodes."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(_nodes(count))})


def _nodes(count: int) -> Iterator[dict[str, Any]]:
    yield from (node(number) for number in range(1, count + 1))
