"""The pods of a DaskJob's spec: runner, scheduler, and the workers of each group."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.core.names import ANNOTATION_DEFAULT_CONTAINER


class Role(StrEnum):
    """What a pod does in a job."""

    RUNNER = "runner"
    SCHEDULER = "scheduler"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Part:
    """One pod template of a spec; changes are made in place."""

    role: Role
    #: A mapping with ``spec``.
    template: Manifest

    @property
    def spec(self) -> Manifest:
        """The PodSpec."""
        found: Manifest = self.template["spec"]
        return found

    @property
    def container(self) -> Manifest:
        """The main container."""
        containers = mappings(self.spec.get("containers"))
        annotations = mapping(mapping(self.template.get("metadata")).get("annotations"))
        wanted = (annotations.get(ANNOTATION_DEFAULT_CONTAINER), *_NAMES[self.role])
        found = [c for name in wanted for c in containers if c.get("name") == name]
        return (found or containers)[0]


_NAMES = {
    Role.RUNNER: ("job-runner", "job"),
    Role.SCHEDULER: ("scheduler",),
    Role.WORKER: ("worker",),
}


def runner(spec: Manifest) -> Part:
    """Return the runner of a valid DaskJob's spec."""
    return Part(Role.RUNNER, spec["job"])


def scheduler(spec: Manifest) -> Part | None:
    """Return the scheduler; ``None`` on a cluster that exists."""
    cluster = mapping(mapping(spec.get("cluster")).get("spec"))
    return Part(Role.SCHEDULER, cluster["scheduler"]) if cluster else None


def workers(spec: Manifest) -> list[Part]:
    """Return the workers of all groups, of the default group first."""
    cluster = mapping(mapping(spec.get("cluster")).get("spec"))
    if not cluster:
        return []
    groups = mappings(cluster.get("workerGroups"))
    return [Part(Role.WORKER, group) for group in (cluster["worker"], *groups)]
