"""Single requirements: what they name, and which of them no pod could install."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from daskjob.core.advice import DISTRIBUTIONS
from daskjob.submit.environment.wanted import Requirement, UnfitEnvironment
from daskjob.submit.settings.urls import has_login, hidden

if TYPE_CHECKING:
    from packaging.requirements import Requirement as Parsed

_REMOTE = re.compile(r"(?:git\+|hg\+|svn\+|bzr\+)?(?:https?|ssh|git)://", re.IGNORECASE)
_LOCAL = re.compile(r"\.{0,2}/|~|file:|\.\.?$|[^\s@=<>!~;]*\.(?:whl|zip|tar\.\w+)(?:\s|$)")
_HASH = re.compile(r"\s--hash[= ](\w+:[0-9a-fA-F]+)")
_PIN = re.compile(r"===?\s*[^\s,*;]+")


def name_of(text: str) -> str:
    """Return the normalised name of a requirement's distribution; empty for a bare URL."""
    found = re.match(r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:$|[\[(<>=!~;@\s])", text)
    return normalised(found[1]) if found else ""


def normalised(name: str) -> str:
    """Return a name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution_of(module: str) -> str:
    """Return the normalised name of the distribution that is likely to have a top-level module."""
    return normalised(DISTRIBUTIONS.get(module, module))


def requirement(text: str, origin: str) -> Requirement:
    """Return a requirement that pods can install.

    Raises
    ------
    UnfitEnvironment
        It is not one, has a login, or is a folder of this machine.
    """
    hashes = tuple(_HASH.findall(text))
    plain = re.split(r"\s--?[a-z]", text, maxsplit=1)[0].strip()
    if has_login(plain):
        raise UnfitEnvironment(
            f"{origin}: {hidden(plain)} has a login, which everyone who may read the job would "
            "see: leave it out. Here, uv finds it in ~/.netrc; the pods get it from the Secret "
            "that --index-secret names"
        )
    place = _place_of(plain)
    if not _REMOTE.match(place) and _LOCAL.match(place):
        raise UnfitEnvironment(
            f"{origin}: {plain} is on this machine, and no pod has it. The script's own modules "
            "are sent with it; put a wheel into a folder of a volume that --find-links names; for "
            f"daskjob run alone, install it: pip install {plain}"
        )
    if not _REMOTE.match(plain):
        _check(plain, origin)
    return Requirement(plain, origin, hashes)


def _place_of(text: str) -> str:
    """Return what follows ``name @``; the whole text for others."""
    found = re.match(r"[\w.\[\],-]+\s*@\s*(\S+)", text)
    return found[1] if found else text


def parsed(text: str) -> Parsed | None:
    """Return a requirement's parts; ``None`` for a bare URL."""
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed

    try:
        return Parsed(text)
    except InvalidRequirement:
        return None


def _check(text: str, origin: str) -> None:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed

    try:
        Parsed(text)
    except InvalidRequirement as error:
        reason = " ".join(str(error).splitlines()[0].split())
        raise UnfitEnvironment(
            f"{origin}: {text!r} is no requirement: {reason}. Write a name with versions, such as "
            "'pandas>=2.2'"
        ) from error


def is_pinned(text: str) -> bool:
    """Return whether a requirement names one version."""
    found = parsed(text)
    return found is not None and not found.url and bool(_PIN.fullmatch(str(found.specifier)))
