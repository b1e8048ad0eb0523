"""Requests to schedulers to retire workers: those in flight, and their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from daskjob.backends.agent_answers import NoAnswer
from daskjob.backends.background import Background
from daskjob.backends.kubernetes.asking.agents import Agents, Endpoint
from daskjob.core.dask import Retirement, host_of, retirement_from
from daskjob.core.decision import Retire
from daskjob.core.manifests import Key, Manifest
from daskjob.core.pods import PodFacts

logger = logging.getLogger(__name__)

#: Added to the agent's own timeout, for the round trip.
SLACK_SECONDS = 5.0


class Retirements:
    """The last answer and the request in flight, by the group's uid.

    ``on_answer`` is called with the key of a group that got an answer; ``exists`` returns whether
    the object of a uid still exists.
    """

    def __init__(
        self,
        agents: Agents,
        on_answer: Callable[[Key], None],
        exists: Callable[[str], bool],
        background: Background,
        clock: Callable[[], datetime],
    ) -> None:
        self._agents = agents
        self._on_answer = on_answer
        self._exists = exists
        self._background = background
        self._clock = clock
        self._answers: dict[str, Retirement] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def of(self, group_uid: str) -> Retirement | None:
        """Return the last answer."""
        return self._answers.get(group_uid)

    def forget(self, group_uid: str) -> None:
        """Discard the answer for a group that is gone."""
        self._answers.pop(group_uid, None)

    def ask(self, group: Key, group_uid: str, endpoint: Endpoint | None, retire: Retire) -> None:
        """Ask the agent; its answer wakes the group's pass.

        It may take a minute, while other passes continue. Until then no other request is sent.
        """
        if group_uid not in self._under_way:
            question = self._question(group, group_uid, endpoint, retire)
            self._under_way[group_uid] = self._background(question)

    async def _question(
        self, group: Key, group_uid: str, endpoint: Endpoint | None, retire: Retire
    ) -> None:
        answer: Manifest | None = None
        body = {"workers": sorted(retire.addresses), "timeout": retire.timeout_seconds}
        bound = retire.timeout_seconds + SLACK_SECONDS
        try:
            if endpoint is None:
                raise NoAnswer("there is no scheduler")
            answer = await self._agents.post(endpoint, "retire", body, bound)
        except NoAnswer as error:
            logger.info("%s: its scheduler did not retire workers: %s", group, error)
        finally:
            self._under_way.pop(group_uid, None)
        if self._exists(group_uid):
            self._answers[group_uid] = retirement_from(answer, retire.addresses, self._clock())
            self._on_answer(group)


def concerns(answer: Retirement, pods: Iterable[PodFacts]) -> bool:
    """Return whether a retired worker may still exist, judging by its pod's address."""
    hosts = set(map(host_of, answer.retired))
    return any(pod.ip in hosts for pod in pods if pod.alive and not pod.deleting)
