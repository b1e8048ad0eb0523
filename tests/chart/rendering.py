"""The chart, rendered by the real Helm, with its objects as dictionaries."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import binary

CHART = Path(__file__).parents[2] / "operator-chart"
RELEASE = "rel"
NAMESPACE = "operators"

Manifest = dict[str, Any]
Values = Mapping[str, Any]


class NotRendered(Exception):
    """Helm rejected the values; the message is its output."""


def helm(*arguments: str, stdin: str = "") -> str:
    """Run Helm and return its output, or raise it as an error."""
    done = subprocess.run(
        [str(binary("helm")), *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotRendered(done.stderr)
    assert "WARNING" not in done.stderr, done.stderr
    return done.stdout


def render(values: Values | None = None, *arguments: str) -> list[Manifest]:
    """Return the objects of a release with these values over the chart's own."""
    return objects(rendered(json.dumps(values or {}), *arguments))


@cache
def rendered(values: str, *arguments: str) -> str:
    """Return the text that Helm renders; cached."""
    release = ["template", RELEASE, str(CHART), f"--namespace={NAMESPACE}"]
    return helm(*release, "--values=-", *arguments, stdin=values)


def objects(text: str) -> list[Manifest]:
    return [item for item in yaml.safe_load_all(text) if item]


def rejection(values: Values) -> str:
    """Return Helm's error for these values."""
    try:
        render(values)
    except NotRendered as rejected:
        return str(rejected)
    raise AssertionError(f"Helm renders {values}")


def notes(values: Values, folder: Path) -> str:
    """Return the notes after an installation, which Helm itself prints only with a cluster."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    shutil.move(chart / "templates" / "NOTES.txt", chart / "notes")
    (chart / "templates" / "notes.yaml").write_text(
        'notes: {{ tpl (.Files.Get "notes") . | quote }}'
    )
    release = ["template", RELEASE, str(chart), f"--namespace={NAMESPACE}", "--values=-"]
    shown = helm(*release, "--show-only=templates/notes.yaml", stdin=json.dumps(values))
    return str(yaml.safe_load(shown)["notes"])


def find(found: Sequence[Manifest], kind: str, name: str = "") -> Manifest | None:
    """Return the object of a kind whose name ends with this; ``None``: there is none."""
    matching = [o for o in found if o["kind"] == kind and o["metadata"]["name"].endswith(name)]
    return matching[0] if matching else None


def operator(found: Sequence[Manifest]) -> Manifest:
    """Return the operator's container."""
    deployment = find(found, "Deployment")
    assert deployment
    container: Manifest
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container


def at(thing: Any, *path: str | int) -> Any:
    """Return the value at a path of keys and indices; ``None`` if the path does not exist."""
    for step in path:
        try:
            thing = thing[step]
        except (KeyError, IndexError, TypeError):
            return None
    return thing


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return values with a single one set: ``a.b`` is ``{"a": {"b": value}}``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def merged(base: Values, over: Values) -> dict[str, Any]:
    """Return values merged over others, as Helm does it."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = merged(result[key], value) if both else value
    return result


def defaults() -> dict[str, Any]:
    """Return the chart's values, by their dotted names."""
    return leaves(yaml.safe_load((CHART / "values.yaml").read_text()))


def leaves(values: Values, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
