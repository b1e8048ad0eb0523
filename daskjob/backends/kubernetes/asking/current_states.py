"""Current states of schedulers, for passes that may remove workers.

A worker that registered since an older answer may hold data. So a pass over a group that may shrink
needs an answer of this moment. It does not wait for a tenant's pod: it is set aside, and the answer
wakes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from daskjob.backends.background import Background
from daskjob.backends.kubernetes.asking.agents import Agents, Endpoint
from daskjob.core.dask import DaskState
from daskjob.core.errors import AnswerPending
from daskjob.core.manifests import Key

#: How old an answer may be when its pass begins, in seconds.
CURRENT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Answer:
    endpoint: Endpoint
    #: ``None``: the scheduler did not answer.
    state: DaskState | None
    at: float


class CurrentStates:
    """Answers for one pass each, by the group's uid.

    ``on_answer`` is called with the key of a group that got an answer; ``exists`` returns whether
    the object of a uid still exists.
    """

    def __init__(
        self,
        agents: Agents,
        on_answer: Callable[[Key], None],
        exists: Callable[[str], bool],
        background: Background,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agents = agents
        self._on_answer = on_answer
        self._exists = exists
        self._background = background
        self._clock = clock
        self._answers: dict[str, _Answer] = {}
        self._under_way: set[str] = set()

    def forget(self, group_uid: str) -> None:
        """Discard the answer for a group that is gone."""
        self._answers.pop(group_uid, None)

    def take(
        self, group: Key, group_uid: str, cluster_uid: str, endpoint: Endpoint
    ) -> DaskState | None:
        """Return the scheduler's current state; ``None`` if it does not answer.

        Raises
        ------
        AnswerPending
            It was asked now, or a moment ago. Its answer wakes the group's pass, within 2 s.
        """
        answer = self._answers.pop(group_uid, None)
        if answer is not None and self._is_current(answer, endpoint):
            return answer.state
        if group_uid not in self._under_way:
            self._under_way.add(group_uid)
            self._background(self._question(group, group_uid, cluster_uid, endpoint))
        raise AnswerPending(f"{group}: its scheduler was asked for its state")

    def _is_current(self, answer: _Answer, endpoint: Endpoint) -> bool:
        return answer.endpoint == endpoint and self._clock() - answer.at <= CURRENT_SECONDS

    async def _question(
        self, group: Key, group_uid: str, cluster_uid: str, endpoint: Endpoint
    ) -> None:
        state: DaskState | None = None
        try:
            state = await self._agents.fresh(cluster_uid, endpoint)
        finally:
            self._under_way.discard(group_uid)
            if self._exists(group_uid):
                self._answers[group_uid] = _Answer(endpoint, state, self._clock())
                self._on_answer(group)
