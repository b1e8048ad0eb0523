"""Hashes of long lines: only those of the files that images, or this machine, can install."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from daskjob.submit.environment.lock_lines import Line
from daskjob.submit.environment.requirement_lines import normalised

Packages: TypeAlias = Callable[[list[str]], Iterable[Mapping[str, Any]]]
#: Characters of a line above which its hashes are trimmed.
LONG = 3000
_WHEEL = re.compile(
    r"/[^/]*-(?P<python>[^-/]+)-(?P<abi>[^-/]+)-(?P<platform>[^-/]+)\.whl(?:$|[#?])"
)
#: Systems, as the tags of wheels have them: of images, and of machines that run jobs.
_SYSTEMS = ("linux", "macosx")


def trimmed(lines: list[Line], python: str, packages: Packages) -> list[Line]:
    """Return lines whose long ones have fewer hashes.

    ``packages`` returns the packages of some requirements as a lock has them, with the names of
    their files; it is asked only if a line is long.
    """
    long = [line for line in lines if len(str(line)) > LONG]
    if not long:
        return lines
    usable = _usable(packages([line.text for line in long]), python)
    found = []
    for line in lines:
        kept = [item for item in line.hashes if item in usable.get((line.name, line.version), ())]
        found.append(replace(line, hashes=kept) if line in long and kept else line)
    return found


def _usable(
    packages: Iterable[Mapping[str, Any]], python: str
) -> Mapping[tuple[str, str], set[str]]:
    """Return the hashes of usable files, by name and version of their package."""
    found: dict[tuple[str, str], set[str]] = {}
    for package in packages:
        key = (normalised(str(package.get("name"))), str(package.get("version")))
        found.setdefault(key, set()).update(_hashes(package, python))
    return found


def _hashes(package: Mapping[str, Any], python: str) -> Iterator[str]:
    files = [package["sdist"]] if "sdist" in package else []
    for item in (*files, *package.get("wheels", ())):
        if _is_usable(str(item.get("url") or item.get("path") or item.get("name")), python):
            # ``uv.lock`` has one hash, ``pylock.toml`` a table of them.
            yield from filter(None, [item.get("hash")])
            yield from (f"{kind}:{value}" for kind, value in item.get("hashes", {}).items())


def _is_usable(url: str, python: str) -> bool:
    wheel = _WHEEL.search("/" + url)
    if wheel is None:
        return True
    own = f"cp{python.replace('.', '')}"
    tags = wheel["python"].split(".")
    is_general = wheel["abi"] in ("abi3", "none") or not python
    is_for_python = own in tags if not is_general else not _is_other_exact(tags, own, wheel["abi"])
    platform = wheel["platform"]
    return is_for_python and (platform == "any" or any(name in platform for name in _SYSTEMS))


def _is_other_exact(tags: list[str], own: str, abi: str) -> bool:
    """Return whether a wheel without an ABI is for one other version: ``cp311-none``."""
    exact = [tag for tag in tags if re.fullmatch(r"cp3\d+", tag)]
    return abi == "none" and len(own) > len("cp") and bool(exact) and own not in exact
