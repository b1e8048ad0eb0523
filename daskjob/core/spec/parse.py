"""Parse manifests into objects of our four kinds: one reader for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest
from daskjob.core.names import Kind
from daskjob.core.spec.autoscaler import DaskAutoscaler, read_autoscaler
from daskjob.core.spec.cluster import DaskCluster, read_cluster
from daskjob.core.spec.group import DaskWorkerGroup, read_group
from daskjob.core.spec.job import DaskJob, read_job

DaskObject: TypeAlias = DaskJob | DaskCluster | DaskWorkerGroup | DaskAutoscaler
Object = TypeVar("Object", bound=DaskObject)
Object_co = TypeVar("Object_co", covariant=True)


class Read(Protocol[Object_co]):
    """Reads a manifest of one kind; records every mistake and uses the default instead."""

    def __call__(
        self, manifest: Manifest, errors: list[FieldError], *, strict: bool = False
    ) -> Object_co:
        """Return the object."""
        ...


READERS: Mapping[type[Any], Read[Any]] = {
    DaskJob: read_job,
    DaskCluster: read_cluster,
    DaskWorkerGroup: read_group,
    DaskAutoscaler: read_autoscaler,
}
#: The class of each kind.
CLASSES: Mapping[Kind, type[DaskObject]] = {Kind(kind.__name__): kind for kind in READERS}


def read(kind: type[Object], manifest: Manifest) -> tuple[Object, tuple[FieldError, ...]]:
    """Return the object of a manifest, with defaults for wrong values, and every mistake."""
    mistakes: list[FieldError] = []
    found: Object = READERS[kind](manifest, mistakes)
    return found, tuple(mistakes)


def parse(kind: type[Object], manifest: Manifest) -> Object:
    """Return the object of a user's manifest, such as ``parse(DaskJob, manifest)``.

    Strict: an unknown field is a mistake too.

    Raises
    ------
    Invalid
        With every mistake of the manifest: its path, the value, and the allowed values.
    """
    mistakes: list[FieldError] = []
    found: Object = READERS[kind](manifest, mistakes, strict=True)
    if mistakes:
        raise Invalid(f"{kind.__name__} {found.meta.name or '(unnamed)'}", mistakes)
    return found
