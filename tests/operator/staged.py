"""An operator as a process, with its own namespace, behind a proxy that can inject faults."""

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

#: Resources of writes that are not about jobs.
_NOT_COUNTED = {"leases"}


def counted(request: Request) -> bool:
    """Return whether a request is a write about jobs."""
    return request.writes and request.resource not in _NOT_COUNTED


@dataclass
class Stage:
    """The operator, its requests, and the history of the namespace."""

    server: Server
    proxy: FaultProxy
    operator: OperatorProcess
    #: The folder of its log.
    folder: Path

    @property
    def writes(self) -> list[Request]:
        """The operator's writes about jobs, including those that the proxy stopped."""
        return [request for request in self.proxy.seen if counted(request)]

    @property
    def log(self) -> str:
        """The operator's log."""
        return (self.folder / "operator.log").read_text()

    def transcript(self) -> str:
        """Return the requests and the log as text, for the message of a failed test."""
        start = self.proxy.seen[0].at if self.proxy.seen else 0.0
        asked = [f"{r.at - start:6.2f} {about(r)} {r.code or 'no answer'}" for r in self.proxy.seen]
        jobs = {
            name: found.get("status")
            for (kind, name), found in self.server.objects.items()
            if kind == "DaskJob"
        }
        return "\n".join([*asked, json.dumps(jobs, indent=1), self.log[-6000:]])

    async def at_rest(self, seconds: float = 1.0) -> None:
        """Wait until the operator has written nothing for this long."""

        def at_rest() -> bool:
            return time.monotonic() - max((r.at for r in self.writes), default=0.0) >= seconds

        await until(at_rest, 30, self.transcript, pause=0.05)


Story = Callable[[Stage], Awaitable[None]]
#: The error of each story; ``None``: it passed.
Results = dict[str, BaseException | None]


def assert_succeeded(result: BaseException | None) -> None:
    """Raise the error of a story, if it failed."""
    if result is not None:
        raise AssertionError(str(result)) from result


@asynccontextmanager
async def staged(
    access: Access, folder: Path, name: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """Create the namespace and the proxy; the block starts the operator, which ends with it."""
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
    """Run stories in parallel, each on its own stage; those of ``beside`` are outside the limit."""
    access = await find_credentials(str(kubeconfig)).access()
    slots = asyncio.Semaphore(at_once)

    async def one(name: str) -> None:
        slot = nullcontext() if name in beside else slots
        async with slot, staged(access, folder / name, name) as stage:
            try:
                await stories[name](stage)
            except (AssertionError, NotThere, TimeoutError) as error:
                # The reason is first and last: of a long message, some reports keep one end only.
                words = f"{error!r}\n{stage.transcript()}\n{error!r}"
                raise AssertionError(words) from error

    outcomes = await asyncio.gather(*map(one, stories), return_exceptions=True)
    return dict(zip(stories, outcomes, strict=True))
