"""What a script wants of its environment, where it will be installed, and what it resolves to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest

#: They stay those of the image: a second one beside them would not find its workers.
DASK = ("dask", "distributed")


#: What helps where no index answers.
OTHER_WAYS = (
    "name a mirror: --index-url URL; a folder of wheels on a volume: --mount pvc:CLAIM:/wheels "
    "--find-links /wheels; or an image that has the packages: --image IMAGE"
)


class UnfitEnvironment(DaskJobError):
    """Packages that cannot be given to a job: wrong usage, and nothing was started."""


class NotResolved(DaskJobError):
    """Packages could not be resolved now, such as without a network; nothing was started."""

    def __init__(self, message: str, reason: str = "") -> None:
        """Keep what is wrong, without the advice that the message has."""
        super().__init__(message)
        self.reason = reason or message


class IndexUnreachable(NotResolved):
    """The index cannot be reached."""


@dataclass(frozen=True, slots=True)
class Indexes:
    """Where packages come from; no URL has a login."""

    #: Replaces the default index; empty: what uv, pip or the image configure.
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    #: A folder of the pods, or the URL of a page of links.
    find_links: str = ""
    #: The Secret with the login.
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What settings say about packages."""

    packages: tuple[str, ...] = ()
    #: The path of a requirements file.
    requirements: str = ""
    indexes: Indexes = field(default_factory=Indexes)

    @property
    def is_empty(self) -> bool:
        """Whether they say nothing."""
        return self == Given()


@dataclass(frozen=True, slots=True)
class Target:
    """Where packages will be installed; versions are empty where they are not known."""

    #: What messages call it: ``the image …``, ``this environment``.
    place: str
    python: str = ""
    dask: str = ""
    distributed: str = ""
    #: How to choose another one.
    other: str = "choose another image: --image IMAGE"
    #: What helps where no index answers.
    other_ways: str = OTHER_WAYS

    @property
    def minor(self) -> str:
        """The minor version of its Python; empty if it is not known."""
        return ".".join(self.python.split(".")[:2])


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement, and where it is written."""

    text: str
    #: ``script.py``, ``--with``, ``requirements.txt, line 3``.
    origin: str
    #: Its hashes, if it has some: nothing else may be installed.
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that a job wants."""

    #: What messages call the script.
    subject: str
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    overrides: tuple[str, ...] = ()
    #: Lines of a lock: they are taken as they are, unless there are requirements beside them.
    locked: tuple[str, ...] = ()
    #: The packages of that lock, as it has them: with the names and hashes of their files.
    packages: tuple[Mapping[str, Any], ...] = ()
    requires_python: str = ""
    #: Only what was uploaded before, as uv writes it.
    exclude_newer: str = ""
    pre_releases: bool = False
    indexes: Indexes = field(default_factory=Indexes)
    #: Where all this was written, for ``render --origins``.
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wanted."""
        return not (self.requirements or self.locked or self.requires_python)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The environment of a job."""

    #: Lines as pip reads them, with markers and hashes.
    requirements: tuple[str, ...] = ()
    requires_python: str = ""
    #: The index first; others are additional.
    index_urls: tuple[str, ...] = ()
    find_links: str = ""
    secret_name: str = ""
    notes: tuple[str, ...] = ()
    #: Where the packages were asked for.
    sources: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether pods have nothing to install or to check."""
        return not (self.requirements or self.requires_python)

    def origins(self) -> Iterator[tuple[str, str, str]]:
        """Yield field, value and places of what is resolved, for ``render --origins``."""
        if self.is_empty:
            return
        pins = (re.split(r" ;| --hash", line)[0] for line in self.requirements)
        wanted = f"Python {self.requires_python}" if self.requires_python else ""
        shown = " ".join(filter(None, [*pins, wanted]))
        yield "environment", shown, ", ".join(dict.fromkeys(self.sources))

    @property
    def names(self) -> frozenset[str]:
        """The normalised names of the packages."""
        found = (re.match(r"[\w.-]+", line) for line in self.requirements)
        return frozenset(re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name)

    def manifest(self) -> Manifest:
        """Return ``spec.environment``; empty if there is nothing to do."""
        if self.is_empty:
            return {}
        fields: Manifest = {
            "requirements": list(self.requirements),
            "requiresPython": self.requires_python,
        }
        if self.requirements:
            fields |= {
                "indexURLs": list(self.index_urls),
                "findLinks": self.find_links,
                "secretName": self.secret_name,
            }
        return {key: value for key, value in fields.items() if value}
