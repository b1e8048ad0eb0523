"""Prepares a pod before its containers start: installs packages, unpacks or fetches code.

It runs in an init container of the role's own image, as any user, also with a read-only root
filesystem; so it needs nothing but Python 3.9 or newer, and for packages uv or pip, for a
repository git. It writes only below the folders of its settings (design §5.7). A local run uses it
as well: ``install`` alone, or as a program, ``python in_pod.py settings.json``.

Dask is never installed: a second dask or distributed would differ from the one that the image's
commands start.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: EX_CONFIG of sysexits.h: another try would end the same way.
NEVER = 78
#: EX_TEMPFAIL: the network or a server did not answer.
LATER = 75
#: The image's own; what clashes with them is reported, not replaced.
KEPT = ("dask", "distributed")
#: Larger archives are no code; a few bytes of xz may unpack to any size.
MOST_UNPACKED_BYTES = 2 * 1024**3
#: A termination message of Kubernetes has at most 4096 bytes.
MESSAGE_LENGTH = 2000
LAST_LINES = 6
#: A status quotes 600 characters of the sentence, whose end says what to do.
MOST_OF_AN_INDEX = 150
MOST_OF_A_REASON = 100
#: The folder for caches, below that of the packages, so that they are on the same volume.
WORK = ".daskjob-work"

_TEMPORARY = re.compile(
    r"temporary failure in name resolution|name or service not known|could not resolve host"
    r"|failed to lookup address|dns error|nodename nor servname|getaddrinfo|no route to host"
    r"|network is unreachable|connection (was )?(refused|reset|aborted|timed out|closed)"
    r"|failed to connect|couldn't connect|failed to establish a new connection"
    r"|max retries exceeded|readtimeout|connecttimeout"
    r"|read timed out|operation timed out|timed out|tcp connect error|error sending request"
    r"|remote end closed|incompleteread|protocolerror|connection broken|early eof"
    r"|\b50[0234]\b.{0,40}(error|bad gateway|unavailable|time-?out)|\b429\b|too many requests"
    r"|server error.{0,20}\b50[0234]\b|no space left on device",
    re.IGNORECASE,
)
#: What the system, uv or a server says of a connection; the first that is found counts.
_REASONS = (
    re.compile(r"\[Errno -?\d+\] (\w[\w ,-]*)"),
    re.compile(r"cause(?:d by)?: (.*?)(?: \(os error \d+\))?$", re.IGNORECASE | re.MULTILINE),
    re.compile(r"too many (\d+ error) responses"),
    re.compile(f"({_TEMPORARY.pattern})", re.IGNORECASE),
)
#: The index of the image's own settings, as pip prints it.
_OWN_INDEX = re.compile(r"^Looking in indexes: ([^,\s]+)", re.MULTILINE)
_WITHOUT_INDEX = (
    "If pods cannot reach it, name a mirror: --index-url URL; or use wheels on a volume: "
    "--mount pvc:CLAIM:/wheels --find-links /wheels; or an image that has the packages."
)
#: The kube-scheduler chooses a node by what is requested, and knows nothing of full disks.
_MORE_SPACE = (
    "The disk of the pod's node is full: request ephemeral-storage for the container, so that the "
    "pod gets a node that has it; or use an image that has the packages and the code."
)
#: What git says; what that means with a login, and without one where that is something else.
_GIT_FAILURES = (
    (
        r"no user exists for uid",
        "ssh, which {url} needs, knows only users of the image's /etc/passwd. Use an https URL, or "
        "run the pods as a user of the image.",
        "",
    ),
    (
        r"cannot run ssh",
        "the image has no ssh, which {url} needs. Use an https URL, or an image with ssh.",
        "",
    ),
    (
        r"host key verification failed",
        "the key of the server of {url} is not in known_hosts of the Secret that "
        "code.git.secretName names. Add the output of ssh-keyscan.",
        "the server of {url} is unknown. Name a Secret with ssh-privatekey and known_hosts in "
        "code.git.secretName.",
    ),
    (
        r"could not read (username|password)|authentication failed|permission denied \("
        r"|returned error: 40[13]|access denied",
        "{url} rejects the login. Correct the Secret that code.git.secretName names, or let its "
        "user read the repository.",
        "{url} asks for a login. Name a Secret in code.git.secretName: --code-secret NAME.",
    ),
    (
        r"repository\b.{0,300}\bnot found|not appear to be a git repository",
        "{url} is no repository that the login may read. Check the URL, and the Secret that "
        "code.git.secretName names.",
        "{url} is no repository that everyone may read. Check the URL, or name a Secret with a "
        "login in code.git.secretName: --code-secret NAME.",
    ),
)
_NO_COMMIT = re.compile("not our ref|not a tree|unable to read tree|unadvertised object")
_LOGIN = re.compile(r"(://)[^/\s]*@")
_HASHES = re.compile(r"\s+--hash[= ]\S+")
_COMMENT = re.compile(r"(^|\s)#.*$")
_SPECIFIER = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([0-9][0-9a-z.]*)(\.\*)?\Z")


class Failed(Exception):
    """The pod cannot be prepared; ``code`` is ``LATER`` if another try may help."""

    def __init__(self, code: int, sentence: str, output: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        #: The output of the program that failed.
        self.output = output


class Installer:
    """Installs requirements for the Python that runs this, into one folder."""

    def __init__(
        self,
        target: Path,
        *,
        work: Path,
        index_urls: Sequence[str] = (),
        find_links: str = "",
        login: Mapping[str, str] | None = None,
        uv: Sequence[str] | None = None,
    ) -> None:
        self.target = target
        self.work = work
        self.index_urls = list(index_urls)
        self.find_links = find_links
        self.login = login or {}
        #: The command of uv; empty: pip is used.
        self.uv = list(_uv_command() if uv is None else uv)

    def install(self, lines: Iterable[str]) -> list[str]:
        """Install requirements; return what was installed, as ``name==version``."""
        wanted = [Line(line) for line in _without_comments(lines)]
        wanted = [line for line in wanted if line.applies]
        _check_kept(wanted)
        if not all(line.is_locked or line.name in KEPT for line in wanted):
            wanted = self._resolved(wanted)
        wanted = [line for line in wanted if line.name not in KEPT and not line.is_there]
        if wanted:
            self._run(wanted, ["--no-deps", "--target", str(self.target)])
            _check_needs(self.target)
        return [line.text for line in wanted]

    def _resolved(self, wanted: list[Line]) -> list[Line]:
        """Return all packages that are needed, with their versions.

        What the image has is kept where it satisfies the requirements, Dask in any case.
        """
        if any(line.hashes for line in wanted):
            loose = next(line.text for line in wanted if not line.is_locked)
            raise Failed(
                NEVER,
                f"{loose!r} has no fixed version, and other requirements have hashes. Write every "
                "requirement as name==version with its hashes, or leave the hashes out.",
            )
        fixed = self.work / "constraints.txt"
        kept = [f"{name}=={_installed(name)}" for name in KEPT if _installed(name)]
        fixed.write_text(_lines(kept))
        options = ["--dry-run", *(["--constraint", str(fixed)] if kept else [])]
        found = self._dry_run(wanted, options) if self.uv else self._reported(wanted, options)
        return [Line(line) for line in found]

    def _dry_run(self, wanted: list[Line], options: list[str]) -> list[str]:
        """Return what uv would install: " + name==version", or with the URL that it is from."""
        output = self._run(wanted, [*options, "--break-system-packages"])
        found = re.findall(r"^ \+ (\S+?)==(\S+)(?: \(from (\S+)\))?$", output, re.MULTILINE)
        return [f"{name} @ {url}" if url else f"{name}=={ver}" for name, ver, url in found]

    def _reported(self, wanted: list[Line], options: list[str]) -> list[str]:
        report = self.work / "report.json"
        self._run(wanted, [*options, "--report", str(report)])
        found = json.loads(report.read_text())["install"]
        return [_reported_line(item) for item in found]

    def _run(self, wanted: Sequence[Line], options: Sequence[str]) -> str:
        file = self.work / "requirements.txt"
        file.write_text(_lines(line.text for line in wanted))
        command = [*self._command(), *self._sources(), *options, "--requirement", str(file)]
        code, output = _run(command, self._environment())
        if code:
            installer = "uv" if self.uv else "pip"
            sources = self.index_urls or [self.find_links]
            raise _install_failure(output, wanted, sources, installer)
        return output

    def _command(self) -> list[str]:
        if self.uv:
            return [*self.uv, "pip", "install", "--python", sys.executable, "--no-progress"]
        pip = _pip_command()
        if not pip:
            raise Failed(
                NEVER,
                f"the image has neither uv nor pip for {sys.executable}, so that nothing can be "
                "installed. Use an image with one of them, or with the packages.",
            )
        quiet = ["--no-input", "--disable-pip-version-check", "--no-color"]
        fast = ["--progress-bar", "off", "--no-cache-dir", "--no-compile"]
        patient = ["--retries", "3", "--timeout", "15"]
        return [*pip, "install", *quiet, *fast, *patient]

    def _sources(self) -> list[str]:
        found = ["--find-links", self.find_links] if self.find_links else []
        plain = [url for url in (*self.index_urls, self.find_links) if url.startswith("http:")]
        for host in dict.fromkeys(map(_host, plain)):
            # pip ignores a server without TLS, which the job names on purpose; uv does not.
            found += [] if self.uv else ["--trusted-host", host]
        if not self.index_urls:
            return [*found, "--no-index"] if self.find_links else found
        first, *others = self.index_urls
        found += ["--index-url", first]
        for other in others:
            found += ["--extra-index-url", other]
        if self.uv and others:
            # As pip does: a version counts, not the first index that knows the name.
            found += ["--index-strategy", "unsafe-best-match"]
        return found

    def _environment(self) -> dict[str, str]:
        found = clean_environment(self.work)
        hosts = [_host(url) for url in (*self.index_urls, self.find_links)]
        netrc = _netrc(self.login, [host for host in hosts if host])
        if netrc:
            found["NETRC"] = str(_private_file(self.work / ".netrc", netrc))
        return found


class Line:
    """One requirement, as a line of a requirements file."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        self.hashes = _HASHES.findall(self.text)
        kind, bare = _requirement_class(), _HASHES.sub("", self.text)
        try:
            self._parsed: Any = kind(bare) if kind else None
        except ValueError as error:
            raise Failed(
                NEVER,
                f"{bare[:200]!r} is no requirement ({str(error).splitlines()[0]}). Write it as "
                "name==version, or name @ URL.",
            ) from None
        self.name = _plain(re.split(r"[^-\w.]", bare, maxsplit=1)[0])

    @property
    def applies(self) -> bool:
        """Whether its marker is about this Python and this machine."""
        marker = self._parsed.marker if self._parsed else None
        return marker is None or bool(marker.evaluate())

    @property
    def version(self) -> str:
        """Its fixed version; empty if it allows others."""
        bare = _HASHES.sub("", self.text).partition(";")[0]
        found = re.fullmatch(r"[-\w.\[\], ]+ ?===? ?([^\s,*]+) ?", bare)
        return found.group(1) if found else ""

    @property
    def is_locked(self) -> bool:
        """Whether it allows one version only."""
        return bool(self.version) or " @ " in self.text

    @property
    def is_there(self) -> bool:
        """Whether this Python has it at this version already."""
        found = _installed(self.name)
        return bool(found) and bool(self.version) and _same(found, self.version)

    def allows(self, version: str) -> bool:
        """Return whether it allows a version."""
        if self._parsed is None:
            return not self.version or self.version == version
        return bool(self._parsed.specifier.contains(version, prereleases=True))


