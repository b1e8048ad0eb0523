"""Asking the schedulers' agents (design §5.4): JSON over HTTP, bounded in time, size and number.

An answer comes from a tenant's pod. It is never trusted with more than its own cluster, and no
redirect of it is followed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

import aiohttp
import msgspec

from daskjob.backends.agent_answers import LIMIT_BYTES, TIMEOUT_SECONDS, NoAnswer, check_answer
from daskjob.core.dask import DaskState, dask_state
from daskjob.core.demand import Demands, demands_after
from daskjob.core.manifests import Key, Manifest
from daskjob.kube.connector import Connector

logger = logging.getLogger(__name__)

#: Questions in flight at once: schedulers that do not answer must not hold up the others for long.
QUESTIONS = 64
#: What is asked where nobody says more.
STATE = "state"
#: Answers in a row that did not come before the state that was known is known no more.
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the agent of a cluster's scheduler listens, and what it asks of callers."""

    #: ``http://10.1.2.3:8787/prefix``, the agent's routes below it.
    url: str
    token: str
    #: The scheduler pod, and the life of its container: another one has another state.
    identity: str


@dataclass(slots=True)
class _Followed:
    """A scheduler that is asked again and again, as long as somebody wants to know."""

    endpoint: Endpoint
    #: How often each pass wants its state, in seconds.
    wanted: dict[Key, float] = field(default_factory=dict)
    #: The question for its state; the one that was asked last; the one that was answered last.
    route: str = STATE
    asked: str = ""
    answered: str = ""
    state: DaskState | None = None
    #: What it has wanted of each group, as long as it has answered.
    demands: Demands = field(default_factory=dict)
    asked_at: float = float("-inf")
    #: When it is asked next; never, while nobody wants to know or an answer is awaited.
    due: float = float("inf")
    silences: int = 0
    asking: bool = False

    @property
    def every(self) -> float:
        """The shortest of all wishes."""
        return min(self.wanted.values())

    def said(self, state: DaskState | None, route: str, at: datetime) -> None:
        """Take in what it says now; ``None``: nothing is known of it any more."""
        self.state, self.answered = state, route
        self.demands = demands_after(self.demands, state.targets, at) if state else {}


def _now() -> datetime:
    return datetime.now(UTC)


