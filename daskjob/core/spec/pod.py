"""Pod templates: passed through unchanged; daskjob reads only the fields that it needs.

Of a PodSpec, it checks only what it relies on: that there is a container and that containers have
names. Kubernetes validates the rest, with its own messages.
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


LABELS = Texts("labels", "Labels of the object.")
ANNOTATIONS = Texts("annotations", "Annotations of the object.")
METADATA = Record(
    "metadata",
    "Labels and annotations of the objects that are created from this.",
    (LABELS, ANNOTATIONS),
    open=True,  # Go's types write creationTimestamp: null here
)
VARIABLE_NAME = Text("name", "Name of the variable.", required="write the variable's name")
VARIABLES = Many(
    "env",
    "Environment variables. Variables that daskjob sets come before them.",
    Record(
        "",
        "An environment variable.",
        (VARIABLE_NAME, Text("value", "Value of the variable; quote numbers.")),
        open=True,
    ),
)
CONTAINER_NAME = Text("name", "Name of the container.", required="write a name for the container")
CONTAINERS = Many(
    "containers",
    "Containers of the pod; at least one.",
    Record(
        "",
        "A container, passed through unchanged.",
        (
            CONTAINER_NAME,
            Many(
                "command",
                "Command to run instead of the image's entrypoint.",
                Text("", "A word of the command."),
            ),
            Many("args", "Arguments of the command.", Text("", "An argument; quote numbers.")),
            VARIABLES,
        ),
        open=True,
    ),
    required="write at least one container",
    key="name",
)
RESTART_POLICY = Choice(
    "restartPolicy",
    "Whether the kubelet restarts containers that end.",
    RestartPolicy,
    or_null=True,
)
POD_SPEC = Record(
    "spec",
    "A PodSpec, passed through unchanged, including fields that are newer than this CRD.",
    (CONTAINERS, RESTART_POLICY),
    required="write a PodSpec with at least one container",
    open=True,
)
#: The fields of a pod template; a runner, a scheduler and a worker have others next to them.
TEMPLATE = (POD_SPEC, METADATA)


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A PodSpec with the labels and annotations of its pods."""

    spec: Manifest = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> list[Manifest]:
        """The containers, without init containers."""
        return [c for c in self.spec.get("containers") or () if isinstance(c, dict)]

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ between templates."""
        return _fingerprint(self)

    def main_container(self, *fallbacks: str) -> str:
        """Return the name of the main container.

        It is the one that ``kubectl.kubernetes.io/default-container`` names, else the first of the
        fallbacks that exists, else the first container (design §3.1).
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
            container.mistake("name", name, "write a name that no other container of the pod has")
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
