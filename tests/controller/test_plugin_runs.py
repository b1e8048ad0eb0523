"""The plugins' handlers run where the operator leads, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest

from daskjob.controller.kopf_runner import KopfRunner
from daskjob.controller.namespaces import Namespaces, namespaces_of
from daskjob.controller.plugin_runs import PluginRuns
from daskjob.controller.scope import Scope
from tests.controller import virtual_time

pytestmark = pytest.mark.virtual_time


@dataclass
class Led:
    """A scope that is led or not."""

    namespace: str | None
    leading: bool = False


class Runs:
    """A kopf that only records where it runs, and the scopes of its operator."""

    def __init__(self, *names: str | None) -> None:
        self.scopes = {name: Led(name) for name in names}
        #: Where it runs now; ``None``: nowhere.
        self.now: tuple[str, ...] | None = None
        self.starts = 0
        namespaces = namespaces_of(name for name in names if name)
        self.runs = PluginRuns(
            cast(KopfRunner, self),
            namespaces,
            lambda: cast(list[Scope], [*self.scopes.values()]),
            virtual_time.clock,
        )

    async def run(self, namespaces: Namespaces) -> None:
        self.now = namespaces.patterns
        self.starts += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.now = None

    async def lead(self, **led: bool) -> None:
        for name, leading in led.items():
            self.scopes[name].leading = leading
        self.runs.changed()
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(*names: str | None) -> AsyncIterator[Runs]:
    runs = Runs(*names)
    task = asyncio.create_task(runs.runs.run())
    await asyncio.sleep(0.1)
    try:
        yield runs
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert runs.now is None


async def test_handlers_run_everywhere_as_soon_as_the_operator_leads_everywhere() -> None:
    async with running("a", "b") as runs:
        await runs.lead(a=True)
        assert not runs.starts
        await runs.lead(b=True)
        assert (runs.now, runs.starts) == (("a", "b"), 1)


async def test_handlers_run_in_some_namespaces_after_5_s_if_the_others_are_not_led() -> None:
    async with running("a", "b") as runs:
        await runs.lead(a=True)
        await asyncio.sleep(5)
        assert runs.now == ("a",)


async def test_handlers_stop_at_once_where_the_lead_is_lost_and_go_on_elsewhere() -> None:
    async with running("a", "b") as runs:
        await runs.lead(a=True, b=True)
        await runs.lead(b=False)
        assert runs.now != ("a", "b")
        await asyncio.sleep(5)
        assert runs.now == ("a",)
        await runs.lead(a=False)
        assert runs.now is None


async def test_lease_that_changes_hands_disturbs_other_handlers_twice_a_minute_at_most() -> None:
    async with running("a", "b") as runs:
        await runs.lead(a=True)
        for _ in range(60):
            await runs.lead(b=True)
            await asyncio.sleep(10)
            await runs.lead(b=False)
            await asyncio.sleep(5)
        assert runs.starts <= 2 * 15 + 2
        await runs.lead(b=True)
        await asyncio.sleep(61)
        assert runs.now == ("a", "b")


async def test_operator_of_all_namespaces_runs_handlers_in_all_of_them() -> None:
    async with running(None) as runs:
        runs.scopes[None].leading = True
        await runs.lead()
        assert runs.now == ()
