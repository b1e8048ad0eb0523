"""The operator from its start to its end, in a world and a time of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from daskjob.controller import memory
from daskjob.controller.kopf_runner import KopfRunner
from daskjob.controller.leader_only import NotLeading
from daskjob.controller.lease import AllLeases, Alone
from daskjob.controller.operator import Operator, kept_running, leadership
from daskjob.controller.options import Options, parse
from daskjob.controller.plugins import Plugin
from daskjob.controller.world import World
from daskjob.core.errors import ApiError, DaskJobError
from daskjob.core.manifests import Key
from daskjob.core.observed import Platform
from daskjob.kube.request_metrics import RequestMetrics
from tests.controller import virtual_time
from tests.controller.worlds import ScriptedWorld
from tests.core import manifests

KEY = Key("DaskJob", "default", "sums")


class Story:
    """A world, and the operators that a test starts on it."""

    def __init__(self) -> None:
        self.world = ScriptedWorld()
        self.attempts = 0
        #: What reaching the world raises, as long as it is set.
        self.trouble: DaskJobError | None = None
        self.asked_for: tuple[str, ...] | None = None

    async def connect(
        self, namespaces: tuple[str, ...], _platform: Platform, _metrics: RequestMetrics
    ) -> World:
        self.attempts += 1
        if self.trouble is not None:
            raise self.trouble
        self.asked_for = namespaces
        return self.world

    @contextlib.asynccontextmanager
    async def operator(self, *words: str, name: str = "me") -> AsyncIterator[Operator]:
        """Run an operator as long as the block runs, and end it as a signal does."""
        options = replace(parse(words, {}), identity=name)
        operator = Operator(
            options, self.connect, KopfRunner([], options.namespaces), virtual_time.clock
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


def told(tell: Callable[[Story], object]) -> Story:
    """Tell a story with an operator in it."""
    found: list[Story] = []

    async def main() -> None:
        story = Story()
        found.append(story)
        result = tell(story)
        assert asyncio.iscoroutine(result)
        await result
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something still runs"

    virtual_time.run(main())
    return found[0]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("daskjob.controller")]


# The start


def test_operator_runs_jobs_from_its_start_to_its_end() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            story.world.submit(manifests.job())
            await story.run_job()
            assert story.world.job_status(KEY).job_status == "Running"
        assert story.world.closed
        assert story.ended_in < 0.1

    told(tell)


def test_one_line_says_that_it_is_ready(caplog: pytest.LogCaptureFixture) -> None:
    async def tell(story: Story) -> None:
        story.world.submit(manifests.job())
        async with story.operator("-n", "default"):
            await asyncio.sleep(1)

    with caplog.at_level(logging.INFO):
        told(tell)
    ready = [line for line in messages(caplog) if "ready" in line]
    assert len(ready) == 1
    assert "is ready after 0.0 s: looks at namespace default, 1 objects" in ready[0]


def test_world_that_cannot_be_reached_is_tried_again_and_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tell(story: Story) -> None:
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

    with caplog.at_level(logging.INFO):
        told(tell)
    assert "no way to a Kubernetes: there is no kubeconfig; trying again in 1 s" in messages(caplog)


def test_operator_that_reaches_no_world_ends_when_it_is_told_to() -> None:
    async def tell(story: Story) -> None:
        story.trouble = ApiError("there is no kubeconfig")
        async with story.operator():
            await asyncio.sleep(100)
        assert story.ended_in < 0.1

    told(tell)


def test_nothing_is_done_before_the_first_lists_are_complete(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tell(story: Story) -> None:
        story.world.first_lists.clear()
        story.world.submit(manifests.job())
        async with story.operator() as operator:
            await asyncio.sleep(100)
            assert story.world.writes == []
            assert story.world.leases.requests == []
            assert operator.readyz().code == 503
            story.world.first_lists.set()
            await asyncio.sleep(1)
            assert operator.readyz().code == 200
            assert story.world.writes != []

    with caplog.at_level(logging.WARNING):
        told(tell)
    waiting = "still waiting for the first lists of the API server"
    assert 2 <= messages(caplog).count(waiting) <= 5


def test_named_namespaces_are_watched_and_a_pattern_is_looked_at_in_part() -> None:
    async def tell(story: Story) -> None:
        story.world.submit(manifests.job())
        async with story.operator("-n", "a", "-n", "b"):
            await asyncio.sleep(1)
        assert story.asked_for == ("a", "b")
        story.asked_for = None
        async with story.operator("-n", "team-*"):
            await asyncio.sleep(1)
        assert not story.asked_for
        assert story.world.writes == []

    told(tell)


# Leading


def test_of_two_operators_one_makes_passes_and_the_other_follows_it() -> None:
    async def tell(story: Story) -> None:
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
                assert len(story.world.writes) == writes, "to take over is no reason to write"
                story.world.exit(story.world.pod("sums-runner"), 0)
                await asyncio.sleep(1)
                assert story.world.job_status(KEY).finished

    told(tell)


def test_operator_that_cannot_renew_its_lease_makes_no_passes_until_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tell(story: Story) -> None:
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

    with caplog.at_level(logging.WARNING):
        told(tell)
    assert any("could not be renewed in time; standing by" in line for line in messages(caplog))


def test_write_of_a_pass_that_outlives_the_lead_is_not_sent() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            await asyncio.sleep(1)
            story.world.hold = asyncio.Event()
            story.world.submit(manifests.job())
            await asyncio.sleep(0)
            # The process is stopped in the middle of a pass, for a minute.
            loop = asyncio.get_running_loop()
            assert isinstance(loop, virtual_time.VirtualLoop)
            await asyncio.sleep(0.1)
            loop.now += 60.0
            story.world.hold.set()
            story.world.hold = None
            for _ in range(20):
                await asyncio.sleep(0)
            assert story.world.writes == []

    told(tell)


def test_world_is_told_to_ask_for_the_lead_once_more_right_before_it_sends() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            await asyncio.sleep(1)
            story.world.check()
            story.world.leases.trouble = ApiError("503")
            await asyncio.sleep(14)
            with pytest.raises(NotLeading):
                story.world.check()
            story.world.leases.trouble = None
            await asyncio.sleep(20)
            story.world.check()

    told(tell)


def test_leases_are_in_the_watched_namespaces_or_in_kube_system() -> None:
    leases = ScriptedWorld().leases
    assert isinstance(leadership(leases, parse(["--no-lease"], {})), Alone)
    for words, where in (([], ["kube-system"]), (["-n", "b,a"], ["a", "b"])):
        lead = leadership(leases, parse(words, {}))
        assert isinstance(lead, AllLeases)
        assert [one.namespace for one in lead._holders] == where


def test_operator_without_a_lease_asks_for_none() -> None:
    async def tell(story: Story) -> None:
        async with story.operator("--no-lease") as operator:
            await asyncio.sleep(100)
            assert operator.readyz().text == "leader\n"
        assert story.world.leases.requests == []

    told(tell)


def test_operator_lets_go_of_what_nobody_uses_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments: list[float] = []
    monkeypatch.setattr(memory, "give_back", lambda _: moments.append(virtual_time.clock()))

    async def tell(story: Story) -> None:
        started = virtual_time.clock()
        async with story.operator():
            await asyncio.sleep(150)
        assert [round(moment - started) for moment in moments] == [60, 120]

    told(tell)


def test_idle_operator_asks_for_nothing_but_its_lease() -> None:
    async def tell(story: Story) -> None:
        story.world.submit(manifests.cluster())
        async with story.operator():
            await story.run_job()
            await asyncio.sleep(60)
            writes, requests = len(story.world.writes), len(story.world.leases.requests)
            await asyncio.sleep(3600)
            assert len(story.world.writes) == writes
            assert len(story.world.leases.requests) - requests <= 361

    told(tell)


# Trouble


def test_operator_is_not_alive_when_the_watches_are_silent() -> None:
    async def tell(story: Story) -> None:
        async with story.operator() as operator:
            await asyncio.sleep(1)
            story.world.silent = 121.0
            assert operator.healthz().code == 503

    told(tell)


def test_operator_is_not_alive_when_all_passes_hang() -> None:
    async def tell(story: Story) -> None:
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

    told(tell)


def test_what_failed_in_a_long_outage_is_tried_again_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_key: Key) -> None:
        raise ApiError("503")

    async def tell(story: Story) -> None:
        story.world.submit(manifests.job())
        story.world.before_pass = broken
        async with story.operator():
            await asyncio.sleep(3600)
            story.world.silent = 3600.0
            await asyncio.sleep(60)
            story.world.before_pass = lambda _key: None
            story.world.silent = 0.0
            await asyncio.sleep(7)
            assert story.world.job_status(KEY).started

    with caplog.at_level(logging.INFO):
        told(tell)
    assert "the API server answers again: what failed is tried again" in messages(caplog)


def test_watches_that_break_are_started_again(caplog: pytest.LogCaptureFixture) -> None:
    starts = []

    async def run() -> None:
        starts.append(virtual_time.clock())
        if len(starts) < 4:
            raise KeyError("kind")

    virtual_time.run(kept_running("the watches", run))
    assert len(starts) == 4
    waits = [round(later - earlier) for earlier, later in itertools.pairwise(starts)]
    assert waits == sorted(waits)
    assert "the watches broke: KeyError: 'kind'; starting again in 1 s" in caplog.text


# The end


def test_passes_under_way_have_3_s_to_finish() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            await asyncio.sleep(1)
            story.world.hold = asyncio.Event()
            story.world.submit(manifests.job())
            await asyncio.sleep(1)
            asyncio.get_running_loop().call_later(2.0, story.world.hold.set)
        assert story.ended_in == pytest.approx(2.0, abs=0.1)
        assert story.world.job_status(KEY).started

    told(tell)


def test_pass_that_hangs_keeps_nobody_from_leaving() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            await asyncio.sleep(1)
            story.world.hold = asyncio.Event()
            story.world.submit(manifests.job())
            await asyncio.sleep(1)
        assert story.ended_in <= 5.0
        assert story.world.writes == []

    told(tell)


def test_operator_that_ends_lets_its_lease_go() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            await asyncio.sleep(1)
            assert story.world.leases.holder() == "me"
        assert story.world.leases.holder() == ""

    told(tell)


def test_api_server_that_does_not_answer_keeps_nobody_from_leaving() -> None:
    async def tell(story: Story) -> None:
        async with story.operator():
            await asyncio.sleep(1)
            story.world.leases.seconds = 3600.0
        assert story.ended_in <= 5.0

    told(tell)


# Plugins


def test_plugins_are_loaded_where_the_operator_leads_and_nowhere_else() -> None:
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

    asyncio.run(main())
