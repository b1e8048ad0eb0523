"""The patterns of one ``.gitignore``: which of them decides about a file or a folder. No I/O.

As git does: the last pattern counts that matches the path itself. What is below an ignored folder
is never asked about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_MARK = "\ufeff"
#: What ``[[:alpha:]]`` and the like mean in file names.
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\s",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
}
_SET = re.compile(r"\[(?P<negated>[!^]?)(?P<items>\]?(?:\[:\w+:\]|\\.|[^\]\\])*)\]")
_ITEM = re.compile(r"\[:(?P<name>\w+):\]|\\(?P<escaped>.)|(?P<plain>.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line that is a pattern."""

    ignores: bool
    of_folders: bool
    regex: re.Pattern[str]

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Return whether it is about a path itself."""
        return (is_folder or not self.of_folders) and self.regex.fullmatch(path) is not None


def patterns_of(text: str) -> tuple[Pattern, ...]:
    """Return the patterns of an ignore file."""
    lines = text.removeprefix(_MARK).split("\n")
    return tuple(pattern for line in lines for pattern in _pattern(line.removesuffix("\r")))


def judge(patterns: Iterable[Pattern], path: str, *, is_folder: bool) -> bool | None:
    """Return whether patterns ignore a path; ``None``: they say nothing."""
    found = None
    for pattern in patterns:
        if pattern.matches(path, is_folder=is_folder):
            found = pattern.ignores
    return found


def _pattern(line: str) -> Iterable[Pattern]:
    if line.startswith("#"):
        return
    text = re.sub(r"(?<!\\) +$", "", line)
    ignores = not text.startswith("!")
    text = text if ignores else text[1:]
    of_folders = text.endswith("/")
    text = text.removesuffix("/")
    if not text:
        return
    # A pattern without a folder is about the name alone, at any depth.
    whole = text.removeprefix("/") if "/" in text else f"**/{text}"
    regex = _regex(whole)
    if regex is not None:
        yield Pattern(ignores, of_folders, re.compile(regex, re.DOTALL))


def _regex(glob: str) -> str | None:
    """Return a pattern as a regular expression; ``None`` for one that matches nothing."""
    found, at = "", 0
    while at < len(glob):
        stars = re.compile(r"\*+").match(glob, at)
        if stars:
            before, after = glob[:at], glob[stars.end() :]
            is_alone = not before or before.endswith("/")
            if len(stars[0]) > 1 and is_alone and after.startswith("/"):
                found += "(?:.*/)?"
                at = stars.end() + 1
                continue
            found += ".+" if len(stars[0]) > 1 and is_alone and not after else "[^/]*"
            at = stars.end()
        elif glob[at] == "[":
            item = _SET.match(glob, at)
            if item is None:
                return None
            found += _set(item)
            at = item.end()
        elif glob[at] == "\\":
            if at + 1 == len(glob):
                return None
            found += re.escape(glob[at + 1])
            at += 2
        else:
            found += "[^/]" if glob[at] == "?" else re.escape(glob[at])
            at += 1
    return found


def _set(item: re.Match[str]) -> str:
    """Return a set of characters, which never has the separator of folders."""
    members = ""
    for part in _ITEM.finditer(item["items"]):
        if part["name"]:
            members += _CLASSES.get(part["name"], "")
        elif part["plain"] == "-":
            members += "-"
        else:
            members += re.escape(part["escaped"] or part["plain"])
    # A range such as [z-a] is none, and matches nothing.
    inside = f"[{'^' if item['negated'] else ''}{members}]"
    try:
        re.compile(inside)
    except re.error:
        return "(?!)"
    return f"(?!/){inside}"
