"""The files of a folder that are code: what ``--code DIR`` sends, and what it leaves out.

``.daskjobignore`` of the folder decides; without one ``.gitignore`` does, also of the folders above
up to the repository's, and before it ``.git/info/exclude``. What no job needs, or nobody wants to
publish, is left out in any case.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.ignore_patterns import Pattern, judge, patterns_of

#: Larger files are data, which belong into a volume.
LARGEST_FILE = 1024 * 1024
#: More files than this are no code: reading them all would take minutes.
MOST_FILES = 20_000
OWN_IGNORE, GIT_IGNORE = ".daskjobignore", ".gitignore"
#: The number of names that a note lists.
_LISTED = 5

_HISTORIES = frozenset({".git", ".hg", ".svn", ".bzr", ".jj"})
_CACHES = frozenset(
    {
        *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".cache"),
        *(".tox", ".nox", ".eggs", ".ipynb_checkpoints", "node_modules", "dask-scratch-space"),
        *("dask-worker-space", ".DS_Store"),
    }
)
#: What marks an environment of Python or conda, and a cache (bford.info/cachedir).
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
_CACHE_MARK = "CACHEDIR.TAG"
_BYTE_CODE = (".pyc", ".pyo")
#: Names of files and folders that hold credentials.
_SECRET = re.compile(
    r".*\.env|\.env([._-].+|rc)|.*\.(pem|key|p8|p12|pfx|jks|keystore|kdbx|ppk|tfvars|tfstate)"
    r"|id_(rsa|dsa|ecdsa|ed25519)([-_][^.]*)?|\.netrc|_netrc|\.pgpass|\.my\.cnf|\.pypirc|\.npmrc"
    r"|\.git-credentials|\.htpasswd|\.docker(cfg|configjson)|\.(s3cfg|boto|databrickscfg)"
    r"|\.terraformrc|\.vault-token|\.(ssh|aws|azure|gcloud|gnupg|kube|docker|snowflake)"
    r"|(.*\.)?kubeconfig(\.ya?ml)?|kube\.config|secrets\.(toml|ya?ml|json)|credentials(\.json)?"
    r"|application_default_credentials\.json|(client_secret|service[-_]account).*\.json",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r".*\.(example|sample|template|dist)", re.IGNORECASE)


class Reason(StrEnum):
    """Why a file, or a folder with all its files, is left out."""

    IGNORED = "ignored"
    LARGE = "large"
    SECRET = "secret"
    OUTSIDE = "outside"
    UNUSUAL = "unusual"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder has."""

    #: By the path below the folder.
    files: dict[str, Path] = field(default_factory=dict)
    #: What was left out; a folder's path ends with ``/``.
    left_out: dict[str, Reason] = field(default_factory=dict)

    def left_out_with(self, place: str) -> str:
        """Return what was left out and has a path: itself, or a folder; empty if it was not."""
        return next(
            (out for out in self.left_out if out == place or _has_some(out, [place])),
            "",
        )

    def of(self, reason: Reason) -> list[str]:
        """Return what was left out for a reason."""
        return [path for path, why in self.left_out.items() if why is reason]


def contents_of(folder: Path) -> Contents:
    """Return the files of a folder that are code.

    Raises
    ------
    UnfitCode
        A part of it cannot be read, or it has too many files.
    """
    top = Path(os.path.abspath(folder))
    walk = _Walk(top, _project(top).resolve())
    walk.enter(top, (), _rules_above(top, walk.ignore_name))
    return Contents(dict(sorted(walk.found.files.items())), dict(walk.found.left_out))


#: What a note says of what is left out, and how it is sent in spite of that.
_SAID = {
    Reason.SECRET: ("looks like a secret", "--secret and --env-file are for them, or --file"),
    Reason.LARGE: ("above 1 MiB", "--file sends one, --mount pvc:CLAIM:/path is for data"),
    Reason.IGNORED: ("ignored", f"--file sends one, {OWN_IGNORE} replaces {GIT_IGNORE}"),
    Reason.OUTSIDE: ("a link that leads out of the project or in a circle", "--file sends one"),
    Reason.UNUSUAL: ("no regular file", "--mount pvc:CLAIM:/path is for other things"),
}


def notes_on(
    contents: Contents, sent: Iterable[str], named: Mapping[str, Iterable[str]] | None = None
) -> list[str]:
    """Return notes on what was left out and is not sent for another reason.

    ``named`` is what the code names of it, by the paths that were left out.
    """
    others = set(sent)
    used = named or {}
    notes = []
    for reason, (what, remedy) in _SAID.items():
        left = [path for path in contents.of(reason) if path not in others]
        # What the code needs comes first, before the list is cut.
        found = [_shown(path, others, used) for path in sorted(left, key=lambda p: p not in used)]
        if found:
            more = f" and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
            notes.append(f"not sent, {what}: {', '.join(found[:_LISTED])}{more} ({remedy})")
    return notes


def _shown(path: str, sent: Iterable[str], named: Mapping[str, Iterable[str]]) -> str:
    if path in named:
        return f"{path} (the code names {'; '.join(named[path])})"
    return f"{path} (but for what is imported)" if _has_some(path, sent) else path


def _has_some(folder: str, places: Iterable[str]) -> bool:
    return folder.endswith("/") and any(place.startswith(folder) for place in places)


def is_secret(name: str) -> bool:
    """Return whether the name of a file or folder is one of those that hold credentials."""
    return _SECRET.fullmatch(name) is not None and _EXAMPLE.fullmatch(name) is None


def project_root(folder: Path) -> Path | None:
    """Return the nearest folder with ``pyproject.toml`` or ``.git``, this one or above it."""
    absolute = Path(os.path.abspath(folder))
    for place in (absolute, *absolute.parents):
        if (place / "pyproject.toml").is_file() or (place / ".git").exists():
            return place
    return None