def install(
    requirements: Iterable[str],
    target: str,
    *,
    requires_python: str = "",
    index_urls: Sequence[str] = (),
    find_links: str = "",
    login: Mapping[str, str] | None = None,
    uv: Sequence[str] | None = None,
) -> list[str]:
    """Install requirements for this Python into a folder, which is emptied before.

    ``login``: the fields of a Secret, ``username`` and ``password`` or ``netrc``. ``uv``: its
    command; by default it is looked for, and pip is used without it. Returns what was installed.

    Raises ``Failed``.
    """
    folder = Path(target)
    _empty(folder)
    if requires_python and not python_satisfies(requires_python):
        raise Failed(
            NEVER,
            f"the Python of the image is {_python_version()}, and the job requires "
            f"{requires_python}. Use an image with such a Python, or change requires-python of the "
            "script (requiresPython of a manifest).",
        )
    work = folder / WORK
    work.mkdir()
    try:
        return Installer(
            folder,
            work=work,
            index_urls=index_urls,
            find_links=find_links,
            login=login,
            uv=uv,
        ).install(requirements)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def python_satisfies(specifiers: str, version: Sequence[int] | None = None) -> bool:
    """Return whether a Python satisfies specifiers such as ``>=3.11,<3.14``."""
    found = tuple(version or sys.version_info[:3])
    return all(_satisfies(found, one.strip()) for one in specifiers.split(",") if one.strip())


