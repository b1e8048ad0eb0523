"""Commands of earlier releases of Dask, as today's Dask runs them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from daskjob.core.command_line import has_option
from daskjob.core.manifests import Manifest

_PROGRAMS = {"dask-worker": ["dask", "worker"], "dask-scheduler": ["dask", "scheduler"]}
_OPTIONS = {"--no-bokeh": "--no-dashboard", "--bokeh": "--dashboard", "--nprocs": "--nworkers"}
#: A number of this option is the port of an address today.
_PORT_OPTION = "--bokeh-port"


def modern_words(words: Sequence[str]) -> list[str]:
    """Return a command line with today's programs and options.

    distributed 2026.6 no longer has ``dask-worker`` and ``dask-scheduler``; ``--no-bokeh`` was
    renamed long before. A script for a shell is not changed.
    """
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if word in _PROGRAMS:
            found += _PROGRAMS[word]
        elif option == _PORT_OPTION:
            found.append(f"--dashboard-address={_address(value)}" if equals else _ADDRESS)
        elif found and found[-1] == _ADDRESS:
            found.append(_address(word))
        else:
            found.append(f"{_OPTIONS.get(option, option)}{equals}{value}")
    return found


_ADDRESS = "--dashboard-address"


def _address(port: str) -> str:
    return f":{port}" if port.isdecimal() else port


def modernise(container: Manifest) -> None:
    """Replace the command and arguments of a container by today's."""
    for key in ("command", "args"):
        words = container.get(key)
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            container[key] = modern_words(words)


def runs_worker(words: Sequence[str]) -> bool:
    """Return whether this command line starts ``dask worker``, which knows all its options."""
    return ("dask", "worker") in pairwise(words) or "distributed.cli.dask_worker" in words


def runs_scheduler(words: Sequence[str]) -> bool:
    """Return whether this command line starts a scheduler."""
    return ("dask", "scheduler") in pairwise(words) or "distributed.cli.dask_scheduler" in words


def with_default(words: Sequence[str], name: str, value: str) -> list[str]:
    """Return a command line with an option, unless it has that already."""
    return list(words) if has_option(words, name) else [*words, name, value]
