"""A passing fault passes: whatever every write was answered for a while, all goes on soon after."""

from __future__ import annotations

import asyncio
import json

import pytest

from daskjob.controller.passes import Passes
from daskjob.core import names
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Key, ObjectRef, metadata
from daskjob.kube.errors import error_of
from tests.controller import virtual_time
from tests.controller.test_any_answers import AnyAnswers
from tests.core import manifests

pytestmark = pytest.mark.virtual_time

KEY = Key(names.Kind.JOB, "default", "sums")
#: The bound after the end of a fault.
SOON_SECONDS = 15
ROLE_IS_MISSING = 'pods is forbidden: User "operator" cannot create resource "pods"'
WEBHOOK = 'admission webhook "x.example.com" denied the request'


class Faulty(AnyAnswers):
    """A world in which every write is answered with an error, for a while."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__([], [])
        self.fails = False
        self._code = code
        self._body = json.dumps({"message": message}).encode()

    def fault(
        self, ref: ObjectRef, *, creating: bool = False, of_status: bool = False
    ) -> DaskJobError | None:
        if not self.fails:
            return None
        return error_of(str(ref), self._code, self._body, creating=creating, of_status=of_status)


@pytest.mark.parametrize("seconds", [1, 10, 25, 50])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "Unauthorized"),
        (403, ROLE_IS_MISSING),
        (403, "forbidden"),
        (403, f"exceeded quota: {ROLE_IS_MISSING}"),
        (403, "exceeded quota: pods"),
        (403, WEBHOOK),
        # The job has not begun, as far as its status says, so there is no verdict yet.
        (400, "bad request"),
        (422, "spec: Invalid value"),
        (404, "the server could not find the requested resource"),
        (405, "the server does not allow this method"),
        (409, "the object has been modified"),
        (429, "too many requests"),
        (500, "etcdserver: request timed out"),
        (500, 'failed calling webhook "x.example.com"'),
        (503, "apiserver is shutting down"),
    ],
)
async def test_job_that_is_made_during_a_fault_runs_within_15_s_of_its_end(
    code: int, message: str, seconds: int
) -> None:
    world = Faulty(code, message)
    passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
    world.subscribe(passes.wake)
    life = asyncio.create_task(passes.run())
    world.fails = True
    world.submit(manifests.job())
    world.submit(manifests.cluster("earlier"))
    await asyncio.sleep(seconds)
    world.fails = False
    await asyncio.sleep(SOON_SECONDS)
    assert world.job_status(KEY).job_status == "ClusterCreated"
    made = {metadata(pod)["name"] for pod in world.pods()}
    assert made >= {"sums-runner", "sums-scheduler", "earlier-scheduler"}
    assert len([name for name in made if "-worker-" in name]) == 4
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)


@pytest.mark.parametrize("seconds", [1, 10, 25, 50])
@pytest.mark.parametrize(
    ("code", "message"), [(403, ROLE_IS_MISSING), (403, "forbidden"), (403, WEBHOOK), (422, "x")]
)
async def test_what_follows_an_end_during_a_fault_happens_within_15_s_of_the_faults_end(
    code: int, message: str, seconds: int
) -> None:
    """A status, deletions and patches: of a job that ended, and of one that is cancelled."""
    world = Faulty(code, message)
    passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
    world.subscribe(passes.wake)
    life = asyncio.create_task(passes.run())
    world.submit(manifests.job())
    cancelled = world.submit(manifests.job("other"))
    for _ in range(4):
        await asyncio.sleep(3)
        world.start_all()
    world.fails = True
    world.exit(world.pod("sums-runner"), 0)
    world.edit(cancelled, cancel=True)
    await asyncio.sleep(seconds)
    world.fails = False
    await asyncio.sleep(SOON_SECONDS)
    world.kubelet()
    await asyncio.sleep(1)
    assert world.job_status(KEY).job_status == "Successful"
    assert world.job_status(cancelled).reason == "Cancelled"
    assert world.store.get(Key(names.Kind.CLUSTER, "default", "sums")) is None
    assert world.store.get(Key(names.Kind.CLUSTER, "default", "other")) is None
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
