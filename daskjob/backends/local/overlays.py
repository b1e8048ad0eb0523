"""The cache of overlays: folders of packages that runs put before those of their Python.

An overlay is named by a hash of what is in it. It is installed into a folder beside its own, which
is renamed at the end, so that a run finds all of it or nothing. Its last file says what the folder
has: where that is not so any more, the overlay is installed again. Runs hold a lock of the overlays
that they use, and none of these is pruned.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.backends.local.own_files import (
    is_own_folder,
    make_own_folder,
    own_file,
    read_own_file,
    write_own_file,
)
from daskjob.backends.local.state_root import check_root, user_folder

#: How many overlays are kept, and for how long after their last use.
KEPT = 20
KEPT_SECONDS = 30 * 24 * 3600.0
#: How often to look whether another run has finished to install the same.
LOOK_SECONDS = 0.1
#: The file that is written last; its name is none of a package.
MARKER = ".daskjob-complete"
#: The name of a hash, and of a folder in which an overlay is being installed.
_KEY = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"([0-9a-f]{32})\.[0-9a-f]{16}")
#: Errors of a folder in which nothing can be written.
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOLCK)


class Cancelled(Exception):
    """The run was cancelled before its packages were installed."""


@dataclass(slots=True)
class Overlay:
    """A complete overlay, which stays as long as it is held."""

    folder: Path
    #: What the user should know about it; empty: nothing.
    note: str = ""
    #: What was held for it.
    held: ExitStack = field(default_factory=ExitStack)

    @property
    def programs(self) -> Path:
        """The folder of its programs, which may not exist."""
        return self.folder / "bin"

    def close(self) -> None:
        """Release it: it may be pruned from now on; a temporary one is removed."""
        self.held.close()


@dataclass(frozen=True, slots=True)
class Building:
    """How a missing overlay is installed."""

    #: Installs into an empty folder.
    install: Callable[[Path], None]
    #: Called when another process installs the same, which is waited for.
    on_wait: Callable[[], None] = lambda: None
    #: Set when the run is cancelled.
    cancelled: threading.Event = field(default_factory=threading.Event)


def overlays_root() -> Path:
    """Return the folder of all overlays of this user: ``$XDG_CACHE_HOME/daskjob/overlays``."""
    return user_folder("XDG_CACHE_HOME", ".cache") / "daskjob" / "overlays"


def overlay_key(parts: Iterable[str]) -> str:
    """Return the name of an overlay from what it is made of."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def overlay(root: Path, key: str, building: Building) -> Overlay:
    """Return the overlay of a key, installed first if it is missing or damaged.

    Of several runs that need it at once, one installs it. Where the cache cannot be written, it is
    installed for this run alone.

    Raises
    ------
    Cancelled
        The run was cancelled while it waited.
    OSError
        It cannot be written, as on a full disk.
    """
    if os.pathsep in str(root):
        why = f"in its path, {os.pathsep!r} would separate folders of PYTHONPATH"
        return _temporary(root, building, OSError(errno.EINVAL, why))
    held = ExitStack()
    try:
        make_own_folder(root)
        check_root(root.parent)
        _use(root / f"{key}.use", held)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        if is_complete(root / key):
            # Nobody can prune what nobody can write.
            return Overlay(root / key)
        return _temporary(root, building, error)
    found = Overlay(root / key, held=held)
    with _closed_on_error(found):
        if not is_complete(found.folder):
            with _alone(root, key, building):
                if not is_complete(found.folder):
                    _build(root, key, building)
                    prune(root)
    return found


@contextmanager
def _closed_on_error(found: Overlay) -> Iterator[None]:
    try:
        yield
    except BaseException:
        found.close()
        raise


def _use(path: Path, held: ExitStack) -> None:
    """Hold the lock that keeps an overlay; its time is that of the last use."""
    while True:
        with ExitStack() as opened:
            lock = opened.enter_context(own_file(path))
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_there(path, lock):
                os.utime(lock)
                held.push(opened.pop_all())
                return


