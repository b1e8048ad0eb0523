"""Slots of requests in flight: a namespace holds a few, and those that wait take turns."""

from __future__ import annotations

import asyncio

import pytest

from daskjob.backends.kubernetes.asking.slots import FairSlots


class Given:
    """Slots, and the requests that hold one, in the order in which they got it."""

    def __init__(self, total: int, each: int) -> None:
        self.slots = FairSlots(total, each)
        self.got: list[str] = []
        self._ends: dict[asyncio.Task[None], asyncio.Event] = {}

    async def ask(self, namespace: str) -> asyncio.Task[None]:
        end = asyncio.Event()
        task = asyncio.create_task(self._hold(namespace, end))
        self._ends[task] = end
        await asyncio.sleep(0)
        return task

    async def _hold(self, namespace: str, end: asyncio.Event) -> None:
        async with self.slots.slot(namespace):
            self.got.append(namespace)
            await end.wait()

    async def end(self, task: asyncio.Task[None]) -> None:
        self._ends[task].set()
        await task
        await asyncio.sleep(0)

    async def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)

    async def end_all(self) -> None:
        for end in self._ends.values():
            end.set()
        await asyncio.gather(*self._ends, return_exceptions=True)


async def test_a_namespace_holds_only_its_share() -> None:
    given = Given(total=4, each=2)
    for namespace in "aaab":
        await given.ask(namespace)
    assert given.got == ["a", "a", "b"]
    await given.end_all()
    assert given.got == ["a", "a", "b", "a"]
    assert len(given.slots) == 0


async def test_namespaces_that_wait_take_turns() -> None:
    given = Given(total=1, each=1)
    first = await given.ask("a")
    later = [await given.ask(namespace) for namespace in "aaabbc"]
    await given.end(first)
    for _ in later:
        holder = next(task for task in later if not task.done() and _holds(given, task, later))
        await given.end(holder)
    assert given.got == ["a", "a", "b", "c", "a", "b", "a"]


def _holds(given: Given, task: asyncio.Task[None], later: list[asyncio.Task[None]]) -> bool:
    """Return whether a request holds the only slot: of its namespace, the first that is left."""
    namespaces = dict(zip(later, "aaabbc", strict=True))
    left = [one for one in later if not one.done() and namespaces[one] == given.got[-1]]
    return task is left[0]


@pytest.mark.parametrize("steps", range(4))
async def test_a_request_that_is_cancelled_leaves_no_slot_taken(steps: int) -> None:
    given = Given(total=1, each=1)
    first, second = await given.ask("a"), await given.ask("a")
    third = await given.ask("b")
    given._ends[first].set()
    for _ in range(steps):
        # So that it is cancelled before, when and after it gets its slot.
        await asyncio.sleep(0)
    await given.cancel(second)
    await given.cancel(third)
    await given.end_all()
    assert len(given.slots) == 0
    await given.ask("c")
    assert given.got[-1] == "c"
    await given.end_all()
