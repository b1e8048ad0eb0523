"""Kinds, and the API paths of their objects."""

from __future__ import annotations

import pytest

from daskjob.backends.kubernetes.watching.kinds import watched_kind
from daskjob.core.errors import NotFound
from daskjob.kube.resources import JOBS, PODS, resource_of


def test_paths_match_the_api() -> None:
    assert PODS.path("here", "a") == "/api/v1/namespaces/here/pods/a"
    assert PODS.path(None) == "/api/v1/pods"
    jobs = "/apis/kubernetes.dask.org/v1/namespaces/here/daskjobs"
    assert JOBS.path("here", "a", "status") == f"{jobs}/a/status"
    lease = resource_of("Lease").path("kube-system", "daskjob")
    assert lease == "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/daskjob"


def test_a_name_never_leads_to_another_path() -> None:
    assert JOBS.path("here", "../../secrets/s").endswith("/daskjobs/..%2F..%2Fsecrets%2Fs")
    assert JOBS.path("here", "a?watch=1").endswith("/daskjobs/a%3Fwatch%3D1")
    for name in (".", ".."):
        with pytest.raises(NotFound):
            JOBS.path("here", name)


def test_a_foreign_kind_has_no_resource() -> None:
    with pytest.raises(NotFound, match="Ingress"):
        resource_of("Ingress")
    with pytest.raises(NotFound, match="Ingress"):
        watched_kind("Ingress")
