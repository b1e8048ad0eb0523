"""Every right that the chart grants the operator is one that it uses, by the audit log."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.chart.test_rights import ALLOWED, LEASE
from tests.cluster.audit import AuditLog
from tests.cluster.plugin import AUDIT_VARIABLE
from tests.cluster.providers import chosen

#: What the operator says that it is, whoever it asks as.
AGENT = "daskjob/"
#: As whom it asks where it is installed by the chart.
ACCOUNT = "daskjob-operator"


def test_operator_uses_all_that_it_may_and_asks_for_nothing_else() -> None:
    """``make test`` asks this after all others, of the logs of all their clusters."""
    folder = os.environ.get(AUDIT_VARIABLE)
    if not folder:
        pytest.skip("only a run of all tests tells what is used: make test")
    logs = list(Path(folder).glob("*.log"))
    if not logs and chosen() != "native":
        pytest.skip(f"a cluster of the kind {chosen()} has no audit log that can be read")
    assert logs, f"no cluster has left its audit log in {folder}"
    used: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    granted = ALLOWED | LEASE
    more = set()
    for request in (request for log in logs for request in AuditLog(log).each()):
        if not request.user_agent.startswith(AGENT):
            continue
        what = (request.group, request.resource)
        used[what].add(request.verb)
        if ACCOUNT in request.user and request.verb not in granted.get(what, ()):
            more.add((request.verb, *what))
    assert more == set()
    unused = {what: verbs - used[what] for what, verbs in granted.items() if verbs - used[what]}
    assert unused == {}
