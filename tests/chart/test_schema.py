"""Values of a wrong type are rejected with their name and the right type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.rendering import CHART, defaults, nested, rejection, render


def type_of(name: str) -> str:
    """Return the type of a value in the schema, apart from ``null``."""
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    for key in name.split("."):
        found = found["properties"][key]
    wanted = found["type"]
    return wanted if isinstance(wanted, str) else next(one for one in wanted if one != "null")


@pytest.mark.parametrize("name", defaults())
def test_value_of_a_wrong_type_is_rejected_by_its_name(name: str) -> None:
    right = type_of(name)
    said = rejection(nested(name, {"a": 1} if right == "array" else ["word"]))
    assert f"at '/{name.replace('.', '/')}': got " in said
    assert f"want {right}" in said or f"want null or {right}" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rbac": {"cluster": "false"}}, "at '/rbac/cluster': got string, want boolean"),
        ({"kopfArgs": "--verbose"}, "at '/kopfArgs': got string, want array"),
        ({"kopfArgs": [1]}, "at '/kopfArgs/0': got number, want string"),
        ({"image": {"tag": 2026}}, "at '/image/tag': got number, want string"),
        (
            {"image": {"pullPolicy": "Sometimes"}},
            "value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        (
            {"podAnnotations": {"prometheus.io/port": 8080}},
            "at '/podAnnotations/prometheus.io~1port': got number, want string",
        ),
        ({"nodeSelector": {"gpu": True}}, "at '/nodeSelector/gpu': got boolean, want string"),
        ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
        ({"workerAllocation": {"size": 0}}, "at '/workerAllocation/size': minimum: got 0, want 1"),
        (
            {"metrics": {"worker": {"podMonitor": {"interval": "15"}}}},
            "at '/metrics/worker/podMonitor/interval': '15' does not match pattern",
        ),
    ],
)
def test_rejection_describes_the_problem_and_the_right_value(
    values: dict[str, Any], said: str
) -> None:
    assert said in rejection(values)


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("resorces", "resorces"),
        ("image.repository", "repository"),
        ("rbac.clusterwide", "clusterwide"),
    ],
)
def test_unknown_value_is_rejected_since_it_would_have_no_effect(name: str, unknown: str) -> None:
    assert f"additional properties '{unknown}' not allowed" in rejection(nested(name, "x"))


def test_chart_can_be_a_subchart() -> None:
    assert render({"global": {"region": "eu"}, "enabled": True}) == render()
