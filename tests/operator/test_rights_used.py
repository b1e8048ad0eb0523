"""The operator uses every permission that the chart grants, according to the audit log."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.chart.test_rights import ALLOWED, LEASE
from tests.cluster.audit import AuditLog
from tests.cluster.plugin import AUDIT_VARIABLE
from tests.cluster.providers import chosen

#: The operator's user agent, whatever its user.
AGENT = "daskjob/"
#: Its user if it is installed with the chart.
ACCOUNT = "daskjob-operator"


def test_operator_uses_all_its_permissions_and_requests_nothing_else() -> None:
    """``make test`` runs this after all other tests, with the logs of all their clusters."""
    folder = os.environ.get(AUDIT_VARIABLE)
    if not folder:
        pytest.skip("only a run of all tests shows which permissions are used: make test")
    logs = list(Path(folder).glob("*.log"))
    if not logs and chosen() != "native":
        pytest.skip(f"the audit log of a {chosen()} cluster cannot be read")
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
