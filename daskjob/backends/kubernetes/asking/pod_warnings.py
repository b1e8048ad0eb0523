"""Kubernetes' own words on pods that are stuck: their Events, asked for beside the passes.

A pod's status does not say why it is being created for ever; Events do (``core.pod_warnings``). To
watch them all would be the largest of all watches, for pods that are nearly always well. So those
of a stuck pod alone are asked for, once a minute, a few pods at a time. No pass waits for that, nor
fails because of it: the answer wakes it.
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
from daskjob.kube.errors import UnexpectedObject

logger = logging.getLogger(__name__)

#: Questions in flight at once: a thousand stuck pods must not take the turns of all other requests.
QUESTIONS = 4

#: Returns a list of the warnings that Events tell of a pod, as the API server writes it.
Ask = Callable[[ObjectRef], Awaitable[bytes]]


class _Events(msgspec.Struct):
    items: list[dict[str, Any]] | None = None


_EVENTS = msgspec.json.Decoder(_Events)


class PodWarnings:
    """What Events said last of each stuck pod; ``told`` hears a pod's uid with each answer."""

    def __init__(
        self,
        ask: Ask,
        told: Callable[[str], None],
        background: Background,
        clock: Callable[[], datetime],
    ) -> None:
        self._ask = ask
        self._told = told
        self._background = background
        self._clock = clock
        self._in_flight = asyncio.Semaphore(QUESTIONS)
        #: By the pod's uid; ``None``: nothing was said, or not yet.
        self._warnings_of: dict[str, PodWarning | None] = {}
        #: By the owner's uid: pods of one group are made alike, and ask as one.
        self._asked_at: dict[str, datetime] = {}

    def of(self, pods: Iterable[PodFacts]) -> dict[str, PodWarning]:
        """Return what is known of stuck pods, by their uid, and ask for what is not, or not now."""
        found: dict[str, PodWarning] = {}
        for pod in pods:
            self._ask_if_due(pod)
            warnings = self._warnings_of.get(pod.ref.uid)
            if warnings is not None:
                found[pod.ref.uid] = warnings
        return found

    def forget(self, uid: str) -> None:
        """Let go of a pod, or of an owner of pods, that is gone."""
        self._warnings_of.pop(uid, None)
        self._asked_at.pop(uid, None)

    def _ask_if_due(self, pod: PodFacts) -> None:
        now, last = self._clock(), self._asked_at.get(pod.owner_uid)
        # A time of day that was set back must not silence the question until it is caught up with.
        if last is not None and last <= now < last + timedelta(seconds=AGAIN_SECONDS):
            return
        self._asked_at[pod.owner_uid] = now
        self._warnings_of.setdefault(pod.ref.uid, None)
        self._background(self._question(pod.ref))

    async def _question(self, ref: ObjectRef) -> None:
        try:
            async with self._in_flight:
                warnings = latest_warning(_events(await self._ask(ref)), self._clock())
        except DaskJobError as error:
            # What was known stays known; it is asked again in a minute.
            logger.info("what Events say of %s is not known: %s", ref, error)
            return
        if ref.uid in self._warnings_of:
            self._warnings_of[ref.uid] = warnings
            self._told(ref.uid)


def _events(data: bytes) -> list[dict[str, Any]]:
    try:
        return _EVENTS.decode(data).items or []
    except msgspec.MsgspecError as error:
        raise UnexpectedObject(f"not a list of Events: {error}") from error
