"""Queries to the schedulers' agents (design §5.4): JSON over HTTP, bounded in time, size, number.

An answer comes from a tenant's pod. It can affect only its own cluster, and redirects are not
followed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType

import aiohttp
import msgspec

from daskjob.backends.agent_answers import (
    LIMIT_BYTES,
    TIMEOUT_SECONDS,
    NoAnswer,
    check_answer,
    whole_state,
)
from daskjob.backends.kubernetes.asking.slots import FairSlots
from daskjob.core.dask import DaskState, dask_state
from daskjob.core.demand import Demands, demands_after
from daskjob.core.manifests import Key, Manifest
from daskjob.kube.connector import Connector
from daskjob.kube.errors import MALFORMED

logger = logging.getLogger(__name__)

#: Queries in flight, in all and of one namespace: schedulers that do not answer must not delay the
#: others for long.
QUESTIONS = 64
QUESTIONS_EACH = 16
#: POST requests in flight, which may take a minute each.
POSTS = 64
POSTS_EACH = 8
#: The default query.
STATE = "state"
#: After this number of consecutive failures the last known state is discarded.
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address and the token of the agent of a cluster's scheduler."""

    #: ``http://10.1.2.3:8787/prefix``, with the agent's routes below it.
    url: str
    token: str
    #: The scheduler pod and the instance of its container: another instance has another state.
    identity: str
    #: The namespace whose share of the requests in flight it uses.
    namespace: str = ""


class _NotAsked(NoAnswer):
    """The request was not sent in time, so that nothing is known about the scheduler."""


@dataclass(slots=True)
class _Followed:
    """A scheduler that is queried periodically while a pass follows it."""

    endpoint: Endpoint
    #: The interval that each pass wants, in seconds.
    wanted: dict[Key, float] = field(default_factory=dict)
    #: The current query for its state; the last one sent; the last one answered.
    route: str = STATE
    asked: str = ""
    answered: str = ""
    state: DaskState | None = None
    #: Its demands for each group, while it answers.
    demands: Demands = field(default_factory=dict)
    asked_at: float = float("-inf")
    #: The time of the next query; infinite while no pass follows it or an answer is pending.
    due: float = float("inf")
    failures: int = 0
    asking: bool = False

    @property
    def every(self) -> float:
        """The shortest interval that a pass wants."""
        return min(self.wanted.values())

    def record(self, state: DaskState | None, route: str, at: datetime) -> None:
        """Store its state; ``None``: its state is no longer known."""
        self.state, self.answered = replace(state, at=at) if state else None, route
        self.demands = demands_after(self.demands, state.targets, at) if state else {}


def _now() -> datetime:
    return datetime.now(UTC)


