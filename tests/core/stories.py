"""A story: one job, cluster or group in its own fake world, step by step.

Nothing sleeps: a story advances the clock. ``settle`` runs passes until nothing changes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from daskjob.backends.fake import FakeBackend
from daskjob.core import names
from daskjob.core.decide import decide
from daskjob.core.decision import Decision
from daskjob.core.manifests import Key, Manifest, metadata
from daskjob.core.reconcile import reconcile
from daskjob.core.status import JobStatus
from tests.core import manifests

JOB, CLUSTER, GROUP = names.Kind.JOB, names.Kind.CLUSTER, names.Kind.GROUP


class Story:
    """A fake world, with the actions and the queries of tests."""

    def __init__(self, manifest: Manifest, world: FakeBackend | None = None) -> None:
        self.world = world or FakeBackend()
        self.key = self.world.submit(manifest)

    # Actions

    def settle(self) -> None:
        """Run passes over everything until nothing changes."""
        asyncio.run(self.world.settle())

    def one_pass(self, key: Key | None = None) -> list[str]:
        """Run one pass over one object; return its writes."""
        before = len(self.world.writes)
        asyncio.run(reconcile(self.world, key or self.key, self.world.now))
        return self.world.writes[before:]

    def decision(self, key: Key | None = None) -> Decision:
        """The decision of a pass now, without carrying it out."""
        observed = asyncio.run(self.world.observe(key or self.key))
        assert observed is not None
        return decide(observed, self.world.now)

    def after(self, seconds: float) -> None:
        """Advance the clock, let the kubelet act, and run passes."""
        self.world.advance(seconds)
        self.world.kubelet()
        self.settle()

    def kubelet(self) -> None:
        """Let the kubelet remove deleted pods and stop others, and run passes."""
        self.world.kubelet()
        self.settle()

    def edit(self, **spec: Any) -> None:
        """Change the spec as a user would, and run passes."""
        self.world.edit(self.key, **spec)
        self.settle()

    def bring_up(self) -> None:
        """Let the scheduler respond, all workers be ready, and the runner run."""
        self.settle()
        for _ in range(3):
            self.world.start_all()
            self.settle()

    def end_runner(self, code: int = 1, *, attempt: int = 0, **how: str) -> None:
        """Let the runner's containers end, and run passes."""
        self.world.exit(self.runner(attempt), code, **how)
        self.settle()

    # Queries

    @property
    def status(self) -> JobStatus:
        """The job's status."""
        return self.world.job_status(self.key)

    @property
    def word(self) -> str:
        """The job's ``jobStatus``."""
        return str(self.status.job_status)

    @property
    def writes(self) -> list[str]:
        """Every write that took effect so far."""
        return self.world.writes

    def runner(self, attempt: int = 0) -> Manifest:
        """The runner pod of an attempt."""
        return self.world.pod(names.runner_name(self.key.name, attempt))

    def scheduler(self) -> Manifest:
        """The scheduler pod."""
        return self.world.pods(names.Component.SCHEDULER)[0]

    def workers(self) -> list[Manifest]:
        """The worker pods, including terminating ones."""
        return self.world.pods(names.Component.WORKER)

    def pod_names(self) -> list[str]:
        """The names of all pods except workers."""
        pods = [metadata(p)["name"] for p in self.world.pods()]
        return sorted(name for name in pods if "-worker-" not in name)

    def named(self, kind: str, name: str | None = None) -> Manifest | None:
        """An object by kind and name (the story's own by default)."""
        return self.world.store.get(Key(kind, "default", name or self.key.name))

    def status_of(self, kind: str, name: str | None = None) -> Manifest:
        """The status of an object as it was written."""
        item = self.named(kind, name)
        assert item is not None
        found: Manifest = item.get("status") or {}
        return found

    def event_reasons(self) -> list[str]:
        """The reasons of the Events on the story's object, in order."""
        return [e.event.reason for e in self.world.events if e.ref.name == self.key.name]

    def condition(self, kind: str) -> tuple[bool, str] | None:
        """Status and reason of a condition of the job."""
        found = next((c for c in self.status.conditions if c.type == kind), None)
        return (found.status, found.reason) if found else None

    def until_a_destructive_step(self) -> None:
        """Run passes until the next one would stop, delete or patch an object."""
        for _ in range(5):
            decision = self.decision()
            if decision.stop or decision.delete or decision.patch:
                return
            self.one_pass()
        raise AssertionError("nothing was ever stopped, deleted or patched")


def job_story(**spec: Any) -> Story:
    """A job's story."""
    return Story(manifests.job(**spec))


def running(**spec: Any) -> Story:
    """A running job: its scheduler responds, its workers are ready."""
    story = job_story(**spec)
    story.bring_up()
    assert story.word == "Running"
    return story


def ended(code: int, **spec: Any) -> Story:
    """A job after the runner of its first attempt exited with a code."""
    story = running(**spec)
    story.end_runner(code)
    return story


def check_invariants(world: FakeBackend, subjects: set[Key]) -> None:
    """Assert the invariants of every world."""
    for item in world.store.all():
        key = Key(item["kind"], metadata(item)["namespace"], metadata(item)["name"])
        if key not in subjects:
            owners = [o for o in metadata(item).get("ownerReferences", []) if o.get("controller")]
            assert len(owners) == 1, f"{key} has {len(owners)} controllers"
            assert owners[0]["blockOwnerDeletion"] is False, key
        status = item.get("status") or {}
        if item["kind"] == JOB and "policy" in status:
            _check_job_status(status)
    schedulers = world.pods(names.Component.SCHEDULER)
    clusters = [metadata(p)["labels"][names.LABEL_CLUSTER_NAME] for p in schedulers]
    assert len(clusters) == len(set(clusters)), "two schedulers under one Service"


def _check_job_status(status: Manifest) -> None:
    word = status.get("jobStatus")
    assert word in {None, "JobCreated", "ClusterCreated", "Running", "Successful", "Failed"}
    assert ("endTime" in status) is (word in {"Successful", "Failed"})
    assert word != "Successful" or status["exitCode"] == 0
    for key, value in status.items():
        assert value is not None, f"status.{key} is null"
        assert value != "", f"status.{key} is empty"
        if key.endswith("Time"):
            assert value.endswith("Z"), f"status.{key} is {value}"
            assert "." not in value, f"status.{key} is {value}"


def assert_runner_is_deleted_after_90_s(story: Story) -> None:
    """Check it of a runner that was asked to stop, and that does not end."""
    story.world.advance(89)
    story.settle()
    assert "delete Pod/sums-runner" not in story.writes
    story.world.advance(1)
    story.settle()
    assert "delete Pod/sums-runner" in story.writes
