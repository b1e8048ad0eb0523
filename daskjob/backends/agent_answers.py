"""The limits of every query to a scheduler's agent, on all backends.

An answer comes from a user's process: it may be long, late, or not JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import quote

from daskjob.core.dask import DaskState, dask_state
from daskjob.core.manifests import Manifest, is_too_deep

TIMEOUT_SECONDS = 2.0
LIMIT_BYTES = 256 * 1024
#: Bounds on the pages of one state: the largest group, of 10,000 workers, fits into five of them.
PAGES = 16
PAGES_SECONDS = 4.0


class NoAnswer(Exception):
    """The scheduler did not answer, or its answer cannot be used."""


def check_answer(status: int, text: bytes) -> None:
    """Raise ``NoAnswer`` for an answer that is an error or too long."""
    if status != 200:
        raise NoAnswer(f"HTTP {status}")
    if len(text) > LIMIT_BYTES:
        raise NoAnswer(f"the answer is longer than {LIMIT_BYTES} bytes")


async def whole_state(ask: Callable[[str], Awaitable[Manifest]], route: str) -> DaskState:
    """Return the state with all workers, page by page; ``ask`` returns the answer to a route.

    It is not whole (``DaskState.is_whole``) if the pages do not end within their bounds, or if
    workers came in between.

    Raises
    ------
    NoAnswer
        As ``ask`` does, for any of the pages.
    """
    start, state = time.monotonic(), dask_state(await ask(route))
    for _ in range(PAGES):
        if state.is_whole or not state.workers or time.monotonic() - start > PAGES_SECONDS:
            break
        last = state.workers[-1].address
        separator = "&" if "?" in route else "?"
        page = dask_state(await ask(f"{route}{separator}after={quote(last, safe='')}"))
        more = tuple(worker for worker in page.workers if worker.address > last)
        if not more:
            break
        state = replace(page, workers=state.workers + more)
    return state


def usable_report(answer: Manifest) -> Manifest | None:
    """Return a report that a status can hold; ``None`` if this one cannot be written anywhere."""
    if is_too_deep(answer):
        return None
    try:
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
        # An API server keeps whole numbers above 64 bits as floating-point ones, if they fit.
        json.loads(json.dumps(answer), parse_int=float)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return answer
