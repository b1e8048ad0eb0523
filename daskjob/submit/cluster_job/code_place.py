"""What ``--code`` names: a folder of this machine, or code of another place."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, urlsplit

from daskjob.core.manifests import Manifest
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.settings.items import OBJECT_NAME, OBJECT_NAME_RULE

#: How long git may take to name a commit.
GIT_SECONDS = 30
_SCHEMES = ("https", "http", "ssh")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,63}")
_REF = re.compile(r"(?!-)[\w./+-]+", re.ASCII)
_IMAGE = re.compile(r"(?!.*//)\w[\w.:/@-]{0,511}", re.ASCII)
_GIT_FORM = "write git+https://HOST/PATH@COMMIT or git+ssh://git@HOST/PATH@COMMIT"


@dataclass(frozen=True, slots=True)
class GitPlace:
    """A state of a repository."""

    url: str
    #: A commit, a branch or a tag; ``HEAD``: the default branch.
    ref: str
    secret: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether the state can never be another one."""
        return _COMMIT.fullmatch(self.ref) is not None


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Code of another place, as ``spec.code`` names it."""

    source: Manifest
    #: For people.
    shown: str


def folder_of(text: str) -> Path:
    """Return the folder that ``--code`` names.

    Raises
    ------
    UnfitCode
        It looks like another place.
    """
    if re.match(r"[\w+.-]+://|git@", text) and not Path(text).exists():
        raise UnfitCode(
            f"--code {_without_credentials(text)} is no folder: {_GIT_FORM}, pvc:CLAIM/PATH or "
            "image:REF"
        )
    return Path(text).expanduser()


def code_place(text: str, secret: str, environ: Mapping[str, str]) -> CodePlace:
    """Return the place that ``--code`` names; git is asked for the commit of a branch or a tag.

    Raises
    ------
    UnfitCode
        It is wrong, or git does not find the commit.
    """
    kind, _, rest = text.partition("+" if text.startswith("git+") else ":")
    if secret and kind != "git":
        raise UnfitCode(f"--code-secret is for --code git+URL@COMMIT, not for {kind}")
    if kind == "git":
        return _resolved(_git_place(rest, secret), environ)
    if kind == "pvc":
        return _claim_place(rest)
    if not _IMAGE.fullmatch(rest):
        raise UnfitCode(f"--code image:{rest}: write the reference of an image")
    return CodePlace({"image": rest}, f"the image {rest}")


def _claim_place(text: str) -> CodePlace:
    claim, slash, path = text.partition("/")
    if not OBJECT_NAME.fullmatch(claim):
        raise UnfitCode(f"--code pvc:{text}: write pvc:CLAIM[/PATH] with {OBJECT_NAME_RULE}")
    plain = path.strip("/")
    if slash and (not plain or ".." in PurePosixPath(plain).parts):
        raise UnfitCode(f"--code pvc:{text}: write a path inside of the volume: pvc:{claim}/PATH")
    sub = {"subPath": PurePosixPath(plain).as_posix()} if plain else {}
    return CodePlace({"persistentVolumeClaim": {"claimName": claim, **sub}}, f"the claim {text}")


def _git_place(text: str, secret: str) -> GitPlace:
    shown = f"--code git+{_without_credentials(text)}"
    try:
        parts = urlsplit(text)
        # Both are checked when they are read.
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UnfitCode(f"{shown}: {error}; {_GIT_FORM}") from None
    if parts.scheme not in _SCHEMES or not host or parts.query or parts.fragment:
        raise UnfitCode(f"{shown}: {_GIT_FORM}")
    _check_credentials(parts, shown)
    path, at, ref = parts.path.rpartition("@")
    if not at:
        path, ref = parts.path, "HEAD"
    if not path.strip("/") or not _REF.fullmatch(ref) or ".." in ref:
        raise UnfitCode(f"{shown}: {_GIT_FORM}")
    is_commit = _COMMIT.fullmatch(ref.lower()) is not None
    return GitPlace(parts._replace(path=path).geturl(), ref.lower() if is_commit else ref, secret)


def _check_credentials(parts: SplitResult, shown: str) -> None:
    """Reject credentials: everyone who may read the job sees the URL."""
    # The user of SSH is part of the address, and no secret.
    if parts.password is not None or (parts.scheme != "ssh" and parts.username is not None):
        raise UnfitCode(
            f"{shown}: the URL has credentials, which everyone would see who may read the job; put "
            "them into a Secret (kubectl create secret generic NAME --type "
            "kubernetes.io/basic-auth --from-literal username=… --from-literal password=…) and "
            "name it: --code-secret NAME"
        )


def _without_credentials(text: str) -> str:
    # The user of SSH is part of the address.
    return re.sub(r"(?<!ssh:)//[^/]*@|//[^/]*:[^/]*@", "//…@", text)


def _resolved(place: GitPlace, environ: Mapping[str, str]) -> CodePlace:
    """Return the place of a commit; branches and tags are resolved once, now."""
    commit = place.ref if place.is_commit else _commit_of(place, environ)
    git: Manifest = {"url": place.url, "commit": commit}
    if place.secret:
        git["secretName"] = place.secret
    named = "" if place.is_commit else f" ({place.ref})"
    return CodePlace({"git": git}, f"{place.url} at commit {commit[:12]}{named}")


def _commit_of(place: GitPlace, environ: Mapping[str, str]) -> str:
    command = ["git", "ls-remote", "--", place.url, place.ref, f"{place.ref}^{{}}"]
    # No question on the terminal, and no wait for one.
    ssh = environ.get("GIT_SSH_COMMAND", "ssh") + " -o BatchMode=yes"
    quiet = {**environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": ssh, "LC_ALL": "C"}
    hint = f"name the full commit: --code git+{place.url}@COMMIT"
    advice = (
        f"check the URL, the connection and your login: git ls-remote {place.url}. If only the "
        f"pods reach it, {hint}; their image needs git"
    )
    try:
        found = subprocess.run(
            command,
            env=quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise UnfitCode(f"there is no git here to resolve {place.ref!r}; {hint}") from error
    except subprocess.TimeoutExpired as error:
        raise UnfitCode(
            f"{place.url} did not answer git within {GIT_SECONDS} s; {advice}"
        ) from error
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnfitCode(f"git cannot read {place.url}: {last}; {advice}")
    return _chosen(place, found.stdout, hint)


def _chosen(place: GitPlace, listing: str, hint: str) -> str:
    """Return the commit of exactly this name, as git itself chooses: tags before branches.

    An annotated tag is an object of its own; ``^{}`` is its commit.
    """
    lines = [line.split("\t", 1) for line in listing.splitlines() if "\t" in line]
    refs = {name: commit for commit, name in lines}
    for name in (
        place.ref,
        f"refs/{place.ref}",
        f"refs/tags/{place.ref}",
        f"refs/heads/{place.ref}",
    ):
        commit = refs.get(f"{name}^{{}}") or refs.get(name)
        if commit and _COMMIT.fullmatch(commit):
            return commit
    if _SHORT_COMMIT.fullmatch(place.ref):
        raise UnfitCode(
            f"{place.url} has no branch or tag {place.ref}; a commit needs all its digits: "
            f"git rev-parse {place.ref}"
        )
    raise UnfitCode(f"{place.url} has no branch or tag {place.ref!r}; {hint}")


def path_inside(word: str) -> str:
    """Return the path of a script inside of code of another place.

    Raises
    ------
    UnfitCode
        It leads out of it.
    """
    path = PurePosixPath(word)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UnfitCode(
            f"{word}: with --code of another place, the script is a path inside of that code, such "
            "as scripts/train.py"
        )
    return path.as_posix()
