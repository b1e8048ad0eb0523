"""The chart with ``rbac.cluster=false``: an operator with permissions in a single namespace."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.cluster.plugin import Audited, Kubectl, Kubernetes, WaitFor, fresh_namespace
from tests.operator.installed import installed, uninstalled
from tests.operator.jobs import ended, python_job

Audit = Callable[[], AbstractContextManager[Audited]]


def test_job_runs_to_its_end_with_only_a_role_and_without_denied_or_foreign_requests(
    with_crds: Kubernetes,
    namespace: str,
    kubectl: Kubectl,
    apply: Callable[..., None],
    wait_for: WaitFor,
    audit: Audit,
    request: pytest.FixtureRequest,
) -> None:
    job = python_job(with_crds.image("dask"), "pass", workers=2)
    with fresh_namespace(with_crds, request.node) as other:
        elsewhere = [f"--namespace={other}", "apply", "-f", "-"]
        with_crds.kubectl(*elsewhere, stdin=json.dumps(job))
        try:
            with audit() as audited:
                operator = installed(with_crds, "rbac.cluster=false", namespace=namespace)
                apply(job)
                status = wait_for("daskjob", "sums", ended)["status"]
                kubectl("wait", "daskcluster/sums", "--for=delete", "--timeout=60s")
            user = operator.user
            assert of_the_cluster(with_crds) == []
        finally:
            # Its role is deleted first: it cannot release its Lease then, which expires.
            uninstalled(with_crds, namespace)
        where = [f"--namespace={other}", "get", "daskjobs,pods", "-o", "json"]
        untouched: Any = json.loads(with_crds.kubectl(*where))["items"]
    assert (status["jobStatus"], status["reason"]) == ("Successful", "Completed")
    assert [(found["kind"], found.get("status")) for found in untouched] == [("DaskJob", None)]
    ours = audited.of(user)
    assert [f"{r.verb} {r.uri} {r.code}" for r in ours if r.code in (401, 403)] == []
    assert {r.namespace for r in ours if r.namespace} == {namespace}
    assert any(r.writes for r in ours)


def of_the_cluster(kubernetes: Kubernetes) -> list[str]:
    """Return our cluster-wide roles."""
    found = kubernetes.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").split()
    return [name for name in found if "dask" in name]
