"""Loads ``cluster.py`` beside this file once the script's process has imported distributed.

Python imports it at its start, in the script and in every Python that the script starts. It costs
one comparison per import until then, leaves ``sys.path`` as it would be without daskjob, and runs
the user's own ``sitecustomize``, which it hides. It never makes a script fail. An exception that
ends the process is recorded by ``uncaught.py``, once Python has printed it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

FOLDER = os.path.dirname(os.path.abspath(__file__))


class Finder:
    """Finds distributed as the other finders do, and has ``cluster.py`` executed after it."""

    #: ``sys.path`` before Python puts the script's folder into it.
    path_at_start: Any = ()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of distributed with a changed loader, ``None`` for all other modules."""
        if name != "distributed":
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader: Any) -> None:
        """Change this one loader object, not its class; ``__loader__`` keeps its type."""
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: Any) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                load(self.path_at_start)

        try:
            loader.exec_module = exec_module
        except AttributeError:
            return


def load(path_at_start: Any) -> None:
    """Execute ``cluster.py``; if that fails, the script has plain distributed."""
    try:
        executed("cluster").install(path_at_start)
    except Exception as error:
        print(f"daskjob: the script's clusters are its own: {error!r}", file=sys.stderr)


def executed(name: str) -> Any:
    """Return a module beside this file."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"_daskjob_{name}", os.path.join(FOLDER, f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def record_uncaught(path: str) -> None:
    """Have an uncaught exception of this process recorded after it is printed."""
    plain, pid = sys.excepthook, os.getpid()

    def record(kind: Any, error: Any) -> None:
        try:
            # Not in a fork. After KeyboardInterrupt, Python ends itself by SIGINT, unless it has
            # executed another module meanwhile.
            if os.getpid() == pid and not issubclass(kind, KeyboardInterrupt):
                executed("uncaught").record(path, error)
        except Exception:
            return

    def excepthook(kind: Any, error: Any, trace: Any) -> None:
        plain(kind, error, trace)
        record(kind, error)

    # For a hook that replaces this one: that of notebooks.
    excepthook.record = record  # type: ignore[attr-defined]
    sys.excepthook = excepthook


def run_hidden() -> None:
    """Import the ``sitecustomize`` that this one hides, if there is one."""
    ours = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            # The import of this very file fails without an entry.
            sys.modules.setdefault("sitecustomize", ours)


if __name__ == "sitecustomize":
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != FOLDER]
    sys.path_importer_cache.pop(FOLDER, None)
    if "DASKJOB_CLUSTER" in os.environ:
        sys.meta_path.insert(0, Finder())
    if "DASKJOB_UNCAUGHT" in os.environ:
        # Not for other Pythons that the script starts.
        record_uncaught(os.environ.pop("DASKJOB_UNCAUGHT"))
    run_hidden()
    Finder.path_at_start = list(sys.path)
