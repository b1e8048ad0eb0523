"""The operator from start to end, with a scripted backend and in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from daskjob.controller import memory
from daskjob.controller.kopf_runner import KopfRunner
from daskjob.controller.leader_only import NotLeading
from daskjob.controller.lease import Alone, LeaseHolder
from daskjob.controller.operator import Operator, leadership
from daskjob.controller.options import Options, parse
from daskjob.controller.plugins import Plugin
from daskjob.controller.tasks import kept_running
from daskjob.controller.world import World
from daskjob.core.errors import ApiError, DaskJobError
from daskjob.core.manifests import Key
from daskjob.core.observed import Platform
from daskjob.kube.request_metrics import RequestMetrics
from tests.controller import virtual_time
from tests.controller.worlds import ScriptedWorld
from tests.core import manifests

pytestmark = pytest.mark.virtual_time

KEY = Key("DaskJob", "default", "sums")


class Story:
    """A backend, and the operators that a test starts on it."""

    def __init__(self) -> None:
        self.world = ScriptedWorld()
        self.attempts = 0
        #: Raised by each attempt to connect while it is set.
        self.trouble: DaskJobError | None = None
        self.asked_for: tuple[str, ...] | None = None

    async def connect(
        self, namespaces: tuple[str, ...], _platform: Platform, _metrics: RequestMetrics
    ) -> World:
        self.attempts += 1
        if self.trouble is not None:
            raise self.trouble
        self.asked_for = namespaces
        for name in namespaces:
            self.world.add(name)
        return self.world

    @contextlib.asynccontextmanager
    async def operator(self, *arguments: str, name: str = "me") -> AsyncIterator[Operator]:
        """Run an operator during the block, and end it as a signal does."""
        options = replace(parse(arguments, {}), identity=name)
        runner = KopfRunner([], options.namespaces)
        # The time of day passes as the loop's time does, or a slow machine would see other passes.
        operator = Operator(
            options, self.connect, runner, virtual_time.clock, lambda: self.world.now
        )
        task = asyncio.create_task(operator.run())
        try:
            yield operator
        finally:
            started = virtual_time.clock()
            operator.end()
            await task
            self.ended_in = virtual_time.clock() - started

    async def run_job(self) -> None:
        """Let the job's pods run."""
        for _ in range(3):
            await asyncio.sleep(1)
            self.world.start_all()
        await asyncio.sleep(1)


@pytest.fixture
def story() -> contextlib.AbstractAsyncContextManager[Story]:
    return _ended(Story())


@contextlib.asynccontextmanager
async def _ended(story: Story) -> AsyncIterator[Story]:
    """Check that no task is left after the story."""
    yield story
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("daskjob.controller")]


# The start


async def test_operator_runs_jobs_from_start_to_end(story: Story) -> None:
    async with story.operator():
        story.world.submit(manifests.job())
        await story.run_job()
        assert story.world.job_status(KEY).job_status == "Running"
    assert story.world.closed
    assert story.ended_in < 0.1


