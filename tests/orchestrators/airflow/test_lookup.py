"""What logs show of a connection: nothing of how its users log in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

SECRET = "token-of-the-test-51"
KUBECONFIG = {
    "clusters": [{"name": "prod-cluster", "cluster": {"server": "https://prod.example.org"}}],
    "users": [{"name": "robot-user", "user": {"token": SECRET}}],
    "contexts": [{"name": "main-context", "context": {}}],
}
TEXT = "users:\n- name: robot-user\n  user: {token: token-of-the-test-51}\n"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        {"namespace": "team", "kube_config": KUBECONFIG},
        {"namespace": "team", "kube_config": json.dumps(KUBECONFIG)},
        {"extra__kubernetes__namespace": "team", "extra__kubernetes__kube_config": TEXT},
    ],
)
def test_logs_hide_the_credentials_of_a_connection_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], is_async: bool
) -> None:
    from airflow.sdk._shared.secrets_masker import _secrets_masker, redact

    from daskjob.integrations.airflow.lookup import found_connection, found_connection_async

    # What earlier tests have looked up.
    _secrets_masker().reset_masker()
    given = json.dumps({"conn_type": "kubernetes", "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_SHOWN", given)
    if is_async:
        found = asyncio.run(found_connection_async("shown", {}))
    else:
        found = found_connection("shown", {})
    assert found.namespace == "team"
    line = f"sums-g1 was started in namespace team with {SECRET} on prod-cluster"
    assert redact(line) == "sums-g1 was started in namespace team with *** on prod-cluster"
