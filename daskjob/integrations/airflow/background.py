"""Imports in another thread, for an event loop that others share."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from types import ModuleType


async def imported(name: str) -> ModuleType:
    """Return a module, imported without blocking the event loop."""
    found = sys.modules.get(name)
    if found is not None and not getattr(getattr(found, "__spec__", None), "_initializing", False):
        return found
    return await asyncio.to_thread(import_module, name)
