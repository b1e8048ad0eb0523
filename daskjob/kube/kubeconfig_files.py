"""The files of a kubeconfig: which ones, how they are merged, and the stanzas of one context.

The rules are kubectl's. A file that was named must exist; of those in KUBECONFIG, missing ones are
skipped. The first file that has a cluster, a user, a context or a current context wins, and the
later ones do not add to it. Paths are relative to the file that has them.

No message quotes a value of a user: it may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT = "~/.kube/config"
_KINDS = ("cluster", "context", "user")


class Unusable(ValueError):
    """A kubeconfig cannot be used; the message names the fault and the fix."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """A named part of a kubeconfig: a cluster, a user or a context."""

    kind: str
    name: str
    file: Path
    #: Not shown: those of a user are secret.
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} in {self.file}"

    def text(self, name: str) -> str:
        """Return a field; empty: it is not set."""
        found = self.fields.get(name)
        if found is None:
            return ""
        if isinstance(found, dict | list):
            raise self.wrong(name, "must be a string")
        return str(found)

    def flag(self, name: str) -> bool:
        """Return whether a field is true."""
        found = self.fields.get(name)
        if found is None or isinstance(found, bool):
            return bool(found)
        raise self.wrong(name, "must be true or false")

    def path(self, name: str) -> Path | None:
        """Return a path, relative to the file; ``None``: it is not set."""
        given = self.text(name)
        return self.file.parent / given if given else None

    def content(self, name: str) -> bytes | None:
        """Return what the file at a path contains; ``None``: no path is set."""
        path = self.path(name)
        if path is None:
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise self.wrong(name, f"{path} cannot be read: {why}") from None

    def wrong(self, name: str, fault: str) -> Unusable:
        """Return the error for a field."""
        return Unusable(f"{self}: {name}: {fault}")


@dataclass(frozen=True, slots=True)
class Selected:
    """The stanzas of one context."""

    context: Stanza
    cluster: Stanza
    user: Stanza


def selected(
    path: str | None, context: str | None, content: Mapping[str, Any] | None = None
) -> Selected:
    """Return the stanzas of a context, by default of the current one, from files or a content.

    Raises
    ------
    Unusable
        A file, the context, or what it refers to does not exist, or is malformed.
    """
    contents = (
        {file: _mapping(file) for file in kubeconfig_files(path)}
        if content is None
        else {Path(path or "kubeconfig"): content}
    )
    stanzas = {kind: _merged(kind, contents) for kind in _KINDS}
    name = context or next(filter(None, map(_current, contents.values())), "")
    known = ", ".join(stanzas["context"]) or "none"
    where = ", ".join(map(str, contents))
    if not name:
        raise Unusable(
            f"{where}: current-context is not set: choose a context with "
            f"'kubectl config use-context', or name one (there are: {known})"
        )
    chosen = stanzas["context"].get(name)
    if chosen is None:
        raise Unusable(f"{where}: there is no context {name!r}; existing contexts: {known}")
    return Selected(
        chosen, _referred(chosen, "cluster", stanzas), _referred(chosen, "user", stanzas)
    )


def context_names(path: str | None) -> list[str]:
    """Return the names of all contexts.

    Raises
    ------
    Unusable
        A file does not exist, or is malformed.
    """
    contents = {file: _mapping(file) for file in kubeconfig_files(path)}
    return list(_merged("context", contents))


def kubeconfig_files(path: str | None) -> list[Path]:
    """Return the files that are read, in the order of their precedence.

    Raises
    ------
    Unusable
        There is none.
    """
    given = path or os.environ.get("KUBECONFIG") or ""
    if not given:
        default = Path(DEFAULT).expanduser()
        if not default.exists():
            raise Unusable(
                f"{default} does not exist; set KUBECONFIG to the path of your kubeconfig"
            )
        return [default]
    # A name that was given may contain the separator.
    names = [given] if Path(given).exists() else given.split(os.pathsep)
    wanted = list(dict.fromkeys(Path(name).expanduser() for name in names if name))
    found = [file for file in wanted if file.exists()]
    if found:
        return found
    what = ", ".join(map(str, wanted)) or "its path is empty"
    raise Unusable(f"{what} does not exist" if wanted else what)


def _mapping(file: Path) -> dict[str, Any]:
    # Imported here because a pod needs none.
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(file.read_bytes(), loader)
    except yaml.MarkedYAMLError as error:
        # Its own text, and those errors from constructors, may quote a secret.
        grammar = isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError)
        mark = error.problem_mark
        line = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = f": {error.problem}" if grammar and error.problem else ""
        raise Unusable(f"{file} is not valid YAML{line}{problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Unusable(f"{file} is not valid YAML: it is not text, or cannot be read") from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Unusable(f"{file} cannot be read: {why}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Unusable(f"{file} is not a kubeconfig: it must be a mapping")
    return found


def _current(content: Mapping[str, Any]) -> str:
    return str(content.get("current-context") or "")


def _merged(kind: str, contents: Mapping[Path, Mapping[str, Any]]) -> dict[str, Stanza]:
    found: dict[str, Stanza] = {}
    for file, content in contents.items():
        items = content.get(f"{kind}s") or []
        if not isinstance(items, list):
            raise Unusable(f"{file}: {kind}s must be a list")
        here: dict[str, Stanza] = {}
        for number, item in enumerate(items):
            if not isinstance(item, dict) or item.get("name") is None:
                raise Unusable(f"{file}: {kind}s[{number}] must be a mapping with a name")
            fields = item.get(kind) or {}
            if not isinstance(fields, dict):
                raise Unusable(f"{file}: {kind}s[{number}].{kind} must be a mapping")
            name = str(item["name"])
            if name in here:
                raise Unusable(f"{file}: {kind}s has the name {name!r} twice; remove one")
            here[name] = Stanza(kind, name, file, fields)
        found |= {name: stanza for name, stanza in here.items() if name not in found}
    return found


def _referred(context: Stanza, kind: str, stanzas: Mapping[str, Mapping[str, Stanza]]) -> Stanza:
    name = context.text(kind)
    if not name:
        raise context.wrong(kind, "is not set")
    found = stanzas[kind].get(name)
    if found is None:
        known = ", ".join(stanzas[kind]) or "none"
        raise context.wrong(kind, f"there is no {kind} {name!r}; existing {kind}s: {known}")
    return found
