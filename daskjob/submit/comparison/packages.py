"""The packages of two jobs, by name: a list of lines would show each one after a new one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from daskjob.core.manifests import Manifest, mapping

_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")


def package_differences(one: Manifest, other: Manifest) -> Iterator[tuple[str, str, str]]:
    """Yield the packages whose versions differ, or the files of a version; empty: not there."""
    before, after = _packages(one), _packages(other)
    for name in sorted({*before, *after}):
        (was, was_files), (now, now_files) = before.get(name, ("", "")), after.get(name, ("", ""))
        if was != now:
            yield name, was, now
        elif was_files != now_files:
            yield name, was, f"{now}, with other hashes"


def without_packages(spec: Manifest) -> Manifest:
    """Return a spec without the lines of its packages."""
    environment = mapping(spec.get("environment"))
    rest = {key: value for key, value in environment.items() if key != "requirements"}
    return {**spec, "environment": rest}


def _packages(job: Manifest) -> dict[str, tuple[str, str]]:
    """Return versions with markers, and hashes, by the name of the package."""
    lines = mapping(mapping(job.get("spec")).get("environment")).get("requirements")
    found: dict[str, tuple[str, str]] = {}
    for line in map(str, lines if isinstance(lines, list) else ()):
        text, *hashes = re.split(r" +--hash=", line)
        match = _NAME.match(text)
        name = re.sub(r"[-_.]+", "-", match[0]).lower() if match else text
        version = text[match.end() :].strip().removeprefix("==") if match else ""
        # A lock may have several versions of one package, for different systems.
        earlier = found.get(name, ("", ""))
        both = filter(None, (earlier[0], version or "any"))
        found[name] = (" | ".join(both), " ".join(filter(None, [earlier[1], *sorted(hashes)])))
    return found
