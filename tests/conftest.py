"""What every test may use: a real Kubernetes, started where a test asks for it, and ``async def``.

An ``async def test_…`` runs in an event loop of its own. Where it is marked ``virtual_time``, that
is the loop of `tests.controller.virtual_time`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import hypothesis
import pytest

from tests.controller import virtual_time

pytest_plugins = ["tests.cluster.plugin"]

# On a busy machine, how long an example takes says nothing about the code.
hypothesis.settings.register_profile("busy", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("busy")

#: A shell that starts the tests in the background has them ignore these, and so would everything
#: that tests start, to see how it ends by a signal.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


#: The folders of the files that take longest. Of several processes, one would be alone with such a
#: file if it started last.
FIRST = ("crash", "documented", "operator", "why")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: async tests for which time never has to pass")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, start the longest files first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.parent.name not in FIRST)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    in_virtual_time = pyfuncitem.get_closest_marker("virtual_time") is not None
    (virtual_time.run if in_virtual_time else asyncio.run)(_run(pyfuncitem))
    return True


async def _run(test: pytest.Function) -> None:
    """Run a test; where a fixture is an async context manager, inside it, with what it yields."""
    found: dict[str, Any] = dict(test.funcargs)
    async with AsyncExitStack() as stack:
        for name, value in found.items():
            if isinstance(value, AbstractAsyncContextManager):
                found[name] = await stack.enter_async_context(value)
        await test.obj(**{name: found[name] for name in test._fixtureinfo.argnames})
