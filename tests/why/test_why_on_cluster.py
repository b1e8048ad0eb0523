"""`why` about each cause, produced on a real cluster, while the job waits and after it failed.

All jobs run at once. Real are the scheduler, the API server with its admission and quotas, the
kubelet, the container runtime, and Dask. Four sources are the closest to real ones: the registry
(`tests.why.registry`); the tainted node, which only the scheduler sees; the worker's version of
distributed, which it only reports; and the network, since a native cluster does not enforce
NetworkPolicies: the policy exists, and in the runner's own `/etc/hosts` the scheduler has an
address that does not answer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskjob.core.explain import Explanation
from daskjob.submit.saved_job import explain_saved
from tests.cluster.plugin import Kubernetes
from tests.docs.documents import ROOT
from tests.why.cases import CASES, SECRET_VALUE, Case
from tests.why.table import why_table
from tests.why.world import Answers, answers, world

DOCUMENT = ROOT / "docs/why.md"
#: If it is set, the table is written into the document.
WRITE_VARIABLE = "DASKJOB_WRITE_WHY"

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def found(
    with_crds: Kubernetes,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[dict[str, Answers]]:
    """The answers about all jobs."""
    with world(with_crds, tmp_path_factory.mktemp("why"), request.node) as made:
        yield asyncio.run(answers(made))


def _text(answer: Explanation) -> str:
    return "\n".join((answer.headline, *answer.evidence, answer.next_step, answer.command))


def _check(answer: Explanation | None, phrases: tuple[str, ...], case: Case) -> None:
    """Check one answer: what happened, to which object, in Kubernetes' words, and what to do."""
    if not phrases:
        return
    assert answer is not None, "there is no answer: the job did not come into this state"
    for phrase in phrases:
        assert phrase in f"{answer.headline}\n" + "\n".join(answer.evidence)
    assert case.step in f"{answer.next_step}\n{answer.command}"
    assert answer.headline.startswith(f"{case.name} ")
    assert answer.command
    # A few lines.
    assert len(answer.evidence) <= 8


@cases
def test_answer_has_the_cause_the_object_and_the_next_step(
    found: dict[str, Answers], case: Case
) -> None:
    one = found[case.name]
    assert case.waiting or case.failed
    _check(one.waiting, case.waiting, case)
    _check(one.failed, case.failed, case)
    for answer in (one.waiting, one.failed):
        assert answer is None or SECRET_VALUE not in _text(answer)


@cases
def test_command_of_the_answer_works(found: dict[str, Answers], case: Case) -> None:
    one = found[case.name]
    assert one.commands
    for done in one.commands:
        # `auth can-i` answers with its exit code, too.
        assert done.returncode == 0 or done.stdout == "no\n", (done.args, done.stderr)
        assert SECRET_VALUE not in done.stdout + done.stderr


@pytest.mark.parametrize("case", [c for c in CASES if c.ends], ids=lambda case: case.name)
def test_saved_manifest_has_the_same_answer(found: dict[str, Answers], case: Case) -> None:
    one = found[case.name]
    assert one.failed is not None
    saved = explain_saved(json.loads(json.dumps(one.saved)))
    assert saved.headline == one.failed.headline


def test_table_of_the_documentation_has_these_answers(
    found: dict[str, Answers], with_crds: Kubernetes
) -> None:
    if with_crds.provider.audit_log is None:
        pytest.skip("the messages in the table are those of the Kubernetes of a native cluster")
    table = why_table(found.values())
    if os.environ.get(WRITE_VARIABLE):
        _write(DOCUMENT, table)
    document = DOCUMENT.read_text().splitlines()
    missing = [row for row in table.splitlines() if row not in document]
    assert missing == [], "write them with: make why"


def _write(document: Path, table: str) -> None:
    before, after = document.read_text().split("| cause |")[0], "\n## "
    rest = document.read_text().partition("| cause |")[2].partition(after)[2]
    document.write_text(before + table + (after + rest if rest else ""))