async def test_one_line_reports_readiness(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        story.world.submit(manifests.job())
        async with story.operator("-n", "default"):
            await asyncio.sleep(1)
    ready = [line for line in messages(caplog) if "ready" in line]
    assert len(ready) == 1
    assert "is ready after 0.0 s: managing namespace default, 1 objects" in ready[0]


async def test_failed_connection_is_retried_until_it_succeeds(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        story.trouble = ApiError("there is no kubeconfig")
        async with story.operator() as operator:
            await asyncio.sleep(100)
            assert 5 <= story.attempts <= 10
            assert operator.readyz().code == 503
            assert operator.healthz().code == 200
            await asyncio.sleep(100)
            assert operator.healthz().code == 503
            story.trouble = None
            await asyncio.sleep(31)
            assert (operator.readyz().text, operator.healthz().code) == ("leader\n", 200)
    assert "cannot connect to Kubernetes: there is no kubeconfig; trying again in 1 s" in messages(
        caplog
    )


async def test_operator_without_a_connection_ends_on_request(story: Story) -> None:
    story.trouble = ApiError("there is no kubeconfig")
    async with story.operator():
        await asyncio.sleep(100)
    assert story.ended_in < 0.1


async def test_no_pass_runs_before_the_first_lists_are_complete(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        story.world.first_lists[None].clear()
        story.world.submit(manifests.job())
        async with story.operator() as operator:
            await asyncio.sleep(100)
            assert story.world.writes == []
            assert story.world.leases.requests == []
            assert operator.readyz().code == 503
            story.world.first_lists[None].set()
            await asyncio.sleep(1)
            assert operator.readyz().code == 200
            assert story.world.writes != []
    waiting = "still waiting for the first lists of all namespaces"
    assert 2 <= messages(caplog).count(waiting) <= 5


async def test_named_namespaces_are_watched_and_patterns_filter_a_watch_of_all(
    story: Story,
) -> None:
    story.world.submit(manifests.job())
    async with story.operator("-n", "a", "-n", "b"):
        await asyncio.sleep(1)
    assert story.asked_for == ("a", "b")
    story.asked_for = None
    async with story.operator("-n", "team-*"):
        await asyncio.sleep(1)
    assert not story.asked_for
    assert story.world.writes == []


# Leading


async def test_only_the_leader_makes_passes_and_the_standby_takes_over(story: Story) -> None:
    story.world.submit(manifests.job())
    async with story.operator(name="first") as first:
        await story.run_job()
        async with story.operator(name="second") as second:
            await asyncio.sleep(30)
            assert (first.readyz().text, second.readyz().text) == ("leader\n", "standby\n")
            assert "daskjob_leader 0" in second.numbers().text
            writes = len(story.world.writes)
            first.end()
            await asyncio.sleep(5)
            assert second.readyz().text == "leader\n"
            assert len(story.world.writes) == writes, "a takeover alone writes nothing"
            story.world.exit(story.world.pod("sums-runner"), 0)
            await asyncio.sleep(1)
            assert story.world.job_status(KEY).finished


async def test_operator_that_cannot_renew_its_lease_makes_no_passes_until_it_can(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with story.operator() as operator:
            await asyncio.sleep(5)
            story.world.leases.trouble = ApiError("503")
            await asyncio.sleep(30)
            assert operator.readyz().text == "standby\n"
            story.world.submit(manifests.job())
            await asyncio.sleep(5)
            assert story.world.writes == []
            story.world.leases.trouble = None
            await asyncio.sleep(5)
            assert operator.readyz().text == "leader\n"
            assert story.world.job_status(KEY).started
    assert any("could not be renewed in time; now a standby" in line for line in messages(caplog))


async def test_write_of_a_pass_that_outlasts_the_lead_is_not_sent(story: Story) -> None:
    async with story.operator():
        await asyncio.sleep(1)
        story.world.hold = asyncio.Event()
        story.world.submit(manifests.job())
        await asyncio.sleep(0)
        # The process is stopped in the middle of a pass, for a minute.
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualLoop)
        await asyncio.sleep(0.1)
        # Otherwise it would lead again at once, and write.
        story.world.leases.trouble = ApiError("503")
        loop.now += 60.0
        story.world.hold.set()
        story.world.hold = None
        for _ in range(20):
            await asyncio.sleep(0)
        assert story.world.writes == []


async def test_backend_checks_the_lead_again_right_before_it_sends(
    story: Story,
) -> None:
    async with story.operator():
        await asyncio.sleep(1)
        story.world.check("default")
        story.world.leases.trouble = ApiError("503")
        await asyncio.sleep(14)
        with pytest.raises(NotLeading):
            story.world.check("default")
        story.world.leases.trouble = None
        await asyncio.sleep(20)
        story.world.check("default")


def test_leases_are_in_the_watched_namespaces_or_in_kube_system() -> None:
    leases = ScriptedWorld().leases
    assert isinstance(leadership(leases, None, parse(["--no-lease"], {})), Alone)
    for namespace, where in ((None, "kube-system"), ("a", "a")):
        lead = leadership(leases, namespace, parse([], {}))
        assert isinstance(lead, LeaseHolder)
        assert lead.namespace == where


async def test_operator_without_a_lease_sends_no_lease_requests(story: Story) -> None:
    async with story.operator("--no-lease") as operator:
        await asyncio.sleep(100)
        assert operator.readyz().text == "leader\n"
    assert story.world.leases.requests == []


async def test_operator_releases_unused_memory_once_a_minute(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[float] = []
    monkeypatch.setattr(memory, "give_back", lambda _: moments.append(virtual_time.clock()))

    started = virtual_time.clock()
    async with story.operator():
        await asyncio.sleep(150)
    assert [round(moment - started) for moment in moments] == [60, 120]


async def test_idle_operator_sends_only_lease_requests(story: Story) -> None:
    story.world.submit(manifests.cluster())
    async with story.operator():
        await story.run_job()
        await asyncio.sleep(60)
        writes, requests = len(story.world.writes), len(story.world.leases.requests)
        await asyncio.sleep(3600)
        assert len(story.world.writes) == writes
        assert len(story.world.leases.requests) - requests <= 361


# Failures


async def test_operator_is_not_alive_when_the_watches_are_silent(story: Story) -> None:
    async with story.operator() as operator:
        await asyncio.sleep(1)
        story.world.unanswered[None] = 121.0
        assert operator.healthz().code == 503


async def test_operator_is_not_alive_when_all_passes_hang(story: Story) -> None:
    async with story.operator() as operator:
        await asyncio.sleep(1)
        story.world.hold = asyncio.Event()
        for number in range(20):
            story.world.submit(manifests.job(f"job-{number}"))
        await asyncio.sleep(119)
        assert operator.healthz().code == 200
        await asyncio.sleep(5)
        assert operator.healthz().code == 503
        story.world.hold.set()


async def test_failed_passes_are_retried_when_a_long_outage_ends(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_key: Key) -> None:
        raise ApiError("503")

    with caplog.at_level(logging.INFO):
        story.world.submit(manifests.job())
        story.world.before_pass = broken
        async with story.operator():
            await asyncio.sleep(3600)
            story.world.silent[None] = 3600.0
            await asyncio.sleep(60)
            story.world.before_pass = lambda _key: None
            story.world.silent[None] = 0.0
            await asyncio.sleep(7)
            assert story.world.job_status(KEY).started
    assert "the watches of all namespaces work again: retrying what failed" in messages(caplog)


async def test_broken_watches_are_restarted(caplog: pytest.LogCaptureFixture) -> None:
    starts = []

    async def run() -> None:
        starts.append(virtual_time.clock())
        if len(starts) < 4:
            raise KeyError("kind")

    await kept_running("the watches", run)
    assert len(starts) == 4
    waits = [round(later - earlier) for earlier, later in itertools.pairwise(starts)]
    assert waits == sorted(waits)
    assert "the watches failed: KeyError: 'kind'; restarting in 1 s" in caplog.text


# The end


async def test_running_passes_have_3_s_to_finish(story: Story) -> None:
    async with story.operator():
        await asyncio.sleep(1)
        story.world.hold = asyncio.Event()
        story.world.submit(manifests.job())
        await asyncio.sleep(1)
        asyncio.get_running_loop().call_later(2.0, story.world.hold.set)
    assert story.ended_in == pytest.approx(2.0, abs=0.1)
    assert story.world.job_status(KEY).started


async def test_hanging_pass_does_not_block_the_exit(story: Story) -> None:
    async with story.operator():
        await asyncio.sleep(1)
        story.world.hold = asyncio.Event()
        story.world.submit(manifests.job())
        await asyncio.sleep(1)
    assert story.ended_in <= 5.0
    assert story.world.writes == []


async def test_operator_releases_its_lease_at_its_end(story: Story) -> None:
    async with story.operator():
        await asyncio.sleep(1)
        assert story.world.leases.holder() == "me"
    assert story.world.leases.holder() == ""


async def test_unresponsive_api_server_does_not_block_the_exit(story: Story) -> None:
    async with story.operator():
        await asyncio.sleep(1)
        story.world.leases.seconds = 3600.0
    assert story.ended_in <= 5.0


# Plugins


def test_plugins_are_loaded_only_by_the_leader() -> None:
    loaded: list[str] = []

    def reject() -> None:
        loaded.append("plugin")
        raise ImportError("no such module")

    async def main() -> None:
        story = Story()
        options: Options = parse([], {})
        await story.world.leases.create(
            {
                "metadata": {"namespace": "kube-system", "name": "daskjob-operator"},
                "spec": {"holderIdentity": "other", "leaseDurationSeconds": 3600},
            }
        )
        kopf_runner = KopfRunner([Plugin("broken", reject)], options.namespaces)
        operator = Operator(options, story.connect, kopf_runner)
        task = asyncio.create_task(operator.run())
        await asyncio.sleep(0.2)
        assert loaded == []
        operator.end()
        await task

    # In real time: a thread that loads plugins needs some.
    asyncio.run(main())
