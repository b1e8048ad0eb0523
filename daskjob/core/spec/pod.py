"""A pod template: passed through whole, read only where a decision needs a word of it.

No I/O here. Of a PodSpec only what daskjob itself relies on is checked: that there is a container
and that containers have names. All else is Kubernetes' to judge, in its own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from daskjob.core import names
from daskjob.core.caching import cached_by_identity
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest, fingerprint
from daskjob.core.shapes import Choice, Many, Record, Text, Texts


class RestartPolicy(StrEnum):
    """Kubernetes' restart policies of a pod."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


LABELS = Texts("labels", "Labels.")
ANNOTATIONS = Texts("annotations", "Annotations.")
METADATA = Record(
    "metadata",
    "Labels and annotations of what is made of this.",
    (LABELS, ANNOTATIONS),
    open=True,  # Go's types write creationTimestamp: null here
)
VARIABLE_NAME = Text("name", "Its name.", required="write the variable's name")
VARIABLES = Many(
    "env",
    "Variables of the environment; those that daskjob sets precede them.",
    Record(
        "",
        "A variable of the environment.",
        (VARIABLE_NAME, Text("value", "Its value, quoted where it looks like a number.")),
        open=True,
    ),
)
CONTAINER_NAME = Text("name", "Its name.", required="write a name for the container")
CONTAINERS = Many(
    "containers",
    "The containers; at least one.",
    Record(
        "",
        "A container, passed through whole.",
        (
            CONTAINER_NAME,
            Many("command", "What is run instead of the image's entrypoint.", Text("", "A word.")),
            Many(
                "args", "The arguments.", Text("", "A word, quoted where it looks like a number.")
            ),
            VARIABLES,
        ),
        open=True,
    ),
    required="write at least one container",
    key="name",
)
RESTART_POLICY = Choice(
    "restartPolicy", "What the kubelet does when a container ends.", RestartPolicy, or_null=True
)
POD_SPEC = Record(
    "spec",
    "A PodSpec, passed through whole, also in fields that are newer than this.",
    (CONTAINERS, RESTART_POLICY),
    required="write a PodSpec with at least one container",
    open=True,
)
#: The fields of a pod template, which stand beside others in a runner, a scheduler, a worker.
TEMPLATE = (POD_SPEC, METADATA)


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

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell it from another template."""
        return _fingerprint(self)

    def main_container(self, *fallbacks: str) -> str:
        """Return the name of the container that matters.

        It is the one that ``kubectl.kubernetes.io/default-container`` names, else the first of
        the fallbacks that exists, else the first container (design §3.1).
        """
        existing = [str(c.get("name")) for c in self.containers]
        wanted = (self.annotations.get(names.ANNOTATION_DEFAULT_CONTAINER, ""), *fallbacks)
        return next((name for name in wanted if name in existing), existing[0] if existing else "")


@cached_by_identity
def _fingerprint(template: PodTemplate) -> str:
    return fingerprint([template.spec, dict(template.labels), dict(template.annotations)])


def read_template(reader: Reader) -> PodTemplate:
    """Return the pod template of a mapping with ``spec`` and ``metadata``."""
    meta, spec = METADATA.read(reader), POD_SPEC.read(reader)
    _check_containers(spec)
    RESTART_POLICY.read(spec)
    return PodTemplate(
        spec=dict(spec.fields), labels=LABELS.read(meta), annotations=ANNOTATIONS.read(meta)
    )


def _check_containers(spec: Reader) -> None:
    seen: set[str] = set()
    for container in CONTAINERS.read(spec):
        name = CONTAINER_NAME.read(container)
        if name in seen:
            container.mistake("name", name, "write a name that no other container has")
        seen.update([name] if name else [])
        _check_environment(container)


def _check_environment(container: Reader) -> None:
    for key in ("command", "args"):
        words = container.fields.get(key)
        if words is None:
            continue
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            container.mistake(key, words, "write a list of strings (quote numbers)")
    for variable in VARIABLES.read(container):
        VARIABLE_NAME.read(variable)
        value = variable.fields.get("value")
        if value is not None and not isinstance(value, str):
            variable.mistake("value", value, "write a string (quote it)")