class Agents:
    """The agents of all schedulers; calls ``on_change`` with the uid of each changed cluster."""

    def __init__(
        self,
        on_change: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
        exists: Callable[[str], bool] = lambda _cluster_uid: True,
    ) -> None:
        self._on_change = on_change
        #: Returns whether a cluster still exists: nothing is recorded for one that is gone.
        self._exists = exists
        self._clock = clock
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._questions_in_flight = FairSlots(QUESTIONS, QUESTIONS_EACH)
        self._posts_in_flight = FairSlots(POSTS, POSTS_EACH)
        self._followed: dict[str, _Followed] = {}
        #: A heap of (due time, tie-break, cluster's uid); entries may be out of date.
        self._due: list[tuple[float, int, str]] = []
        self._ties = itertools.count()
        self._changed = asyncio.Event()
        self._questions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Agents:
        self._session = aiohttp.ClientSession(
            connector=Connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The size of a compressed response is not bounded by its length.
            headers={"User-Agent": "daskjob", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for question in self._questions:
            question.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # Known state

    def state(self, cluster_uid: str) -> DaskState | None:
        """Return the last known state of a cluster's scheduler; ``None`` if unknown."""
        found = self._followed.get(cluster_uid)
        return found.state if found else None

    def demands(self, cluster_uid: str) -> Demands:
        """Return the known demands of a cluster's scheduler for each group."""
        found = self._followed.get(cluster_uid)
        return found.demands if found else {}

    def answered(self, cluster_uid: str, route: str) -> bool:
        """Return whether the known state of a cluster's scheduler answers this query."""
        found = self._followed.get(cluster_uid)
        return found is not None and found.answered == route

    def silent(self, cluster_uid: str) -> bool:
        """Return whether a cluster's scheduler has failed to answer ``PATIENCE`` times in a row."""
        found = self._followed.get(cluster_uid)
        return found is not None and found.failures >= PATIENCE

    async def fresh(self, cluster_uid: str, endpoint: Endpoint) -> DaskState | None:
        """Return the current state of a cluster's scheduler, with all of its workers.

        ``None``: it does not answer.
        """
        found = self._followed.get(cluster_uid)
        route = found.route if found else STATE
        try:
            state = await whole_state(partial(self.ask, endpoint), route)
        except NoAnswer as error:
            logger.debug("the scheduler at %s: %s", endpoint.url, error)
            return None
        self.record(cluster_uid, endpoint, state, route)
        return self.state(cluster_uid)

    def follow(
        self, cluster_uid: str, endpoint: Endpoint, who: Key, every: float, route: str = ""
    ) -> None:
        """Query a cluster's scheduler every N seconds for a pass.

        If one of the passes names a route, to get more than the others need, all use it.
        """
        found = self._followed.get(cluster_uid)
        if found is None or found.endpoint != endpoint:
            kept = (found.wanted, found.route) if found else ({}, STATE)
            found = self._followed[cluster_uid] = _Followed(endpoint, *kept)
        found.wanted[who] = every
        found.route = route or found.route
        is_new = found.route != found.asked
        due = self._clock() if is_new else max(found.asked_at + found.every, self._clock())
        if not found.asking and due < found.due:
            self._schedule(cluster_uid, found, due)

    def leave(self, cluster_uid: str, who: Key) -> None:
        """Stop the queries for a pass; the last state is kept."""
        found = self._followed.get(cluster_uid)
        if found is not None:
            found.wanted.pop(who, None)

    def record(
        self, cluster_uid: str, endpoint: Endpoint, state: DaskState, route: str = STATE
    ) -> None:
        """Store a state that was queried outside the schedule."""
        if not self._exists(cluster_uid):
            return
        found = self._followed.get(cluster_uid)
        if found is None:
            self._followed[cluster_uid] = found = _Followed(endpoint)
        found.failures = 0
        found.record(state, route, self._now())

    def forget(self, cluster_uid: str) -> None:
        """Discard the state of a cluster."""
        self._followed.pop(cluster_uid, None)

    def _schedule(self, cluster_uid: str, followed: _Followed, due: float) -> None:
        followed.due = due
        heapq.heappush(self._due, (due, next(self._ties), cluster_uid))
        self._changed.set()

    async def run(self) -> None:
        """Query every followed scheduler at the interval that its passes want, until cancelled."""
        while True:
            self._changed.clear()
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                due, _, cluster_uid = heapq.heappop(self._due)
                followed = self._followed.get(cluster_uid)
                if followed is None or followed.due != due:
                    continue
                followed.due = float("inf")
                if followed.wanted:
                    self._start(cluster_uid, followed)
            timeout = max(self._due[0][0] - now, 0.001) if self._due else None
            # Not wait_for: before Python 3.12 it can lose a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()

    def _start(self, cluster_uid: str, followed: _Followed) -> None:
        followed.asking = True
        question = asyncio.create_task(self._question(cluster_uid, followed))
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)

    async def _question(self, cluster_uid: str, followed: _Followed) -> None:
        route = followed.asked = followed.route
        changed = False
        try:
            state = dask_state(await self.ask(followed.endpoint, route))
            changed = self._answered(followed, state, route)
        except _NotAsked as error:
            logger.debug("the scheduler at %s: %s", followed.endpoint.url, error)
        except NoAnswer as error:
            logger.debug("the scheduler at %s: %s", followed.endpoint.url, error)
            changed = self._unanswered(followed, route)
        finally:
            # Whatever happened: a scheduler that counts as being asked is never asked again.
            followed.asking = False
            followed.asked_at = self._clock()
            is_current = self._followed.get(cluster_uid) is followed
            if is_current and followed.wanted:
                self._schedule(cluster_uid, followed, followed.asked_at + followed.every)
        if is_current and changed:
            self._on_change(cluster_uid)

    def _answered(self, followed: _Followed, state: DaskState, route: str) -> bool:
        """Record an answer; return whether it is news."""
        followed.failures = 0
        changed = (followed.state, followed.answered) != (state, route)
        followed.record(state, route, self._now())
        return changed

    def _unanswered(self, followed: _Followed, route: str) -> bool:
        """Count a failure; return whether it is news.

        One or two failures keep the last state; the third discards it.
        """
        followed.failures += 1
        if followed.failures < PATIENCE:
            return False
        changed = followed.failures == PATIENCE
        changed |= (followed.state, followed.answered) != (None, route)
        followed.record(None, route, self._now())
        return changed

    # Requests

    async def ask(self, endpoint: Endpoint, route: str) -> Manifest:
        """Return the answer to a GET request.

        Raises
        ------
        NoAnswer
            The connection failed, or the answer took over 2 s, the wait for a free slot included,
            is over 256 KiB, or is not JSON.
        """
        slots = self._questions_in_flight
        return await self._request(endpoint, "GET", route, None, TIMEOUT_SECONDS, slots)

    async def post(
        self, endpoint: Endpoint, route: str, body: Manifest, timeout_seconds: float
    ) -> Manifest:
        """Return the answer to a POST request, which may take longer; it delays no query.

        Raises
        ------
        NoAnswer
            As of ``ask``, with this timeout.
        """
        slots = self._posts_in_flight
        return await self._request(endpoint, "POST", route, body, timeout_seconds, slots)

    async def _request(
        self,
        endpoint: Endpoint,
        method: str,
        route: str,
        body: Manifest | None,
        seconds: float,
        slots: FairSlots,
    ) -> Manifest:
        if self._session is None:
            raise RuntimeError("open the Agents with 'async with' first")
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        is_sent = False
        try:
            async with asyncio.timeout(seconds), slots.slot(endpoint.namespace):
                is_sent = True
                async with self._session.request(
                    method,
                    f"{endpoint.url}/daskjob/v1/{route}",
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                ) as answer:
                    return decoded_answer(answer.status, await _bounded(answer.content))
        except TimeoutError as error:
            if not is_sent:
                raise _NotAsked(f"not asked within {seconds:g} s: too many requests") from error
            raise NoAnswer(f"no answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A token or an address with a control character is a ValueError.
            raise NoAnswer(str(error) or type(error).__name__) from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """Return a body, cut off one byte above the limit."""
    text = b""
    while len(text) <= LIMIT_BYTES:
        piece = await content.read(LIMIT_BYTES + 1 - len(text))
        if not piece:
            break
        text += piece
    return text


def decoded_answer(status: int, text: bytes) -> Manifest:
    """Return the JSON object of an answer, or raise ``NoAnswer``."""
    check_answer(status, text)
    try:
        answer = msgspec.json.decode(text)
    except MALFORMED as error:
        raise NoAnswer(f"the answer is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise NoAnswer("the answer is not a JSON object")
    return answer
