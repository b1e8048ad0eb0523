"""The workers that a client knows: right also where several clients are connected to a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from daskjob.kubecluster.watch import ClusterWatch

#: How often the scheduler is asked at least, and at most: changes of the cluster come in bursts.
SECONDS = 5.0
PAUSE_SECONDS = 0.5


async def keep_known(
    watch: ClusterWatch,
    scheduler: Any,
    known: Callable[[], Collection[str]],
    take: Callable[[dict[str, Any]], None],
) -> None:
    """Ask the scheduler for its workers from time to time, and after changes of the cluster.

    A scheduler reports workers that come and go to the client that has subscribed last, and to no
    other: each new client would freeze the workers of those before it.
    """
    while True:
        await watch.change(SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)
        with suppress(OSError, TimeoutError):
            # Their addresses are a fraction of what is known of them.
            if set(await scheduler.ncores()) != set(known()):
                take(await scheduler.identity())
