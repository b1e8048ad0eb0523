"""What a script's block ``# /// script`` wants, with what matters of its ``[tool.uv]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from daskjob.submit.environment.requirement_lines import name_of, normalised, parsed, requirement
from daskjob.submit.environment.wanted import Indexes, Requirement, UnfitEnvironment, Wanted
from daskjob.submit.inline_metadata import Declared
from daskjob.submit.settings.urls import hidden, index_url

#: What of ``[tool.uv]`` is used.
_USED = (
    *("index", "sources", "index-url", "extra-index-url", "constraint-dependencies"),
    *("override-dependencies", "exclude-newer", "prerelease"),
)
_SOURCES = "git, url and index"


def block_requirements(found: Declared, subject: str) -> Wanted:
    """Return what a script's block wants.

    Raises
    ------
    UnfitEnvironment
        It has something that is no requirement, or a folder of this machine.
    """
    origin = f"dependencies of {subject}"
    uv: Mapping[str, Any] = found.uv if isinstance(found.uv, Mapping) else {}
    wanted = Wanted(
        subject,
        requirements=tuple(requirement(text, origin) for text in found.requirements),
        requires_python=found.requires_python,
        sources=(origin,) if found.requirements or found.requires_python else (),
    )
    return _with_uv(wanted, uv, f"[tool.uv] of {subject}") if uv else wanted


def _with_uv(wanted: Wanted, uv: Mapping[str, Any], origin: str) -> Wanted:
    sources = _mapping(uv.get("sources"))
    direct = {normalised(name): _direct(name, item, origin) for name, item in sources.items()}
    others = [key for key in uv if key not in _USED]
    notes = [f"{origin}: {', '.join(others)} has no effect on the job"] if others else []
    return replace(
        wanted,
        requirements=tuple(_with_source(item, direct) for item in wanted.requirements),
        constraints=tuple(
            requirement(text, f"{origin}: constraint-dependencies")
            for text in _texts(uv.get("constraint-dependencies"))
        ),
        overrides=tuple(
            requirement(text, f"{origin}: override-dependencies").text
            for text in _texts(uv.get("override-dependencies"))
        ),
        exclude_newer=str(uv.get("exclude-newer") or ""),
        pre_releases=uv.get("prerelease") == "allow",
        indexes=uv_indexes(uv, origin),
        notes=tuple(notes),
    )


def _direct(name: str, source: object, origin: str) -> str:
    """Return the URL of a source; empty for one that names an index."""
    table = source if isinstance(source, Mapping) else {}
    if "git" in table:
        commit = table.get("rev") or table.get("tag") or table.get("branch")
        folder = f"#subdirectory={table['subdirectory']}" if "subdirectory" in table else ""
        return f"git+{table['git']}{f'@{commit}' if commit else ''}{folder}"
    if "url" in table:
        return str(table["url"])
    if "index" in table:
        return ""
    raise UnfitEnvironment(
        f"{origin}: the source of {name} is none that pods have, as {_SOURCES} are. Modules of "
        "this machine that the script imports are sent with it; PYTHONPATH names their folders"
    )


def _with_source(item: Requirement, direct: Mapping[str, str]) -> Requirement:
    url = direct.get(name_of(item.text), "")
    found = parsed(item.text)
    if not url or found is None:
        return item
    extras = f"[{','.join(sorted(found.extras))}]" if found.extras else ""
    marker = f" ; {found.marker}" if found.marker else ""
    return requirement(f"{found.name}{extras} @ {url}{marker}", item.origin)


def uv_indexes(uv: Mapping[str, Any], origin: str) -> Indexes:
    """Return the indexes that a ``[tool.uv]`` names.

    Raises
    ------
    UnfitEnvironment
        One is no URL, or has a login.
    """
    first = str(uv.get("index-url") or "")
    extra = [*_texts(uv.get("extra-index-url"))]
    for item in uv.get("index") or ():
        table = _mapping(item)
        url = str(table.get("url") or "")
        if table.get("default") and not first:
            first = url
        else:
            extra.append(url)
    for url in filter(None, [first, *extra]):
        try:
            index_url(url)
        except ValueError as error:
            raise UnfitEnvironment(f"{origin}: {hidden(url)}: {error}") from error
    return Indexes(first, tuple(extra))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield from map(str, value)
