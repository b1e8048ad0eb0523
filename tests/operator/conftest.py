"""Fixtures of the operator tests: the operator, installed as users install it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.plugin import Kubernetes
from tests.operator.installed import Operator, installed


@pytest.fixture(scope="module")
def operator(with_crds: Kubernetes) -> Iterator[Operator]:
    """The operator of this checkout, installed with its chart and its image.

    It is uninstalled afterwards: other tests have their own operator, or none.
    """
    operator = installed(with_crds)
    yield operator
    operator.uninstall()
