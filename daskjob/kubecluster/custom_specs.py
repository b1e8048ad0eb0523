"""The fields of specs that users write, judged as ``daskjob validate`` does. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from daskjob.core import names
from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest, metadata
from daskjob.core.spec import DaskCluster, DaskWorkerGroup, parse
from daskjob.core.spec.kubernetes_objects import Unknown, template_mistakes
from daskjob.core.warn import warn_user
from daskjob.kubecluster.errors import ValidationError


def plain(given: Any) -> Any:
    """Return a copy whose parts are those of manifests, also where a user wrote objects.

    ``make_pod_spec`` of ``daskjob.classic`` returns such objects, as Kubernetes' Python client has
    them.
    """
    from daskjob.classic.models import manifest_of

    return manifest_of(given)


def check_cluster(given: Manifest) -> None:
    """Check a DaskCluster, whose name and kind are set later.

    Raises
    ------
    ValidationError
        With every mistake.
    """
    made = {**given, **_head(names.Kind.CLUSTER), "metadata": {**metadata(given), "name": "any"}}
    try:
        parse(DaskCluster, made)
    except Invalid as error:
        raise _rejected("custom_cluster_spec", map(str, error.errors)) from None
    _warn_of_unknown("custom_cluster_spec", made)


def check_worker_part(given: Manifest) -> None:
    """Check the worker part of an additional group.

    Raises
    ------
    ValidationError
        With every mistake.
    """
    spec = {"cluster": "any", "worker": given}
    made = {**_head(names.Kind.GROUP), "metadata": {"name": "any"}, "spec": spec}
    try:
        parse(DaskWorkerGroup, made)
    except Invalid as error:
        raise _rejected("custom_spec", map(_of_part, error.errors)) from None
    _warn_of_unknown("custom_spec", made)


def _warn_of_unknown(argument: str, made: Manifest) -> None:
    """Warn of unknown fields of pods, which have no effect unless the Kubernetes is newer."""
    unknown = [str(one) for one in template_mistakes(made) if isinstance(one, Unknown)]
    if unknown:
        warn_user(f"{argument}: {'; '.join(unknown)}")


def _head(kind: names.Kind) -> Manifest:
    return {"apiVersion": names.API_VERSION, "kind": str(kind)}


def _of_part(mistake: FieldError) -> str:
    return str(mistake).removeprefix("spec.worker.")


def _rejected(argument: str, mistakes: Iterable[str]) -> ValidationError:
    return ValidationError(f"{argument}: " + "; ".join(mistakes))
