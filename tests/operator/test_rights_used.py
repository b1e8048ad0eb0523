"""Every right that the chart grants the operator is one that it uses, by the audit log."""

from __future__ import annotations

import os
from collections import defaultdict

import pytest

from tests.chart.test_rights import ALLOWED, LEASE
from tests.cluster.audit import AuditLog
from tests.cluster.plugin import Kubernetes
from tests.cluster.providers import PROCESS_VARIABLE

#: What the operator says that it is, whoever it asks as.
AGENT = "daskjob/"
#: As whom it asks where it is installed by the chart.
ACCOUNT = "daskjob-operator"


@pytest.mark.last
def test_operator_uses_all_that_it_may_and_asks_for_nothing_else(
    kubernetes: Kubernetes, pytestconfig: pytest.Config
) -> None:
    path = kubernetes.provider.audit_log
    if path is None:
        pytest.skip("the cluster's audit log cannot be read")
    used: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    granted = ALLOWED | LEASE
    more = set()
    for request in AuditLog(path).each():
        if not request.user_agent.startswith(AGENT):
            continue
        what = (request.group, request.resource)
        used[what].add(request.verb)
        if ACCOUNT in request.user and request.verb not in granted.get(what, ()):
            more.add((request.verb, *what))
    assert more == set()
    if pytestconfig.args_source is pytest.Config.ArgsSource.ARGS or pytestconfig.option.keyword:
        pytest.skip("only a run of all tests tells which rights nothing uses")
    if PROCESS_VARIABLE in os.environ:
        pytest.skip("only a cluster that has seen all tests tells which rights nothing uses")
    unused = {what: verbs - used[what] for what, verbs in granted.items() if verbs - used[what]}
    assert unused == {}
