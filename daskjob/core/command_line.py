"""Command lines of containers: their words and options.

Options are read as Dask's own commands read them: ``--name value`` or ``--name=value``; the last of
several counts.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence


def words(container: Mapping[str, object]) -> list[str]:
    """Return a container's command and arguments as one command line.

    Anything but lists of strings is ignored: the API server rejects such a container.
    """
    lists = (container.get("command"), container.get("args"))
    given = [word for found in lists if isinstance(found, list) for word in found]
    return [word for word in given if isinstance(word, str)]


def option(words: Sequence[str], name: str) -> str:
    """Return an option's value; empty where a command line lacks it."""
    found = ""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == name:
            found = following
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def has_option(words: Sequence[str], name: str) -> bool:
    """Return whether a command line has an option, with or without a value."""
    return any(word.partition("=")[0] == name for word in words)


def without_options(words: Sequence[str], names: Container[str]) -> list[str]:
    """Return a command line without the named options and their values."""
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


def python_script(command: Sequence[str]) -> str:
    """Return the file that a command line runs with Python; empty if it runs something else."""
    if not command or not command[0].rpartition("/")[2].startswith("python"):
        return ""
    script = next((word for word in command[1:] if not word.startswith("-")), "")
    return script.replace("$$", "$") if script.endswith((".py", ".pyw")) else ""
