"""A task with wrong input: the client's message, at once, and no other try."""

from __future__ import annotations

import pytest

from tests.cluster.plugin import Kubernetes
from tests.orchestrators.prefect.conftest import Place
from tests.orchestrators.prefect.server import Server
from tests.orchestrators.prefect.test_bad_input import failure
from tests.orchestrators.prefect.wrong import CASES, Users, changes, start_registry, users


@pytest.fixture(scope="module")
def few(with_crds: Kubernetes, cluster: Place, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Users with few permissions, and a registry without images."""
    namespace = cluster.fields["namespace"]
    image = cluster.fields["manifest"]["spec"]["job"]["spec"]["containers"][0]["image"]
    start_registry(with_crds, namespace, image)
    return users(with_crds, namespace, tmp_path_factory.mktemp("users"))


@pytest.mark.parametrize("case", CASES)
def test_a_task_fails_at_once(case: str, server: Server, cluster: Place, few: Users) -> None:
    del server
    text, kind = CASES[case]
    error, tries = failure({**cluster.fields, **changes(few)[case]})
    assert (type(error).__name__, tries) == (kind, 1)
    assert text in str(error)
