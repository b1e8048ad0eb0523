"""Warnings from the Events of stuck pods, listed in the background.

A pod's status does not show why it stays in ContainerCreating; Events do (``core.pod_warnings``).
Watching all Events would be the largest of all watches, for pods that are nearly always healthy. So
only the Events of stuck pods are listed, once a minute, a few pods at a time. No pass waits for
that or fails because of it: the answer wakes the pass.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from daskjob.backends.background import Background
from daskjob.core.diagnose import AGAIN_SECONDS
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import ObjectRef
from daskjob.core.pod_warnings import PodWarning, latest_warning
from daskjob.core.pods import PodFacts
from daskjob.kube.decoding import decoded

logger = logging.getLogger(__name__)

#: Requests in flight: a thousand stuck pods must not displace all other requests.
QUESTIONS = 4

#: Returns the list of a pod's warning Events, as sent by the API server.
Ask = Callable[[ObjectRef], Awaitable[bytes]]


class _Events(msgspec.Struct):
    items: list[dict[str, Any]] | None = None


_EVENTS = msgspec.json.Decoder(_Events)


class PodWarnings:
    """The latest warning about each stuck pod; calls ``on_answer`` with the pod's uid."""

    def __init__(
        self,
        ask: Ask,
        on_answer: Callable[[str], None],
        background: Background,
        clock: Callable[[], datetime],
    ) -> None:
        self._ask = ask
        self._on_answer = on_answer
        self._background = background
        self._clock = clock
        self._in_flight = asyncio.Semaphore(QUESTIONS)
        #: By the pod's uid; ``None``: no warning, or not listed yet.
        self._warnings_of: dict[str, PodWarning | None] = {}
        #: By namespace and owner's uid: pods of one group are alike, so one of them is enough.
        self._asked_at: dict[tuple[str, str], datetime] = {}

    def of(self, pods: Iterable[PodFacts]) -> dict[str, PodWarning]:
        """Return the known warnings of stuck pods by uid, and list Events where that is due."""
        found: dict[str, PodWarning] = {}
        for pod in pods:
            self._ask_if_due(pod)
            warning = self._warnings_of.get(pod.ref.uid)
            if warning is not None:
                found[pod.ref.uid] = warning
        return found

    def forget(self, gone: ObjectRef) -> None:
        """Discard the records of a pod, or of an owner of pods, that is gone."""
        self._warnings_of.pop(gone.uid, None)
        self._asked_at.pop((gone.namespace, gone.uid), None)

    def _ask_if_due(self, pod: PodFacts) -> None:
        owner = (pod.ref.namespace, pod.owner_uid)
        now, last = self._clock(), self._asked_at.get(owner)
        # If the clock was set back, do not wait until it has caught up.
        if last is not None and last <= now < last + timedelta(seconds=AGAIN_SECONDS):
            return
        self._asked_at[owner] = now
        self._warnings_of.setdefault(pod.ref.uid, None)
        self._background(self._question(pod.ref))

    async def _question(self, ref: ObjectRef) -> None:
        try:
            async with self._in_flight:
                warning = latest_warning(_events(await self._ask(ref)), self._clock())
        except DaskJobError as error:
            # The last warning is kept; the next try is in a minute.
            logger.info("cannot list the Events of %s: %s", ref, error)
            return
        if ref.uid in self._warnings_of:
            self._warnings_of[ref.uid] = warning
            self._on_answer(ref.uid)


def _events(data: bytes) -> list[dict[str, Any]]:
    return decoded(_EVENTS, data, "a list of Events").items or []