@contextmanager
def _alone(root: Path, key: str, building: Building) -> Iterator[None]:
    """Be the only process that installs an overlay."""
    # Not pruned meanwhile: the caller holds the other lock.
    with own_file(root / f"{key}.build") as lock:
        waits = False
        while not _locked(lock):
            if not waits:
                building.on_wait()
            waits = True
            if building.cancelled.wait(LOOK_SECONDS):
                raise Cancelled
        yield


def _is_there(path: Path, descriptor: int) -> bool:
    """Return whether an open file still has its name: others lock the file of that name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(root: Path, key: str, building: Building) -> None:
    """Install an overlay beside its place, and move it there; the caller is alone."""
    # What a killed one has left: nobody else is in this function for this key.
    for left in _folders(root, key):
        _delete(left)
    draft = root / f"{key}.{secrets.token_hex(8)}"
    draft.mkdir(mode=0o700)
    try:
        building.install(draft)
        complete(draft)
        _replace(draft, root / key)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(draft: Path, place: Path) -> None:
    """Move a folder to a place, where a damaged one may be: that one goes aside and is removed."""
    aside = place.with_name(f"{place.name}.{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        place.rename(aside)
    draft.rename(place)
    _delete(aside)


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink()  # a link, or a file
    shutil.rmtree(path, ignore_errors=True)


def _folders(root: Path, key: str) -> list[Path]:
    """Return the unfinished folders of a key."""
    return [path for path in root.glob(f"{key}.*") if _UNFINISHED.fullmatch(path.name)]


def _temporary(root: Path, building: Building, error: OSError) -> Overlay:
    """Return an overlay for one run, where the cache cannot be written."""
    folder = Path(tempfile.mkdtemp(prefix="daskjob-packages-"))
    found = Overlay(folder, _temporary_note(root, error))
    found.held.callback(shutil.rmtree, folder, ignore_errors=True)
    with _closed_on_error(found):
        building.install(folder)
    return found


def _temporary_note(root: Path, error: OSError) -> str:
    return (
        f"the cache of packages {root} cannot be used ({error.strerror or error}): they are "
        "installed for this run only; set XDG_CACHE_HOME to a folder of yours to keep them"
    )


# Whether it is whole


def complete(folder: Path) -> None:
    """Write the last file of an overlay."""
    facts = {"content": _content(folder)}
    write_own_file(folder / MARKER, json.dumps(facts).encode())


def is_complete(folder: Path) -> bool:
    """Return whether an overlay has all files, with the sizes, that were installed."""
    try:
        facts = json.loads(read_own_file(folder / MARKER))
        return is_own_folder(folder) and bool(facts["content"] == _content(folder))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _content(folder: Path) -> str:
    """Return a hash of the names and sizes of all files, but for those that Python writes."""
    found = hashlib.sha256()
    for name, size in sorted(_files(str(folder), "")):
        found.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__" or entry.name == MARKER:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False).st_size


# Pruning


def prune(root: Path, *, kept: int = KEPT, seconds: float = KEPT_SECONDS) -> None:
    """Remove overlays that were not used for long, and the oldest above a number; none in use."""
    uses = {path.name.removesuffix(".use"): path for path in root.glob("*.use")}
    known = sorted(
        (key for key in uses if _KEY.fullmatch(key)),
        key=lambda key: _time(uses[key]),
        reverse=True,
    )
    too_old = time.time() - seconds
    for number, key in enumerate(known):
        if number >= kept or _time(uses[key]) < too_old:
            _remove(root, key)


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(root: Path, key: str) -> None:
    """Remove an overlay, unless a run uses it, and with it installs it."""
    path = root / f"{key}.use"
    with suppress(OSError), own_file(path) as use:
        if not _locked(use) or not _is_there(path, use):
            return
        # A run that comes now waits for this lock, and then makes all anew.
        for folder in (root / key, *_folders(root, key)):
            _delete(folder)
        for name in (f"{key}.build", f"{key}.use"):
            (root / name).unlink(missing_ok=True)
