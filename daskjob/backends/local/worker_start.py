"""The workers for which a script's first client waits: how many, and those that do not come.

The scheduler's agent holds back the first client until they have registered, for at most 90 s. It
starts with the number from the job; a worker that keeps failing, or that a smaller scale no longer
asks for, is not waited for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.manifests import Manifest, integer, metadata
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.spec import ClusterSpec, DaskWorkerGroup, parse
from daskjob.core.worker_command import workers_per_pod

#: A worker pod that restarts this often without ever being ready is not waited for.
FAILED_RESTARTS = 2


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker pods that keep failing, and the exit code of the last failure."""

    pods: int = 0
    exit_code: int | None = None


def expected_workers(cluster: ClusterSpec) -> int:
    """Return for how many workers the first client waits; autoscaled groups: their minimum."""
    return sum(
        (group.autoscaling.minimum if group.autoscaling else group.replicas)
        * workers_per_pod(group.template)
        for group in cluster.all_groups
    )


def worker_counts(objects: Iterable[Manifest]) -> tuple[int, Failed]:
    """Return the number of workers that should come, and the pods that fail to start.

    Without a group nothing is known; then no worker is expected.
    """
    objects = list(objects)
    floors = _minimums(objects)
    expected, failed = 0, Failed()
    for group in (item for item in objects if item.get("kind") == names.Kind.GROUP):
        parsed = parse(DaskWorkerGroup, group)
        pods = [pod for pod in objects if _is_of(pod, parsed.meta.uid)]
        lost = [facts for facts in map(pod_facts, pods) if _keeps_failing(facts)]
        wanted = min(parsed.replicas, floors.get(parsed.meta.name, parsed.replicas))
        expected += max(wanted - len(lost), 0) * workers_per_pod(parsed.template)
        if lost:
            main = lost[-1].main
            code = main.last_exit_code if main else None
            failed = Failed(failed.pods + len(lost), code)
    return expected, failed


def _minimums(objects: Iterable[Manifest]) -> dict[str, int]:
    """Return the minimum of each autoscaled group, by its name."""
    found = {}
    for item in objects:
        if item.get("kind") != names.Kind.AUTOSCALER:
            continue
        spec = item.get("spec") or {}
        group = str(spec.get("workerGroup") or f"{spec.get('cluster')}-{names.DEFAULT_GROUP}")
        found[group] = integer(spec.get("minimum")) or 0
    return found


def _is_of(pod: Manifest, group_uid: str) -> bool:
    if pod.get("kind") != "Pod":
        return False
    owners = metadata(pod).get("ownerReferences") or ()
    return any(owner.get("uid") == group_uid for owner in owners)


def _keeps_failing(pod: PodFacts) -> bool:
    return not pod.ready and not pod.deleting and (pod.ended or pod.restarts >= FAILED_RESTARTS)


class WorkerStart:
    """What the run knows of the wait of its first client, for each scheduler."""

    def __init__(self) -> None:
        #: The container of the scheduler whose clients no longer wait.
        self._done = ""

    def is_pending(self, scheduler: PodFacts) -> bool:
        """Return whether clients may still wait."""
        return self._done != scheduler.identity

    def message(self, scheduler: PodFacts, answer: Manifest, failed: Failed) -> str:
        """Record the agent's answer; return which workers are missing if clients now pass."""
        if answer.get("open") is not True:
            return ""
        self._done = scheduler.identity
        missing = integer(answer.get("missing")) or 0
        if missing:
            expected = integer(answer.get("expected")) or missing
            return (
                f"{missing} of {_count(expected)} did not come within 90 s; the script continues "
                f"with {expected - missing}. Look at the workers' logs."
            )
        if failed.pods:
            code = "" if failed.exit_code is None else f" (exit code {failed.exit_code})"
            return (
                f"{_count(failed.pods)} failed to start{code}; the script does not wait for "
                "them. Look at the workers' logs."
            )
        return ""


def _count(number: int) -> str:
    return f"{number} worker" + ("" if number == 1 else "s")
