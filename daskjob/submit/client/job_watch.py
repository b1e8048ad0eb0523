"""One watch for everything that is awaited about the jobs of a namespace.

It begins with the first subscriber, and ends some seconds after the last one: programs wait for one
job after the other. While a single job is of interest, it selects that job by name, so that a large
namespace is not listed for it; otherwise it selects all jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest, ObjectRef, metadata, object_ref
from daskjob.core.names import Kind
from daskjob.kube.api import Api
from daskjob.kube.decoding import version_number
from daskjob.kube.objects import PACE, Change, get_object, list_objects, watching
from daskjob.kube.resources import JOBS, Selection, selection_of

#: How long the watch goes on without a subscriber.
LINGER_SECONDS = 5.0


@dataclass(eq=False)
class Subscription:
    """What is known of one job, of one uid."""

    ref: ObjectRef
    #: The job as it was last seen.
    latest: Manifest = field(default_factory=dict)
    #: Whether it was deleted.
    gone: bool = False
    _failed: DaskJobError | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, change: Change) -> None:
        """Take in a change of an object that has the job's name."""
        if change.ref.uid != self.ref.uid:
            return
        if change.manifest and _version(change.manifest) >= _version(self.latest):
            self.latest = change.manifest
        self.gone = self.gone or change.gone
        self._changed.set()

    def show_listed(self, found: Manifest | None, *, is_newer: bool) -> None:
        """Take in what a list has under the job's name.

        In one that is newer than the subscription, a missing job is gone.
        """
        if found is not None and object_ref(found) == self.ref:
            self.show(Change(self.ref, found))
        elif is_newer:
            self.show(Change(self.ref, None, gone=True))

    def fail(self, error: DaskJobError) -> None:
        """End with the error of the watch."""
        self._failed = error
        self._changed.set()

    async def change(self) -> None:
        """Wait until there is something new.

        Raises
        ------
        NotFound
            The job is gone; what ``latest`` shows is how it ended, if it did before that.
        DaskJobError
            The watch failed for good.
        """
        await self._changed.wait()
        self._changed.clear()
        if self._failed is not None:
            raise self._failed


class JobWatch:
    """The shared watch of the jobs of one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._task: asyncio.Task[None] | None = None
        #: The name that the running watch selects; empty: all jobs.
        self._selected = ""
        #: Whether the first list of the running watch was requested.
        self._begun = False
        self._ending: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def subscription(self, ref: ObjectRef) -> AsyncIterator[Subscription]:
        """Follow the job of this uid; its current state is the first change.

        Raises
        ------
        NotFound
            There is no such job.
        """
        subscribed = Subscription(ref)
        self._subscriptions.setdefault(ref.name, []).append(subscribed)
        try:
            self._run(ref.name)
            if self._begun:
                # The watch may lag behind: a job that was created just now must be found.
                found = await get_object(self._api, ref)
                if not subscribed.latest:
                    subscribed.show(Change(ref, found))
            yield subscribed
        finally:
            self._remove(subscribed)

    async def close(self) -> None:
        """End the watch."""
        if self._ending is not None:
            self._ending.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _remove(self, subscribed: Subscription) -> None:
        others = self._subscriptions[subscribed.ref.name]
        others.remove(subscribed)
        if others:
            return
        del self._subscriptions[subscribed.ref.name]
        if not self._subscriptions:
            loop = asyncio.get_running_loop()
            self._ending = loop.call_later(LINGER_SECONDS, self._end)

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = None

    def _run(self, name: str) -> None:
        """Run the watch; one of another single job is replaced by one of all jobs."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        running = self._task is not None and not self._task.done()
        if running and self._selected in ("", name):
            return
        if running and not self._begun:
            self._selected = ""
            return
        before, self._begun = self._task, False
        self._selected = "" if running or len(self._subscriptions) > 1 else name
        self._task = asyncio.create_task(self._watch(before))
        if before is not None:
            before.cancel()

    async def _watch(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            # Never two at once.
            await asyncio.wait({before})
        try:
            self._begun, selection, before_list = True, self._selection(), set(self._all())
            listed = await list_objects(self._api, selection)
            # The list may have a change that those who came meanwhile have not seen, and that the
            # watch, which continues from the list, does not show again.
            found = {object_ref(item).name: item for item in listed.items}
            for subscribed in self._all():
                item = found.get(subscribed.ref.name)
                subscribed.show_listed(item, is_newer=subscribed in before_list)
            async with watching(self._api, selection, since=listed, pace=PACE) as changes:
                async for change in changes:
                    for subscribed in self._subscriptions.get(change.ref.name, ()):
                        subscribed.show(change)
        except DaskJobError as error:
            for subscribed in self._all():
                subscribed.fail(error)

    def _selection(self) -> Selection:
        if self._selected:
            return selection_of(ObjectRef(Kind.JOB, self._namespace, self._selected))
        return Selection(JOBS, self._namespace)

    def _all(self) -> list[Subscription]:
        return [one for several in self._subscriptions.values() for one in several]


def _version(manifest: Manifest) -> int:
    return version_number(str(metadata(manifest).get("resourceVersion", "")))
