"""Requirements files, as pip reads them: with ``-r``, ``-c``, hashes, and options of indexes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.submit.environment.requirement_lines import requirement
from daskjob.submit.environment.wanted import Indexes, Requirement, UnfitEnvironment
from daskjob.submit.settings.urls import hidden, index_url, links

#: Files that include each other end here.
_DEEPEST = 20
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_SHORT = {
    **{"-r": "--requirement", "-c": "--constraint", "-e": "--editable"},
    **{"-i": "--index-url", "-f": "--find-links"},
}
#: They say how pip installs, or what it accepts: a lock says that already.
_WITHOUT_EFFECT = (
    *("--require-hashes", "--prefer-binary", "--use-feature", "--no-binary", "--only-binary"),
)
_OPTIONS = (*_SHORT.values(), "--extra-index-url", "--no-index", "--pre", "--trusted-host")


@dataclass(slots=True)
class RequirementsFile:
    """What a file, and those that it includes, say."""

    requirements: list[Requirement] = field(default_factory=list)
    constraints: list[Requirement] = field(default_factory=list)
    indexes: Indexes = field(default_factory=Indexes)
    pre_releases: bool = False
    #: Options that pods ignore.
    ignored: list[str] = field(default_factory=list)


def read_requirements(path: Path, environ: Mapping[str, str]) -> RequirementsFile:
    """Return what a requirements file says; ``${NAME}`` is replaced by the variable.

    Raises
    ------
    UnfitEnvironment
        It cannot be read, or has a line that no pod could follow; with the line.
    """
    found = _Reading(environ)
    found.read(path, shown=str(path), constraints=False, depth=0)
    return found.result


@dataclass(slots=True)
class _Reading:
    environ: Mapping[str, str]
    result: RequirementsFile = field(default_factory=RequirementsFile)
    extra: list[str] = field(default_factory=list)

    def read(self, path: Path, *, shown: str, constraints: bool, depth: int) -> None:
        """Read a file, and those that it includes."""
        if depth > _DEEPEST:
            raise UnfitEnvironment(f"{shown}: requirements files include each other without end")
        for number, line in _lines(_text(path, shown)):
            place = f"{shown}, line {number}"
            line = _VARIABLE.sub(self._variable, line)
            if line.startswith("-"):
                self._option(line, place, path, constraints=constraints, depth=depth)
                continue
            of = self.result.constraints if constraints else self.result.requirements
            of.append(requirement(line, place))

    def _variable(self, match: re.Match[str]) -> str:
        return self.environ.get(match[1]) or match[0]

    def _option(self, line: str, place: str, path: Path, *, constraints: bool, depth: int) -> None:
        name, value = _split(line, place)
        match name:
            case "--requirement" | "--constraint":
                is_constraints = constraints or name == "--constraint"
                other = path.parent / value
                if "://" not in value and not other.expanduser().exists():
                    raise UnfitEnvironment(f"{place}: {other} does not exist")
                self.read(other, shown=str(other), constraints=is_constraints, depth=depth + 1)
            case "--editable":
                raise UnfitEnvironment(
                    f"{place}: -e {value} is a folder of this machine, and no pod has it. The "
                    "modules that the script imports from its project are sent with it: leave the "
                    "line out"
                )
            case "--pre":
                self.result.pre_releases = True
            case "--no-index" | "--trusted-host":
                self.result.ignored.append(name)
            case "--index-url" | "--extra-index-url" | "--find-links":
                self._index(name, value, place)
            case _ if name in _WITHOUT_EFFECT:
                pass
            case _:
                known = ", ".join(_OPTIONS)
                raise UnfitEnvironment(f"{place}: {name} is no option of this file; known: {known}")

    def _index(self, name: str, value: str, place: str) -> None:
        indexes = self.result.indexes
        try:
            url = links(value) if name == "--find-links" else index_url(value)
        except ValueError as error:
            raise UnfitEnvironment(f"{place}: {hidden(value)}: {error}") from error
        if name == "--extra-index-url":
            self.extra.append(url)
        first = url if name == "--index-url" else indexes.index_url
        found = url if name == "--find-links" else indexes.find_links
        self.result.indexes = Indexes(first, tuple(self.extra), found)


def _text(path: Path, shown: str) -> str:
    if "://" in shown:
        raise UnfitEnvironment(f"{shown} is a URL; read it first: curl -fsSLO")
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnfitEnvironment(f"{shown} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnfitEnvironment(f"{shown} is not UTF-8 text, as requirements files are") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines, joined where they end with a backslash, without comments."""
    start, joined = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        start = start if joined else number
        # A comment ends a line that is continued, too, as in pip.
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line[:-1] + " "
            continue
        whole = _COMMENT.sub("", joined + line).strip()
        joined = ""
        if whole:
            yield start, whole


def _split(line: str, place: str) -> tuple[str, str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UnfitEnvironment(f"{place}: {error}") from error
    name, sign, value = words[0].partition("=")
    if not sign and name[:2] in _SHORT and len(name) > 2 and name[1] != "-":
        name, value = name[:2], name[2:]
    value = value or " ".join(words[1:])
    return _SHORT.get(name, name), value
