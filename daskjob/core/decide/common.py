"""Functions shared by the decisions about several kinds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from daskjob.core.decide.status_timing import Status
from daskjob.core.decision import NOTHING, Decision
from daskjob.core.diagnose import Diagnosis, crash_loop, waiting_for
from daskjob.core.manifests import Manifest, whole_seconds
from daskjob.core.observed import Rejection
from daskjob.core.pods import PodFacts
from daskjob.core.policies.pacing import is_due
from daskjob.core.wording import OF_MANIFESTS, Words

_COUNTS = ("replicas", "readyReplicas")


def own_rejections(
    rejections: Mapping[str, Rejection], names: Collection[str], prefixes: tuple[str, ...] = ()
) -> dict[str, Rejection]:
    """Return the rejections of objects with these names; a backend shows those of a namespace."""
    return {n: r for n, r in rejections.items() if n in names or n.startswith(prefixes)}


def withdrawn(own: Iterable[str], wanted: Iterable[Manifest]) -> tuple[str, ...]:
    """Return the rejected objects, as ``Kind/name``, that a pass does not want any more.

    A rejection of the past says nothing about the present: without this it would count for ever.
    """
    names = {f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in wanted}
    return tuple(sorted(set(own) - names))


def may_try(rejections: Mapping[str, Rejection], manifest: Manifest, now: datetime) -> bool:
    """Return whether an object may be created now: a rejected one only after a backoff."""
    rejection = rejections.get(f"{manifest['kind']}/{manifest['metadata']['name']}")
    return rejection is None or is_due(rejection, now)


def written(old: Status, new: Status, due: datetime, now: datetime) -> Manifest | None:
    """Return the status to write; ``None`` where nothing changed or the change is not due yet."""
    if new == old or now < due:
        return None
    return replace(new, updated_at=whole_seconds(now)).to_manifest()


def unmanaged(old: Status, new: Status, now: datetime) -> Decision:
    """Return the decision about an object of dask-kubernetes: only its status is written."""
    manifest = written(old, new, now, now)
    if manifest is None:
        return NOTHING
    # The number of its workers is unknown, not zero.
    return Decision(status={k: v for k, v in manifest.items() if k not in _COUNTS})


def first_problem(pods: Iterable[PodFacts], words: Words = OF_MANIFESTS) -> Diagnosis | None:
    """Return why the first of some pods that has a problem is not ready."""
    found = (crash_loop(pod, words) or waiting_for(pod) for pod in pods if not pod.ready)
    return next((problem for problem in found if problem), None)
