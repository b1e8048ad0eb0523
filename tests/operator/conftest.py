"""What the tests of the operator share: the operator, installed as users install it."""

from __future__ import annotations

import pytest

from tests.cluster.plugin import Kubernetes
from tests.operator.installed import Operator, installed


@pytest.fixture(scope="session")
def operator(with_crds: Kubernetes) -> Operator:
    """The operator of this checkout, by its chart and its image."""
    return installed(with_crds)
