"""Methods that block in a blocking flow, and are awaited in an asynchronous one.

Prefect's own blocks do this with a private decorator; this is the same behaviour, with its keyword
``_sync``, from Prefect's public names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def dispatched(asynchronous: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    """Return a decorator: where a loop runs the caller, its method is the asynchronous one."""

    def decorate(blocking: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(blocking)
        def chosen(*args: Any, _sync: bool | None = None, **kwargs: Any) -> Any:
            blocks = not is_asynchronous() if _sync is None else _sync
            return (blocking if blocks else asynchronous)(*args, **kwargs)

        return chosen

    return decorate


def is_asynchronous() -> bool:
    """Return whether the caller can await: in an asynchronous task or flow, or in a loop."""
    from prefect.context import get_run_context
    from prefect.exceptions import MissingContextError

    try:
        context: Any = get_run_context()
    except MissingContextError:
        return _in_loop()
    running = getattr(context, "task", None) or getattr(context, "flow", None)
    return bool(getattr(running, "isasync", True))


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
