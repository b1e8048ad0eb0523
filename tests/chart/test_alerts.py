"""Alerts and the dashboard speak of numbers that the operator tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from daskjob.controller.telemetry import Telemetry
from daskjob.core.reasons import Reason
from tests.chart.rendering import Manifest, at, find, render

ON = {
    "metrics": {
        "operator": {
            "enabled": True,
            "prometheusRule": {"enabled": True},
            "dashboard": {"enabled": True},
        }
    }
}
#: What a histogram is told as.
PARTS = ("_bucket", "_sum", "_count")


def rules() -> list[Manifest]:
    found: list[Manifest] = at(find(render(ON), "PrometheusRule"), "spec", "groups", 0, "rules")
    return found


def panels() -> list[Manifest]:
    text = at(find(render(ON), "ConfigMap", "-dashboard"), "data", "daskjob.json")
    found: list[Manifest] = json.loads(text)["panels"]
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def told() -> set[str]:
    """Return the names of all that the operator tells, those without a value yet among them."""
    return set(re.findall(r"^# TYPE (\S+) ", Telemetry().text(), re.MULTILINE))


def test_every_expression_is_about_what_the_operator_tells() -> None:
    numbers = told()
    for expression in expressions():
        used = set(re.findall(r"\b(?:daskjob|process)_[a-z_]+", expression))
        assert used, expression
        for name in used:
            whole = next((name.removesuffix(p) for p in PARTS if name.endswith(p)), name)
            assert {name, whole} & numbers, name


def test_reasons_of_the_alert_about_infrastructure_exist() -> None:
    [rule] = [r for r in rules() if r["alert"] == "DaskjobInfrastructureFailures"]
    [named] = re.findall(r'reason=~\s*"([^"]+)"', rule["expr"])
    assert set(named.split("|")) <= {str(reason) for reason in Reason}


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_have_a_title_each_and_do_not_overlap() -> None:
    found = panels()
    assert len({panel["title"] for panel in found}) == len(found) >= 12
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in found}
    assert len(places) == len(found)
