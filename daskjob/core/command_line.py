"""Command lines of containers: their words, and the options among them. No I/O here.

Options are read as Dask's own commands read them: ``--name value`` or ``--name=value``, and the
last one counts where one is given twice.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence


def words(container: Mapping[str, object]) -> list[str]:
    """Return a container's command and arguments as one command line.

    What is not a list of strings is left out: the API server rejects such a container.
    """
    lists = (container.get("command"), container.get("args"))
    given = [word for found in lists if isinstance(found, list) for word in found]
    return [word for word in given if isinstance(word, str)]


def option(words: Sequence[str], name: str) -> str:
    """Return an option's value; empty where a command line does not give it."""
    found = ""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == name:
            found = following
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def has_option(words: Sequence[str], name: str) -> bool:
    """Return whether a command line gives an option, with a value or without."""
    return any(word.partition("=")[0] == name for word in words)


def without_options(words: Sequence[str], names: Container[str]) -> list[str]:
    """Return a command line without some options that take a value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in names:
            skip = True
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return kept
