"""The operator's Helm chart: its files, and the objects that it renders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest
from daskjob.submit.installing.template import Templates

#: In an installed package, the chart is inside of it; in a checkout, at its root.
PLACES = (Path(__file__).parent / "operator-chart", Path(__file__).parents[3] / "operator-chart")

#: The value of ``.Release.Service``, which becomes the label ``app.kubernetes.io/managed-by``.
SERVICE = "daskjob"

#: Objects are created in this order, as Helm does it, and deleted in the reverse one.
_ORDER = (
    "Namespace",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "ConfigMap",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Deployment",
)


@cache
def folder() -> Path:
    """Return the folder of the chart.

    Raises
    ------
    DaskJobError
        This package was built without it, as the operator's image is.
    """
    found = [place for place in PLACES if (place / "Chart.yaml").exists()]
    if not found:
        raise DaskJobError("this installation of daskjob has no chart: pip install daskjob")
    return found[0]


def load_yaml(text: str) -> Iterator[Any]:
    """Yield the documents of a YAML text."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from (item for item in yaml.load_all(text, loader) if item)


@cache
def chart_version() -> str:
    """Return the version of the chart, which is that of the operator."""
    return str(_description()["version"])


def default_values() -> dict[str, Any]:
    """Return the chart's own values."""
    (found,) = load_yaml((folder() / "values.yaml").read_text())
    assert isinstance(found, dict)
    return found


def values_schema() -> dict[str, Any]:
    """Return the JSON schema of the values."""
    found: dict[str, Any] = json.loads((folder() / "values.schema.json").read_text())
    return found


def crds() -> list[Manifest]:
    """Return the CustomResourceDefinitions."""
    files = sorted((folder() / "crds").glob("*.yaml"))
    return [item for file in files for item in load_yaml(file.read_text())]


def rendered(
    values: Mapping[str, Any], *, release: str, namespace: str, service: str = SERVICE
) -> list[Manifest]:
    """Return the objects of a release with all these values, in the order of their creation.

    Raises
    ------
    NotRendered
        The chart rejects the values.
    """
    described = _description()
    context = {
        "Values": values,
        "Release": {"Name": release, "Namespace": namespace, "Service": service},
        "Chart": {
            "Name": described["name"],
            "Version": described["version"],
            "AppVersion": described["appVersion"],
        },
        "Files": {"Get": lambda name: (folder() / name).read_text()},
    }
    templates = Templates()
    files = sorted((folder() / "templates").iterdir())
    parsed = [templates.add(file.read_text()) for file in files if file.suffix != ".txt"]
    text = "\n---\n".join(templates.render(nodes, context) for nodes in parsed)
    return sorted(load_yaml(text), key=_position)


def _position(item: Manifest) -> int:
    kind = item["kind"]
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


@cache
def _description() -> dict[str, Any]:
    (found,) = load_yaml((folder() / "Chart.yaml").read_text())
    assert isinstance(found, dict)
    return found
