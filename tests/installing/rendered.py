"""What ``daskjob install`` renders, to be compared with what Helm renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskjob.submit.installing import chart
from daskjob.submit.installing.chart_values import all_values
from daskjob.submit.installing.values_schema import check_values
from tests.chart.rendering import NAMESPACE, RELEASE

Identity = tuple[str, str, str]


def rendered_here(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of the release of the chart's tests, without Helm."""
    complete = all_values(values)
    check_values(complete, chart.values_schema())
    return chart.rendered(complete, release=RELEASE, namespace=NAMESPACE, service="Helm")


def by_name(found: Sequence[Mapping[str, Any]]) -> dict[Identity, Mapping[str, Any]]:
    """Return objects by kind, namespace and name."""
    identities = [
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for item in found
    ]
    assert len(set(identities)) == len(identities)
    return dict(zip(identities, found, strict=True))