def _satisfies(version: tuple[int, ...], specifier: str) -> bool:
    match = _SPECIFIER.match(specifier)
    if match is None:
        raise Failed(NEVER, f"{specifier!r} is no version specifier. Write it as >=3.11.")
    sign, text, star = match.groups()
    numbers = tuple(int(n) for n in re.findall(r"\d+", re.split("[a-z]", text)[0]))
    width = max(len(numbers), len(version))
    padded = numbers + (0,) * (width - len(numbers))
    if sign == "~=":
        return version >= padded and version[: len(numbers) - 1] == numbers[:-1]
    if sign in ("==", "===", "!="):
        is_same = version[: len(numbers)] == numbers if star else version == padded
        return is_same is (sign != "!=")
    return {
        "<": version < padded,
        "<=": version <= padded,
        ">": version > padded,
        ">=": version >= padded,
    }[sign]


def _check_kept(wanted: Iterable[Line]) -> None:
    """Reject a requirement that the image's Dask does not satisfy."""
    for line in wanted:
        found = _installed(line.name) if line.name in KEPT else ""
        if found and not line.allows(found):
            raise Failed(
                NEVER,
                f"the requirement {_HASHES.sub('', line.text)!r} clashes with {line.name} {found} "
                f"of the image, which all roles share. Use an image with that {line.name}, or "
                "leave the requirement out.",
            )


