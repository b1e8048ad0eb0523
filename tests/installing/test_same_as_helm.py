"""What ``daskjob install`` renders is what Helm renders, and it rejects what Helm rejects.

Each value alone is compared by ``tests/chart/test_values.py``.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from daskjob.core.errors import DaskJobError, Invalid
from daskjob.submit.installing.template_functions import NotRendered
from daskjob.submit.installing.template_syntax import Unsupported, parse
from tests.chart import rendering
from tests.chart.rendering import defaults, merged, nested
from tests.chart.test_schema import type_of
from tests.chart.test_values import CHANGES
from tests.installing.rendered import by_name, rendered_here

Values = dict[str, Any]


def assert_same(values: Values) -> None:
    assert by_name(rendered_here(values)) == by_name(rendering.render(values))


def everything() -> Values:
    values: Values = {}
    for change in CHANGES:
        values = merged(values, merged(change.given, nested(change.name, change.value)))
    return values


@pytest.mark.parametrize(
    "values",
    [
        {},
        everything(),
        merged(everything(), {"rbac": {"create": True}, "serviceAccount": {"create": True}}),
        {
            "rbac": {"cluster": False, "create": True},
            "kopfArgs": ["-n", "a,b", "-nc", "--no-lease"],
        },
        {"kopfArgs": ["--namespace=team-*,!team-test", "--namespace", "x"]},
        {"watchNamespaces": ["a", "b", "a"], "rbac": {"extraRules": []}},
        {"securityContext": {"runAsUser": None, "capabilities": None}, "replicas": 3},
        {"extraEnv": [{"name": "A", "value": 'a "quoted" \\ line\nand: another # one'}]},
        {"podAnnotations": {"a/b": "yes", "c": "1e3", "d": "", "e": "0x1f", "f": "null"}},
        {"nameOverride": "a" * 80, "fullnameOverride": "b" * 62 + "-c"},
        {"image": {"name": "registry.example:5000/ops/daskjob", "tag": "1.10"}},
        {"tolerations": [], "affinity": {}, "priorityClassName": None, "podSecurityContext": {}},
    ],
)
def test_combined_values_have_the_same_effect(values: Values) -> None:
    assert_same(values)


@pytest.mark.parametrize("name", defaults())
def test_value_of_a_wrong_type_is_rejected_by_its_name(name: str) -> None:
    wrong: Any = {"a": 1} if type_of(name) == "array" else ["word"]
    with pytest.raises(Invalid) as caught:
        rendered_here(nested(name, wrong))
    assert [mistake.path for mistake in caught.value.errors] == [name]
    assert type_of(name) in caught.value.errors[0].allowed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"resorces": {}},
            "resorces: {} is not allowed; there is no such value; did you mean 'resources'?",
        ),
        (
            {"image": {"repository": "x"}},
            "image.repository: 'x' is not allowed; there is no such value; known are name, "
            "pullPolicy, tag",
        ),
        ({"rbac": {"clusterwide": 1}}, "did you mean 'cluster'?"),
        ({"image": {"pullPolicy": "Sometimes"}}, "write one of Always, IfNotPresent, Never"),
        ({"image": {"name": ""}}, "image.name: '' is not allowed"),
        ({"kopfArgs": [1]}, "kopfArgs[0]: 1 is not allowed; write a string"),
        ({"imagePullSecrets": [{}]}, "imagePullSecrets[0].name: is missing"),
        ({"workerAllocation": {"size": 0}}, "write at least 1"),
        (
            {"watchNamespaces": ["A_b"]},
            "watchNamespaces[0]: 'A_b' is not allowed; write what matches",
        ),
        ({"replicas": 1.5}, "replicas: 1.5 is not allowed; write an integer"),
    ],
)
def test_values_that_helm_rejects_are_rejected_with_what_to_write(
    values: Values, message: str
) -> None:
    assert rendering.rejection(values)
    with pytest.raises(Invalid, match=re.escape(message)):
        rendered_here(values)


def test_values_that_the_chart_rejects_are_rejected_with_its_message() -> None:
    values = {"rbac": {"cluster": False}, "kopfArgs": ["--namespace=team-*"]}
    with pytest.raises(NotRendered) as caught:
        rendered_here(values)
    assert str(caught.value) in rendering.rejection(values)


@pytest.mark.parametrize(
    "source",
    ["{{ if .a }}", "{{ (.a }}", "{{ .a | }}", "{{ $x.y := 1 }}", "{{ 1.5 }}"],
)
def test_template_outside_of_the_known_language_is_an_error(source: str) -> None:
    with pytest.raises((Unsupported, DaskJobError)):
        parse(source)
