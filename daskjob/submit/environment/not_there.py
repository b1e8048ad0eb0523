"""What uv says of packages that do not exist, or do not go together, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from daskjob.core.messages import cut
from daskjob.submit.environment.indexes import uv_urls
from daskjob.submit.environment.requirement_lines import name_of
from daskjob.submit.environment.wanted import UnfitEnvironment, Wanted
from daskjob.submit.settings.urls import hidden

#: How a message of uv begins that is about what there is in the index.
NO_SOLUTION = "no solution found"
#: Hints about a project of uv, which a job has not.
_OF_PROJECTS = ("requires-python", "tool.uv", "environment that is not the current one")
#: What uv has of a package on some systems or Pythons only.
_MARKERS = re.compile(r"\{[^{}]*\}")
_REQUIRED = re.compile(
    r"because (?P<there>.+?) and you require (?P<text>\S+), we can conclude", re.IGNORECASE
)
_NOT_FOUND = re.compile(
    r"\S+ was not found in (?P<place>the package registry|the provided package locations)"
)
_NONE_OF_IT = re.compile(r"there (?:is|are) no versions? of (?P<text>\S+)")
_BEGINS = re.compile(r"(?:error|cause|hint|warning): ")
#: A line of a list of versions.
_ITEM = re.compile(r"[\w.\[\]-]+[<>=!~]\S*")
_OTHERS = re.compile(r"only .* (?:is|are) available(?:: .*)?")
#: The most that a message has of uv.
_LONGEST = 1200


class NotThere(UnfitEnvironment):
    """A package that was asked for does not exist, or not in that version."""

    def __init__(self, text: str, reason: str, origin: str = "") -> None:
        """Name the requirement, and where it is written, if that is known."""
        super().__init__(f"{text}{f' ({origin})' if origin else ''}: {reason}")
        self.text = text
        self.reason = reason


@contextmanager
def naming_origins(wanted: Wanted) -> Iterator[None]:
    """Name where a package is asked for that does not exist."""
    try:
        yield
    except NotThere as error:
        name = name_of(error.text)
        same = [item for item in wanted.requirements if name_of(item.text) == name]
        origins = ", ".join(dict.fromkeys(item.origin for item in same))
        raise NotThere(error.text, error.reason, origins) from error


def no_solution(stderr: str, subject: str, variables: Mapping[str, str]) -> UnfitEnvironment:
    """Return the error of a resolution that has no solution; ``variables`` are those of uv."""
    said = _because(stderr)
    found = _REQUIRED.search(said)
    # More than one sentence: one reason led to another.
    if found and len(re.findall(r"we can conclude", said)) == 1:
        reason = _reason(found["there"], found["text"], variables)
        if reason:
            return NotThere(found["text"], reason)
    return UnfitEnvironment(
        f"the packages of {subject} cannot be installed together: {said}. Change the requirements"
    )


def _reason(there: str, text: str, variables: Mapping[str, str]) -> str:
    """Return why a requirement has no package; empty if there is another reason."""
    missing = _NOT_FOUND.match(there)
    place = _place(variables, is_folder=bool(missing and "provided" in missing["place"]))
    if missing:
        return (
            f"there is no such package in {place}; check its name, or name an index that has it, "
            '[tool.daskjob]: extra-index-url = ["URL"]'
        )
    none = _NONE_OF_IT.fullmatch(there)
    if none and none["text"] == text and name_of(text) == text:
        return f"{place} has no version of it; check its name"
    if none and none["text"] == text:
        return f"{place} has no such version; check it, or leave it open"
    if _OTHERS.fullmatch(there):
        return f"{place} has no such version: {there}"
    return ""


def _place(variables: Mapping[str, str], *, is_folder: bool) -> str:
    """Return where uv has looked, without logins."""
    if is_folder:
        return hidden(variables.get("UV_FIND_LINKS") or "the folder of wheels")
    urls = [hidden(url) for url in uv_urls(variables)]
    if not urls:
        return "the index of uv"
    return f"the {'indexes' if len(urls) > 1 else 'index'} {', '.join(urls)}"


def _because(stderr: str) -> str:
    """Return the sentences of uv as one text: without markers, and what is for projects of uv."""
    parts: list[str] = []
    in_list = False
    for line in map(str.strip, stderr.splitlines()):
        is_item = _ITEM.fullmatch(line) is not None
        if _BEGINS.match(line):
            parts.append(line)
        elif line and parts:
            parts[-1] += f"{',' if in_list and is_item else ''} {line}"
        in_list = is_item
    kept = []
    for kind, _, text in (part.partition(": ") for part in parts):
        is_hint_on_project = kind == "hint" and any(mark in text for mark in _OF_PROJECTS)
        if kind != "warning" and NO_SOLUTION not in text.lower() and not is_hint_on_project:
            kept.append(text.strip())
    return cut(hidden(_MARKERS.sub("", " ".join(kept))), _LONGEST).rstrip(".")
