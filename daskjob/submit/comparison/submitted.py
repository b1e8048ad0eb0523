"""What differs between the job of a token and what is submitted under that token again. No I/O.

The fingerprint that decides whether it is the same submission is of the templates only: what a user
may change while the job runs, such as the number of workers, is not in it. So the job is found, and
is not what was asked for this time.
"""

from __future__ import annotations

from collections.abc import Sequence

from daskjob.core.manifests import Manifest, mapping
from daskjob.core.names import MANAGED_BY
from daskjob.core.spec import DaskJob, read
from daskjob.core.spec.group import DEFAULT_REPLICAS
from daskjob.core.spec.policy import POLICY_FIELDS, frozen
from daskjob.submit.comparison.compared import Side, compared

#: How many differences a message has.
_SHOWN = 5
_POLICY = frozenset(shape.name for shape in POLICY_FIELDS)


def differences_from(found: Manifest, sent: Manifest) -> tuple[str, ...]:
    """Return each difference as ``what: value of the job → value sent``.

    A field that is absent on one side, and has its default on the other, is no difference.
    """
    sides = (Side({**job, "spec": _resolved(job), "status": {}}) for job in (found, sent))
    return tuple(str(item) for item in compared(*sides))


def note_on(name: str, differences: Sequence[str]) -> str:
    """Return the message for people."""
    shown = "; ".join([*differences[:_SHOWN], *(["…"] if len(differences) > _SHOWN else [])])
    return (
        f"{name} was submitted before with this token, and another spec, which stays "
        f"({shown}); give another token for another job"
    )


def _resolved(job: Manifest) -> Manifest:
    """Return the spec of a job with all defaults."""
    typed = read(DaskJob, job)[0]
    given = {key: value for key, value in mapping(job.get("spec")).items() if key not in _POLICY}
    resolved = {"managedBy": MANAGED_BY, **given, **frozen(typed.policy)}
    cluster = mapping(mapping(given.get("cluster")).get("spec"))
    if cluster:
        groups = [_with_replicas(group) for group in cluster.get("workerGroups") or ()]
        worker = _with_replicas(cluster.get("worker"))
        spec = {**cluster, "worker": worker, "workerGroups": groups}
        resolved["cluster"] = {**given["cluster"], "spec": spec}
    return resolved


def _with_replicas(group: object) -> Manifest:
    found = mapping(group)
    return found if found.get("autoscaling") else {"replicas": DEFAULT_REPLICAS, **found}
