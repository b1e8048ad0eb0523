"""Users' plugins: modules whose import registers kopf handlers.

An installed package declares them in the entry point group ``dask_operator_plugin``, as
dask-kubernetes documents; ``--module`` and paths on the command line add more, as for
``kopf run``. Finding them imports neither kopf nor a plugin.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

logger = logging.getLogger(__name__)

GROUP = "dask_operator_plugin"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin: its name for the log, and a function that imports it."""

    name: str
    load: Callable[[], object]


def find_plugins(modules: Iterable[str] = (), paths: Iterable[str] = ()) -> list[Plugin]:
    """Return the installed plugins and those of the command line."""
    installed = [Plugin(f"{entry.name} ({entry.value})", entry.load) for entry in _entry_points()]
    named = [Plugin(name, _importing(name)) for name in modules]
    files = [Plugin(path, _executing(path, number)) for number, path in enumerate(paths)]
    return [*installed, *named, *files]


def _entry_points() -> list[metadata.EntryPoint]:
    """Return each entry point once, in a stable order."""
    found = {(entry.name, entry.value): entry for entry in metadata.entry_points(group=GROUP)}
    return [found[key] for key in sorted(found)]


def _importing(name: str) -> Callable[[], object]:
    return lambda: importlib.import_module(name)


def _executing(path: str, number: int) -> Callable[[], object]:
    """Return a function that runs a file as kopf does: its folder is first in the search path."""

    def load() -> object:
        name = f"__kopf_script_{number}__{path}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python file")
        sys.path.insert(0, str(Path(path).resolve().parent))
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def load_plugins(plugins: Iterable[Plugin]) -> int:
    """Import plugins one after the other; one that fails is logged and skipped.

    Return the number of imported plugins.
    """
    loaded = 0
    for plugin in plugins:
        logger.debug("loading plugin %s", plugin.name)
        try:
            plugin.load()
        except (Exception, SystemExit) as error:
            logger.error(
                "plugin %s could not be loaded and is skipped: %s: %s",
                plugin.name,
                type(error).__name__,
                error,
                exc_info=error,
            )
            continue
        loaded += 1
        logger.info("loaded plugin %s", plugin.name)
    return loaded
