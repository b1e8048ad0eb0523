"""The chart as a whole: Helm's own checks, its version, its README."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import yaml

import daskjob
from tests.chart.rendering import CHART, defaults, helm, objects

KEY = re.compile(r"(?P<indent> *)(?P<key>\w+):(?P<value>.*)")


def described() -> Iterator[tuple[str, str]]:
    """Yield the names of values with the comments above them in values.yaml."""
    names = defaults()
    keys: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if line.strip().startswith("# "):
            comment.append(line.strip().removeprefix("# "))
        elif found := KEY.fullmatch(line):
            keys = [*keys[: len(found["indent"]) // 2], found["key"]]
            name = ".".join(keys)
            if name in names:
                yield name, " ".join(comment)
            comment = []
        else:
            comment = []


def table() -> str:
    """Return the table of README.md, generated from values.yaml."""
    rows = ["| Parameter | Description | Default |", "|---|---|---|"]
    for name, about in described():
        rows.append(f"| `{name}` | {about} | `{json.dumps(defaults()[name])}` |")
    return "\n".join(rows)


def test_readme_lists_every_value_as_values_yaml_describes_it() -> None:
    assert all(about for _, about in described())
    readme = (CHART / "README.md").read_text()
    shown = re.search(r"^\| Parameter .*?(?=\n\n|\Z)", readme, re.MULTILINE | re.DOTALL)
    assert shown, "operator-chart/README.md has no table of values"
    assert shown[0].strip() == table(), f"this is the table of values.yaml:\n{table()}"


def test_helm_lint_finds_nothing() -> None:
    said = helm("lint", "--strict", str(CHART))
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


def test_chart_has_the_version_of_the_operator_that_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == daskjob.__version__


def test_static_manifests_name_their_namespace() -> None:
    """``kubectl apply`` would create objects without a namespace in the current one."""
    shown = helm("template", "daskjob", str(CHART), "--namespace=dask-operator", "--include-crds")
    items: list[dict[str, Any]] = objects(shown)
    namespaces = {
        item["kind"]: item["metadata"].get("namespace")
        for item in items
        if item["kind"] not in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
    }
    assert namespaces == {
        "ServiceAccount": "dask-operator",
        "Role": "kube-system",
        "RoleBinding": "kube-system",
        "Deployment": "dask-operator",
    }


def test_packaged_chart_has_the_files_that_helm_needs(tmp_path: Any) -> None:
    helm("package", str(CHART), f"--destination={tmp_path}")
    [packed] = tmp_path.glob("*.tgz")
    command = [sys.executable, "-m", "tarfile", "--list", str(packed)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.strip().removeprefix("daskjob-operator/") for line in listed.splitlines()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md"} <= names
    assert {f"templates/{path.name}" for path in (CHART / "templates").iterdir()} <= names