def workspace_root(project: Path) -> Path:
    """Return the folder of a project and its neighbours: its repository's, or that of uv's."""
    for place in (project, *project.parents):
        if (place / ".git").exists() or _is_workspace(place / "pyproject.toml"):
            return place
    return project


def _is_workspace(settings: Path) -> bool:
    try:
        return "[tool.uv.workspace]" in settings.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _project(folder: Path) -> Path:
    return project_root(folder) or folder


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns of one ignore file, for what is below its folder."""

    folder: str
    patterns: tuple[Pattern, ...]

    def judge(self, path: str) -> bool | None:
        """Return whether they ignore a path below the top; ``None``: they say nothing."""
        place = os.path.relpath(path, self.folder)
        return judge(self.patterns, place, is_folder=path.endswith("/"))


def _read_rules(folder: Path, name: str) -> list[_Rules]:
    return _rules_of(folder / name, folder)


def _rules_of(path: Path, folder: Path) -> list[_Rules]:
    """Return the rules that a file has for a folder; none without that file."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    except OSError as error:
        raise UnfitCode(f"{path} cannot be read: {error.strerror}") from error
    return [_Rules(str(folder), patterns_of(text))]


def _rules_above(top: Path, name: str) -> tuple[_Rules, ...]:
    """Return the rules of the folders above, up to the repository's, outermost first."""
    if name != GIT_IGNORE:
        return ()
    repository = next((p for p in (top, *top.parents) if (p / ".git").exists()), None)
    if repository is None:
        return ()
    between = [p for p in reversed(top.parents) if p.is_relative_to(repository)]
    above = [rules for place in between for rules in _read_rules(place, name)]
    return (*_rules_of(_git_folder(repository / ".git") / "info/exclude", repository), *above)


def _git_folder(place: Path) -> Path:
    """Return the folder of a repository's settings: of a work tree, ``.git`` is a file."""
    try:
        folder = place.parent / place.read_text().removeprefix("gitdir:").strip()
        return folder / (folder / "commondir").read_text().strip()
    except (OSError, ValueError):
        return place


@dataclass(slots=True)
class _Walk:
    top: Path
    #: Links may lead anywhere in the project.
    project: Path
    found: Contents = field(default_factory=Contents)

    @property
    def ignore_name(self) -> str:
        return OWN_IGNORE if (self.top / OWN_IGNORE).exists() else GIT_IGNORE

    def enter(self, folder: Path, above: tuple[str, ...], rules: Sequence[_Rules]) -> None:
        """Add what a folder has; ``above`` are the real paths that lead to it."""
        rules = (*rules, *_read_rules(folder, self.ignore_name))
        chain = (*above, os.path.realpath(folder))
        for entry in self._entries(folder):
            self._add(entry, chain, rules)

    @staticmethod
    def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                yield from sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise UnfitCode(f"{folder} cannot be read: {error.strerror}") from error

    def _add(
        self, entry: os.DirEntry[str], chain: tuple[str, ...], rules: Sequence[_Rules]
    ) -> None:
        path = Path(entry.path)
        place = path.relative_to(self.top).as_posix()
        try:
            mode = entry.stat().st_mode
        except OSError:
            # A link to nothing, or to itself.
            self.found.left_out[place] = Reason.OUTSIDE
            return
        if stat.S_ISDIR(mode):
            self._add_folder(path, place + "/", chain, rules)
        else:
            self._add_file(entry, path, place, rules)

    def _add_folder(
        self, path: Path, place: str, chain: tuple[str, ...], rules: Sequence[_Rules]
    ) -> None:
        if _is_never_code(path):
            return
        real = os.path.realpath(path)
        if is_secret(path.name):
            self.found.left_out[place] = Reason.SECRET
        elif _is_ignored(f"{path}/", rules):
            self.found.left_out[place] = Reason.IGNORED
        elif real in chain or not Path(real).is_relative_to(self.project):
            self.found.left_out[place] = Reason.OUTSIDE
        else:
            self.enter(path, chain, rules)

    def _add_file(
        self, entry: os.DirEntry[str], path: Path, place: str, rules: Sequence[_Rules]
    ) -> None:
        found = entry.stat()
        if path.name in (*_CACHES, *_HISTORIES) or path.suffix in _BYTE_CODE:
            return
        real = Path(os.path.realpath(path))
        reason: Reason | None = None
        if not stat.S_ISREG(found.st_mode):
            reason = Reason.UNUSUAL
        elif is_secret(path.name) or is_secret(real.name):
            reason = Reason.SECRET
        elif _is_ignored(str(path), rules):
            reason = Reason.IGNORED
        elif not real.is_relative_to(self.project):
            reason = Reason.OUTSIDE
        elif found.st_size > LARGEST_FILE:
            reason = Reason.LARGE
        if reason is not None:
            self.found.left_out[place] = reason
            return
        self.found.files[place] = path
        if len(self.found.files) > MOST_FILES:
            raise UnfitCode(
                f"{self.top} has more than {MOST_FILES:,} files: name a smaller folder, or leave "
                f"files out by {OWN_IGNORE}"
            )


def _is_never_code(folder: Path) -> bool:
    if folder.name in _HISTORIES or folder.name in _CACHES:
        return True
    return (folder / _CACHE_MARK).is_file() or any(
        (folder / mark).exists() for mark in _ENVIRONMENT_MARKS
    )


def _is_ignored(path: str, rules: Sequence[_Rules]) -> bool:
    """Return whether the innermost rules that say something ignore a path."""
    for item in reversed(rules):
        found = item.judge(path)
        if found is not None:
            return found
    return False
