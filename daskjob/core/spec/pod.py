"""A pod template: passed through whole, read only where a decision needs a word of it.

No I/O here. Of a PodSpec only what daskjob itself relies on is checked: that there is a container
and that containers have names. All else is Kubernetes' to judge, in its own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from daskjob.core import names
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest


class RestartPolicy(StrEnum):
    """Kubernetes' restart policies of a pod."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A PodSpec with the labels and annotations that its pods are to carry."""

    spec: Manifest = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> list[Manifest]:
        """The containers, without those that are only for the start."""
        return [c for c in self.spec.get("containers") or () if isinstance(c, dict)]

    def main_container(self, *fallbacks: str) -> str:
        """Return the name of the container that matters.

        It is the one that ``kubectl.kubernetes.io/default-container`` names, else the first of
        the fallbacks that exists, else the first container (design §3.1).
        """
        existing = [str(c.get("name")) for c in self.containers]
        wanted = (self.annotations.get(names.ANNOTATION_DEFAULT_CONTAINER, ""), *fallbacks)
        return next((name for name in wanted if name in existing), existing[0] if existing else "")


def read_template(reader: Reader, *, required: bool = True) -> PodTemplate:
    """Return the pod template of a mapping with ``spec`` and ``metadata``."""
    meta = reader.mapping("metadata")
    template = PodTemplate(
        spec=reader.raw("spec"),
        labels=meta.strings("labels"),
        annotations=meta.strings("annotations"),
    )
    if required and not reader.has("spec"):
        reader.mistake("spec", None, "write a PodSpec with at least one container")
        return template
    spec = reader.mapping("spec")
    seen: set[str] = set()
    count = 0
    for container in spec.items("containers"):
        count += 1
        name = container.text("name")
        if not name:
            container.mistake("name", None, "write a name for the container")
        elif name in seen:
            container.mistake("name", name, "write a name that no other container has")
        seen.add(name)
        _check_environment(container)
    if not count and (required or reader.has("spec")):
        spec.mistake("containers", spec.fields.get("containers"), "write at least one container")
    spec.choice("restartPolicy", RestartPolicy)
    return template


def _check_environment(container: Reader) -> None:
    for key in ("command", "args"):
        words = container.fields.get(key)
        if words is None:
            continue
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            container.mistake(key, words, "write a list of strings (quote numbers)")
    for variable in container.items("env"):
        if not variable.text("name"):
            variable.mistake("name", None, "write the variable's name")
        value = variable.fields.get("value")
        if value is not None and not isinstance(value, str):
            variable.mistake("value", value, "write a string (quote it)")