def _check_needs(target: Path) -> None:
    """Reject packages that need another Dask than the image's."""
    kind = _requirement_class()
    if kind is None:
        return
    for found in importlib.metadata.distributions(path=[str(target)]):
        for text in found.requires or ():
            need = kind(text)
            there = _installed(_plain(need.name)) if _plain(need.name) in KEPT else ""
            optional = need.marker is not None and not need.marker.evaluate({"extra": ""})
            if there and not optional and not need.specifier.contains(there, prereleases=True):
                raise Failed(
                    NEVER,
                    f"{found.metadata['Name']} {found.version} needs {need.name}{need.specifier}, "
                    f"which clashes with {need.name} {there} of the image. Require another "
                    f"version of {found.metadata['Name']}, or use an image with that {need.name}.",
                )


def unpack(parts: Iterable[Path], folder: Path) -> int:
    """Unpack an archive that came in parts; return the number of its files.

    Raises ``Failed`` for an archive that is damaged, or with a member outside of the folder.
    """
    data = b"".join(part.read_bytes() for part in parts)
    _empty(folder)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = archive.getmembers()
            if sum(member.size for member in members) > MOST_UNPACKED_BYTES:
                raise Failed(
                    NEVER,
                    f"the code's archive has more than {MOST_UNPACKED_BYTES} bytes unpacked. Put "
                    "data on a volume.",
                )
            for member in members:
                _unpack_member(archive, member, folder)
            return sum(member.isfile() for member in members)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise Failed(LATER, f"no space is left for the code. {_MORE_SPACE}") from error
        if isinstance(error, OSError) and error.errno:
            raise Failed(LATER, f"the code cannot be unpacked: {error}.") from error
        raise Failed(
            NEVER,
            f"the code's archive cannot be read ({error}). Its ConfigMaps must hold the parts of "
            "one tar archive, in order, compressed with gzip or xz.",
        ) from error


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = folder / member.name
    leads_to = path.parent / member.linkname if member.issym() else path
    inside = _is_inside(path.parent, folder) and _is_inside(leads_to, folder)
    if member.name.startswith("/") or ".." in Path(member.name).parts or not inside:
        raise Failed(
            NEVER,
            f"the code's archive has {member.name!r}, which leads out of the code's folder. "
            "Archive relative paths, without links to other folders.",
        )
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.isfile():
        content = archive.extractfile(member)
        path.write_bytes(content.read() if content else b"")
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
    else:
        raise Failed(
            NEVER,
            f"the code's archive has {member.name!r}, which is no file, folder or symbolic link.",
        )


