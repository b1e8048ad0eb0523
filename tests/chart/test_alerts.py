"""Alerts and the dashboard use metrics that the operator exports."""

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
#: The suffixes of a histogram's series.
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


def exported() -> set[str]:
    """Return the names of all exported metrics, including those without a value yet."""
    return set(re.findall(r"^# TYPE (\S+) ", Telemetry().text(), re.MULTILINE))


def test_every_expression_uses_exported_metrics() -> None:
    numbers = exported()
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


def test_every_alert_describes_the_problem_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_have_a_title_each_and_do_not_overlap() -> None:
    found = panels()
    assert len({panel["title"] for panel in found}) == len(found) >= 12
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in found}
    assert len(places) == len(found)
