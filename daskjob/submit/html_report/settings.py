"""The settings of a job for its report: what ran where, and how often; no value of a variable."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import timedelta

from daskjob.core.manifests import Manifest, integer, mapping, mappings
from daskjob.core.quantity import duration

#: The longest text of the spec that is shown whole.
LONGEST_TEXT = 2000
_HIDDEN = "(hidden)"


def facts(job: Manifest) -> Iterator[tuple[str, str]]:
    """Yield titles and texts, the most important first."""
    spec = mapping(job.get("spec"))
    cluster = mapping(mapping(spec.get("cluster")).get("spec"))
    runner = mapping(mapping(spec.get("job")).get("spec"))
    yield "Command", _command(runner)
    roles = {"Runner": runner, "Scheduler": _pod(cluster.get("scheduler"))}
    roles["Workers"] = _pod(cluster.get("worker"))
    for group in mappings(cluster.get("workerGroups")):
        roles[f"Workers {group.get('name', '')}"] = _pod(group)
    images: dict[str, list[str]] = {}
    for role, pod in roles.items():
        images.setdefault(_image(pod), []).append(role.lower())
    images.pop("", None)
    for image, of in images.items():
        yield "Image", image if len(images) == 1 else f"{image} ({', '.join(of)})"
    worker = mapping(cluster.get("worker"))
    yield "Number of workers", _count(worker)
    for role, pod in roles.items():
        yield f"{role}: resources", _resources(pod)
    yield "Worker command", _command(roles["Workers"])
    yield "Variables", ", ".join(sorted(set(_variables(*roles.values()))))
    yield "Retries", str(spec["backoffLimit"]) if "backoffLimit" in spec else ""
    for field, title in (
        ("activeDeadlineSeconds", "Deadline of the job"),
        ("attemptDeadlineSeconds", "Deadline of an attempt"),
        ("startupDeadlineSeconds", "Deadline of the start"),
        ("stallDeadlineSeconds", "Deadline without progress"),
        ("ttlSecondsAfterFinished", "Kept after its end"),
    ):
        seconds = integer(spec.get(field))
        yield title, duration(timedelta(seconds=seconds)) if seconds is not None else ""


def spec_text(job: Manifest) -> str:
    """Return the spec without the values of variables, and without the contents of files."""
    return json.dumps(_without_values(job.get("spec")), indent=2, ensure_ascii=False)


def _without_values(value: object, key: str = "") -> object:
    if isinstance(value, dict):
        if key == "files":
            return {str(name): _HIDDEN for name in value}
        return {str(name): _without_values(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        if key == "env":
            return [_variable(item) for item in value]
        return [_without_values(item) for item in value]
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]}… ({len(value)} characters)"
    return value


def _variable(item: object) -> object:
    if not isinstance(item, dict) or "value" not in item:
        return item
    return {**item, "value": _HIDDEN}


def _pod(part: object) -> Manifest:
    return mapping(mapping(part).get("spec"))


def _containers(pod: Manifest) -> list[Manifest]:
    return mappings(pod.get("containers"))


def _image(pod: Manifest) -> str:
    return ", ".join(str(c["image"]) for c in _containers(pod)[:1] if c.get("image"))


def _command(pod: Manifest) -> str:
    for container in _containers(pod)[:1]:
        parts = [container.get("command"), container.get("args")]
        words = [str(word) for part in parts if isinstance(part, list) for word in part]
        text = shlex.join(words)
        return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    return ""


def _count(worker: Manifest) -> str:
    adaptive = mapping(worker.get("autoscaling"))
    if adaptive:
        return f"{adaptive.get('minimum', 0)} to {adaptive.get('maximum', '')}, as needed"
    return str(worker.get("replicas", 1))


def _resources(pod: Manifest) -> str:
    for container in _containers(pod)[:1]:
        resources = mapping(container.get("resources"))
        found = {**mapping(resources.get("requests")), **mapping(resources.get("limits"))}
        return ", ".join(f"{name} {amount}" for name, amount in found.items())
    return ""


def _variables(*pods: Manifest) -> Iterator[str]:
    for pod in pods:
        for container in _containers(pod):
            yield from (str(each.get("name")) for each in mappings(container.get("env")))