def _is_inside(path: Path, folder: Path) -> bool:
    root = os.path.realpath(str(folder))
    found = os.path.realpath(str(path))
    return found == root or found.startswith(root + os.sep)


def fetch(
    url: str, commit: str, folder: Path, *, work: Path, login: Mapping[str, str] | None = None
) -> None:
    """Fetch one commit of a repository into a folder, without its history.

    Raises ``Failed``.
    """
    git, login = shutil.which("git"), login or {}
    if git is None:
        raise Failed(
            NEVER,
            "the image has no git. Use an image with git, or send the code in ConfigMaps: "
            "--code FOLDER.",
        )
    _empty(folder)
    environment = _git_environment(url, work, login)
    here = [git, "-c", "safe.directory=*", "-c", "advice.detachedHead=false", "-C", str(folder)]

    def run(*words: str) -> Failed | None:
        code, output = _run([*here, *words], environment)
        return _git_failure(output, url, commit, bool(login)) if code else None

    failed = run("init", "--quiet") or run("remote", "add", "origin", url)
    failed = failed or run("fetch", "--quiet", "--depth=1", "origin", commit)
    if failed and failed.code == NEVER and not _git_reason(failed.output):
        # Some servers give out no single commits.
        every = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        failed = run("fetch", "--quiet", "origin", *every)
    failed = failed or run("checkout", "--quiet", "--detach", commit)
    if failed:
        raise failed
    shutil.rmtree(str(folder / ".git"), ignore_errors=True)


def _git_failure(output: str, url: str, commit: str, has_login: bool) -> Failed:
    """Return the failure of git: what is wrong, and whether another try may help."""
    if "no space left" in output.lower():
        return Failed(LATER, f"no space is left for the code. {_MORE_SPACE}", output)
    if _TEMPORARY.search(output):
        return Failed(LATER, f"the server of {url} did not answer.", output)
    with_login, without = _git_reason(output) or ("", "")
    sentence = (with_login if has_login else without or with_login).format(url=url)
    if not sentence and _NO_COMMIT.search(output):
        sentence = f"{url} has no commit {commit}. Push it, or name another commit."
    step = "Check the URL, the commit, and the Secret with the login."
    return Failed(NEVER, sentence or f"the code cannot be fetched from {url}. {step}", output)


def _git_reason(output: str) -> tuple[str, str] | None:
    for said, with_login, without in _GIT_FAILURES:
        if re.search(said, output, re.IGNORECASE):
            return with_login, without
    return None