class Agents:
    """The agents of all schedulers; ``told`` hears of a cluster whose state has changed."""

    def __init__(
        self,
        told: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._told = told
        self._clock = clock
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._in_flight = asyncio.Semaphore(QUESTIONS)
        self._followed: dict[str, _Followed] = {}
        #: What falls due when, as (moment, tie-break, cluster's uid); entries may be out of date.
        self._due: list[tuple[float, int, str]] = []
        self._ties = itertools.count()
        self._changed = asyncio.Event()
        self._questions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Agents:
        self._session = aiohttp.ClientSession(
            connector=Connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            # What is compressed is as large as it likes.
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

    # What is known

    def state(self, cluster_uid: str) -> DaskState | None:
        """Return what a cluster's scheduler said last; ``None``: it cannot be asked, or was not."""
        found = self._followed.get(cluster_uid)
        return found.state if found else None

    def demands(self, cluster_uid: str) -> Demands:
        """Return what a cluster's scheduler has wanted of each group, as far as it is known."""
        found = self._followed.get(cluster_uid)
        return found.demands if found else {}

    def answered(self, cluster_uid: str, route: str) -> bool:
        """Say whether what is known of a cluster's scheduler answers this question."""
        found = self._followed.get(cluster_uid)
        return found is not None and found.answered == route

    def silent(self, cluster_uid: str) -> bool:
        """Say whether a cluster's scheduler has been asked in vain, again and again."""
        found = self._followed.get(cluster_uid)
        return found is not None and found.silences >= PATIENCE

    async def fresh(self, cluster_uid: str, endpoint: Endpoint) -> DaskState | None:
        """Return what a cluster's scheduler says now; ``None``: it cannot be asked."""
        found = self._followed.get(cluster_uid)
        route = found.route if found else STATE
        try:
            state = dask_state(await self.ask(endpoint, route))
        except NoAnswer as error:
            logger.debug("the scheduler at %s: %s", endpoint.url, error)
            return None
        self.said(cluster_uid, endpoint, state, route)
        return state

    def follow(
        self, cluster_uid: str, endpoint: Endpoint, who: Key, every: float, route: str = ""
    ) -> None:
        """Ask a cluster's scheduler so often on behalf of a pass, in seconds.

        A route that one of them names, for more than the others want to know, is asked for all.
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
        """Ask no more on behalf of a pass; what was said stays known."""
        found = self._followed.get(cluster_uid)
        if found is not None:
            found.wanted.pop(who, None)

    def said(
        self, cluster_uid: str, endpoint: Endpoint, state: DaskState, route: str = STATE
    ) -> None:
        """Take in a state that was asked for beside the others."""
        found = self._followed.get(cluster_uid)
        if found is None:
            self._followed[cluster_uid] = found = _Followed(endpoint)
        found.silences = 0
        found.said(state, route, self._now())

    def forget(self, cluster_uid: str) -> None:
        """Let go of a cluster."""
        self._followed.pop(cluster_uid, None)

    def _schedule(self, cluster_uid: str, followed: _Followed, due: float) -> None:
        followed.due = due
        heapq.heappush(self._due, (due, next(self._ties), cluster_uid))
        self._changed.set()

    async def run(self) -> None:
        """Ask every scheduler that is followed, as often as somebody wants, until cancelled."""
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
            # Not wait_for: until Python 3.12 a cancellation that comes with the event is lost.
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()

    def _start(self, cluster_uid: str, followed: _Followed) -> None:
        followed.asking = True
        question = asyncio.create_task(self._question(cluster_uid, followed))
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)

    async def _question(self, cluster_uid: str, followed: _Followed) -> None:
        answer: DaskState | None
        route = followed.asked = followed.route
        try:
            answer = dask_state(await self.ask(followed.endpoint, route))
            followed.silences = 0
        except NoAnswer as error:
            followed.silences += 1
            logger.debug("the scheduler at %s: %s", followed.endpoint.url, error)
            answer = None
        followed.asking = False
        followed.asked_at = self._clock()
        if self._followed.get(cluster_uid) is not followed:
            return
        # A silence or two say nothing; the third says that nothing is known any more.
        changed = followed.silences == PATIENCE
        if not 0 < followed.silences < PATIENCE:
            changed |= (followed.state, followed.answered) != (answer, route)
            followed.said(answer, route, self._now())
        if followed.wanted:
            self._schedule(cluster_uid, followed, followed.asked_at + followed.every)
        if changed:
            self._told(cluster_uid)

    # Questions

    async def ask(self, endpoint: Endpoint, route: str) -> Manifest:
        """Return the answer to a question.

        Raises
        ------
        NoAnswer
            Nobody listens, the answer took longer than 2 s, is larger than 256 KiB or no JSON.
        """
        return await self._request(endpoint, "GET", route, None, TIMEOUT_SECONDS)

    async def tell(
        self, endpoint: Endpoint, route: str, body: Manifest, timeout_seconds: float
    ) -> Manifest:
        """Return the answer to a request that may take a while.

        Raises
        ------
        NoAnswer
            As of ``ask``, with this time-out.
        """
        return await self._request(endpoint, "POST", route, body, timeout_seconds)

    async def _request(
        self, endpoint: Endpoint, method: str, route: str, body: Manifest | None, seconds: float
    ) -> Manifest:
        if self._session is None:
            raise RuntimeError("open the Agents with 'async with' first")
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        try:
            async with (
                self._in_flight,
                asyncio.timeout(seconds),
                self._session.request(
                    method,
                    f"{endpoint.url}/daskjob/v1/{route}",
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                ) as answer,
            ):
                return _decoded(answer.status, await _bounded(answer.content))
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """Return a body, of one that is too long a byte more than is allowed."""
    text = b""
    while len(text) <= LIMIT_BYTES:
        piece = await content.read(LIMIT_BYTES + 1 - len(text))
        if not piece:
            break
        text += piece
    return text


def _decoded(status: int, text: bytes) -> Manifest:
    check_answer(status, text)
    try:
        answer = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NoAnswer(f"no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise NoAnswer("an answer that is no JSON object")
    return answer
