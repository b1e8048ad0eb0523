"""An operator as a process, in a namespace of its own, behind a proxy that can misbehave."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from daskjob.kube.access import Access
from daskjob.kube.credentials import find_credentials
from tests.cluster.proxy import FaultProxy, Request
from tests.operator.history import NotThere, Server, fresh_server
from tests.operator.invariants import about
from tests.operator.process import OperatorProcess
from tests.waiting import until

#: What an operator writes that is about no job.
_NOT_COUNTED = {"leases"}


def counted(request: Request) -> bool:
    """Whether a request is a write about jobs."""
    return request.writes and request.resource not in _NOT_COUNTED


@dataclass
class Stage:
    """The operator, what it asks, and all that happens."""

    server: Server
    proxy: FaultProxy
    operator: OperatorProcess
    #: Where its log is.
    folder: Path

    @property
    def writes(self) -> list[Request]:
        """What the operator wrote about jobs, or would have."""
        return [request for request in self.proxy.seen if counted(request)]

    @property
    def log(self) -> str:
        """What the operator has logged."""
        return (self.folder / "operator.log").read_text()

    def told(self) -> str:
        """Return all of it in words, for whom a test failed."""
        start = self.proxy.seen[0].at if self.proxy.seen else 0.0
        asked = [
            f"{r.at - start:6.2f} {about(r)} {r.code or 'rejection answer'}"
            for r in self.proxy.seen
        ]
        jobs = {
            name: found.get("status")
            for (kind, name), found in self.server.objects.items()
            if kind == "DaskJob"
        }
        return "\n".join([*asked, json.dumps(jobs, indent=1), self.log[-6000:]])

    async def at_rest(self, seconds: float = 1.0) -> None:
        """Wait until the operator has written nothing for so long."""

        def at_rest() -> bool:
            return time.monotonic() - max((r.at for r in self.writes), default=0.0) >= seconds

        await until(at_rest, 30, self.told, pause=0.05)


Story = Callable[[Stage], Awaitable[None]]
#: What went wrong in each story; ``None``: nothing.
Results = dict[str, BaseException | None]


def assert_told(result: BaseException | None) -> None:
    """Assert that nothing went wrong in a story."""
    if result is not None:
        raise AssertionError(str(result)) from result


@asynccontextmanager
async def staged(
    access: Access, folder: Path, name: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """Make the namespace and the proxy; the operator, which the block starts, ends with it."""
    folder.mkdir(parents=True, exist_ok=True)
    namespace = f"{name[:40]}-{uuid.uuid4().hex[:8]}"
    async with fresh_server(access, namespace) as server, FaultProxy(access) as proxy:
        config = proxy.write_kubeconfig(folder / "kubeconfig")
        operator = OperatorProcess(config, namespace, folder / "operator.log", environment)
        try:
            yield Stage(server, proxy, operator, folder)
        finally:
            await operator.stop()


async def side_by_side(
    stories: Mapping[str, Story],
    kubeconfig: Path,
    folder: Path,
    *,
    at_once: int,
    beside: Collection[str] = (),
) -> Results:
    """Tell stories, so many at once, each on a stage of its own; some take nobody's turn."""
    access = await find_credentials(str(kubeconfig)).access()
    slots = asyncio.Semaphore(at_once)

    async def one(name: str) -> None:
        slot = nullcontext() if name in beside else slots
        async with slot, staged(access, folder / name, name) as stage:
            try:
                await stories[name](stage)
            except (AssertionError, NotThere, TimeoutError) as error:
                raise AssertionError(f"{error!r}\n{stage.told()}") from error

    outcomes = await asyncio.gather(*map(one, stories), return_exceptions=True)
    return dict(zip(stories, outcomes, strict=True))