def _git_environment(url: str, work: Path, login: Mapping[str, str]) -> dict[str, str]:
    found = {**clean_environment(work), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    netrc = _netrc(login, [_host(url)] if _host(url) else [])
    if netrc:
        # git has no variable for it: it looks into the home directory.
        _private_file(work / ".netrc", netrc)
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]
    if "ssh-privatekey" in login:
        if "known_hosts" not in login:
            raise Failed(
                NEVER,
                "the Secret with the key for git has no known_hosts, so that the server cannot be "
                "recognized. Add the output of ssh-keyscan as known_hosts.",
            )
        key = _private_file(work / "key", login["ssh-privatekey"].rstrip("\n") + "\n")
        hosts = _private_file(work / "known_hosts", login["known_hosts"])
        ssh += ["-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]
        ssh += ["-o", f"UserKnownHostsFile={hosts}"]
    return {**found, "GIT_SSH_COMMAND": " ".join(ssh)}


def clean_environment(work: Path) -> dict[str, str]:
    """Return the variables of an installer: it writes nothing outside of the work folder."""
    elsewhere = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV")
    found = {k: v for k, v in os.environ.items() if k not in elsewhere}
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        folder = work / name.lower()
        folder.mkdir(exist_ok=True)
        found[name] = str(folder)
    return {
        **found,
        "HOME": str(work),
        "UV_CACHE_DIR": str(work / "uv"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_TIMEOUT": found.get("UV_HTTP_TIMEOUT", "30"),
        # Of a Debian: nothing is installed into its own folders.
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
    }


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a program; return its exit code and its output, which is copied to the log."""
    lines = []
    with subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            hidden = without_login(line)
            print(hidden, end="", flush=True)
            lines.append(hidden)
    return process.returncode, "".join(lines)


def _install_failure(
    output: str, wanted: Sequence[Line], sources: Sequence[str], installer: str
) -> Failed:
    """Return the failure of an installer: what is wrong, and whether another try may help."""
    lowered = " ".join(output.lower().split())
    where = _index(output, sources, installer)
    if "hash mismatch" in lowered or "do not match the hashes" in lowered:
        sentence = (
            "a package has other content than its hash in the requirements says. Resolve the "
            "requirements again; if you did not change them, find out who changed the package."
        )
        return Failed(NEVER, sentence, output)
    is_empty = "from versions: none" in lowered
    if _TEMPORARY.search(output) or (is_empty and not all(map(_answers, sources))):
        if "no space left" in lowered:
            return Failed(LATER, f"no space is left for the packages. {_MORE_SPACE}", output)
        # Without the output: it ends as if there were no such package.
        return Failed(LATER, _no_answer(output, wanted, where))
    if re.search(r"\b40[137]\b", lowered) and ("unauthorized" in lowered or "forbidden" in lowered):
        sentence = f"{where} rejects the login. Check the Secret that environment.secretName names."
        return Failed(NEVER, sentence, output)
    for name in KEPT:
        there = _installed(name)
        is_said = (
            re.search(rf"\b{name}\s?[=<>!~]", lowered)
            if "conflict" in lowered
            # Of uv; it names ours only if that is the reason.
            else "no solution found" in lowered and f"{name}=={there}" in lowered
        )
        if there and is_said:
            sentence = (
                f"the requirements clash with {name} {there} of the image, which all roles share. "
                f"Use an image with another {name}, or other versions of the packages."
            )
            return Failed(NEVER, sentence, output)
    named = ", ".join(line.name for line in wanted if line.name in lowered)
    missing = named if len(named) < 200 and named else "a package"
    sentence = (
        f"{missing} cannot be installed from {where}. Check the names and the versions, and that "
        "there are wheels for this Python and platform."
    )
    return Failed(NEVER, sentence, output)


def _index(output: str, sources: Sequence[str], installer: str) -> str:
    """Return what was asked for packages: the sources, or else the index of the image."""
    named, own = [source for source in sources if source], _OWN_INDEX.search(output)
    if named or own is None:
        return " or ".join(named) or f"the index that the image's {installer} asks"
    return own.group(1)


def _no_answer(output: str, wanted: Sequence[Line], where: str) -> str:
    """Return the message about an index that did not answer, with the reason if it is known."""
    names = [line.name for line in wanted]
    name = next((one for one in names if f"/{one}/" in output.lower()), names[0])
    said = [found[-1] for one in _REASONS if (found := [*one.finditer(output)])]
    reason = said[0].group(1) if said else ""
    why = f": {reason.strip()[:MOST_OF_A_REASON]}" if reason else ""
    where = where if len(where) <= MOST_OF_AN_INDEX else f"{where[:MOST_OF_AN_INDEX]}…"
    return f"{where} did not answer, so that {name} cannot be installed{why}. {_WITHOUT_INDEX}"


def _answers(url: str) -> bool:
    """Return whether a server answers: pip does not tell an error of it from an empty page."""
    if not _host(url):
        return True
    try:
        urllib.request.urlopen(url, timeout=15).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500 and error.code != 429
    except OSError as error:
        return isinstance(getattr(error, "reason", None), ssl.SSLError)
    return True


def without_login(text: str) -> str:
    """Return a text without the user names and passwords of its URLs."""
    return _LOGIN.sub(r"\1***@", text)


def message_of(failure: Failed, secrets: Iterable[str] = ()) -> str:
    """Return what a pod reports of a failure: the sentence, then the last lines of the program."""
    lines = [line.strip() for line in failure.output.splitlines() if line.strip()]
    text = "\n".join([failure.sentence, *lines[-LAST_LINES:]])
    for secret in secrets:
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return without_login(text)[:MESSAGE_LENGTH]


def read_login(folder: str) -> dict[str, str]:
    """Return the fields of a Secret that is mounted at a folder; none where there is none."""
    if not folder or not os.path.isdir(folder):
        return {}
    files = [entry for entry in Path(folder).iterdir() if entry.is_file()]
    return {file.name: file.read_text(errors="replace") for file in files}


def _netrc(login: Mapping[str, str], hosts: Sequence[str]) -> str:
    if "netrc" in login:
        return login["netrc"]
    if "username" not in login and "password" not in login:
        return ""
    user, password = login.get("username", "").strip(), login.get("password", "").strip()
    if re.search(r"[\s\"\\]", user + password):
        raise Failed(
            NEVER,
            "the user name or the password in the Secret has a space, a quote or a backslash. "
            "Write a key netrc into the Secret instead.",
        )
    entries = [f"machine {host} login {user} password {password}" for host in dict.fromkeys(hosts)]
    return _lines(entries)


def _private_file(path: Path, text: str) -> Path:
    with open(os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "") if "://" in url else ""


def _empty(folder: Path) -> None:
    """Make an empty folder: a try that was stopped half-way may have left something."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        else:
            entry.unlink()


def _uv_command() -> list[str]:
    program = shutil.which("uv")
    if program:
        return [program]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else []


def _pip_command() -> list[str]:
    """Return the command of pip; an environment without pip may use the one that Python brings."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    found = importlib.util.find_spec("ensurepip")
    if found and found.origin:
        folders.append(str(Path(found.origin).parent / "_bundled"))
    wheels = [wheel for folder in folders if folder for wheel in Path(folder).glob("pip-*.whl")]
    return [sys.executable, f"{wheels[0]}/pip"] if wheels else []


def _requirement_class() -> Any:
    """Return packaging's class, which every image with Dask has; else that of pip."""
    for name in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return importlib.import_module(name).Requirement
        except ImportError:
            continue
    return None


def _reported_line(item: Mapping[str, Any]) -> str:
    meta, source = item["metadata"], item.get("download_info", {})
    if item.get("is_direct"):
        return f"{meta['name']} @ {source['url']}"
    return f"{meta['name']}=={meta['version']}"


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _same(one: str, other: str) -> bool:
    try:
        version = importlib.import_module("packaging.version").Version
        return bool(version(one) == version(other))
    except (ImportError, ValueError):
        return one == other


def _without_comments(lines: Iterable[str]) -> list[str]:
    bare = (_COMMENT.sub("", line).strip() for line in lines)
    return [line for line in bare if line]


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def prepare(settings: Mapping[str, Any]) -> None:
    """Prepare a pod as its settings say.

    Raises ``Failed``.
    """
    packages, code = Path(settings["packages"]), settings.get("code") or {}
    requirements = settings.get("requirements") or []
    # First, since it empties the folder that has the work folder.
    installed = install(
        requirements,
        str(packages),
        requires_python=settings.get("requiresPython") or "",
        index_urls=settings.get("indexURLs") or (),
        find_links=settings.get("findLinks") or "",
        login=read_login(settings.get("login") or ""),
    )
    if requirements:
        named = ", ".join(_HASHES.sub("", one) for one in installed)
        print(f"daskjob: installed {named or 'nothing: the image has all packages'}", flush=True)
    if code.get("parts"):
        count = unpack([Path(part) for part in code["parts"]], Path(code["folder"]))
        print(f"daskjob: unpacked {count} files of code", flush=True)
    elif code.get("git"):
        git, work = code["git"], packages / WORK
        work.mkdir()
        login = read_login(git.get("login") or "")
        try:
            fetch(git["url"], git["commit"], Path(code["folder"]), work=work, login=login)
        finally:
            shutil.rmtree(str(work), ignore_errors=True)
        print(f"daskjob: fetched commit {git['commit']}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Prepare this pod; return the exit code: 0, ``NEVER`` or ``LATER``."""
    settings = json.loads(Path(arguments[0]).read_text())
    try:
        prepare(settings)
    except Failed as failure:
        git = (settings.get("code") or {}).get("git") or {}
        logins = [read_login(settings.get("login") or ""), read_login(git.get("login") or "")]
        secrets = [value.strip() for login in logins for value in login.values()]
        message = message_of(failure, secrets)
        print(f"daskjob: {message.splitlines()[0]}", flush=True)
        _report(settings.get("message") or "", message)
        return failure.code
    return 0


def _report(file: str, message: str) -> None:
    try:
        Path(file).write_text(message)
    except OSError:
        # Then the pod's status has the end of the log.
        print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
