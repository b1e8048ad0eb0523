"""Workers that their scheduler is asked to let go: the questions under way, and the answers."""

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

#: A retirement's own bound is the agent's; beyond it, so much for the way there and back.
SLACK_SECONDS = 5.0


class Retirements:
    """The last answer and the question on its way, by the group's uid.

    ``on_answer`` hears the key of a group that has an answer; ``exists`` says whether the object of
    a uid is still there.
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
        """Let go of a group that is gone."""
        self._answers.pop(group_uid, None)

    def ask(self, group: Key, group_uid: str, endpoint: Endpoint | None, retire: Retire) -> None:
        """Ask the agent; its answer wakes the group's pass.

        It may take a minute, in which other passes go on. While it does, nothing else is asked.
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
            answer = await self._agents.tell(endpoint, "retire", body, bound)
        except NoAnswer as error:
            logger.info("%s: its scheduler was asked to retire workers: %s", group, error)
        finally:
            self._under_way.pop(group_uid, None)
        if self._exists(group_uid):
            self._answers[group_uid] = retirement_from(answer, retire.addresses, self._clock())
            self._on_answer(group)


def concerns(answer: Retirement, pods: Iterable[PodFacts]) -> bool:
    """Say whether a worker that was let go may still be there: its pod's address is."""
    hosts = set(map(host_of, answer.retired))
    return any(pod.ip in hosts for pod in pods if pod.alive and not pod.deleting)
