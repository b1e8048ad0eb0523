"""``requires-python``: the image's, and that of a run."""

from __future__ import annotations

import re

from daskjob.submit.environment.wanted import Target, UnfitEnvironment

#: Patch levels of a minor version, more than any has had.
_PATCHES = range(60)
#: What ``spec.environment.requiresPython`` accepts.
_CLAUSE = r"\s*(===|~=|==|!=|<=|>=|<|>)\s*\d+(\.[0-9a-z]+)*(\.\*)?\s*"
_SPECIFIERS = re.compile(rf"{_CLAUSE}(,{_CLAUSE})*")
_MINORS = range(8, 40)


def check_python(requires: str, subject: str, target: Target) -> None:
    """Reject a script that does not run with the target's Python.

    Raises
    ------
    UnfitEnvironment
        It does not, or what it requires is no specifier.
    """
    if not requires:
        return
    if not _SPECIFIERS.fullmatch(requires):
        raise UnfitEnvironment(
            f"{subject}: requires-python is {requires!r}; write versions such as '>=3.11'"
        )
    if target.python and not allows(requires, target.python):
        raise UnfitEnvironment(
            f"{subject} requires Python {requires}, and {target.place} has {target.python}; "
            f"{target.other}"
        )


def allows(requires: str, python: str) -> bool:
    """Return whether a version of Python, or any patch level of a minor one, is allowed."""
    from packaging.specifiers import SpecifierSet

    wanted = SpecifierSet(requires)
    if python.count(".") >= 2:
        return wanted.contains(python, prereleases=True)
    return any(wanted.contains(f"{python}.{patch}", prereleases=True) for patch in _PATCHES)


def oldest(requires: str) -> str:
    """Return the oldest minor version of Python 3 that is allowed; empty without a limit."""
    if not requires or allows(requires, "3.7"):
        return ""
    return next((f"3.{minor}" for minor in _MINORS if allows(requires, f"3.{minor}")), "")
