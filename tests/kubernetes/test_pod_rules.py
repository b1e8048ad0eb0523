"""The API server and ``core/spec/pod_rules`` agree on every specimen of a pod."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.plugin import Kubectl, KubectlFailed
from tests.core.pod_specimens import RIGHT, WRONG


def create(kubectl: Kubectl, specs: dict[str, Any]) -> None:
    """Create the pods ``pod-0``, ``pod-1`` and so on in a dry run."""
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}
        for number, spec in enumerate(specs.values())
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": pods}
    kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(listed))


def test_api_server_accepts_every_right_pod(kubectl: Kubectl) -> None:
    create(kubectl, RIGHT)


def test_api_server_rejects_every_wrong_pod(kubectl: Kubectl) -> None:
    with pytest.raises(KubectlFailed) as caught:
        create(kubectl, WRONG)
    accepted = [
        path
        for number, path in enumerate(WRONG)
        if f'Pod "pod-{number}" is invalid' not in str(caught.value)
    ]
    assert accepted == []
