"""The directory of all runs of this user: where it is, and who may write it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from daskjob.backends.local.own_files import is_own_folder, own_file


def state_root() -> Path:
    """Return the folder of all jobs: ``$DASKJOB_STATE_DIR``, else the user's state directory."""
    own = os.environ.get("DASKJOB_STATE_DIR")
    if own:
        return _expanded(Path(own))
    return user_folder("XDG_STATE_HOME", ".local/state") / "daskjob" / "jobs"


def user_folder(variable: str, usual: str) -> Path:
    """Return a folder of this user: that of a variable, else one below the home directory."""
    base = os.environ.get(variable, "")
    try:
        # The specification of these variables: relative paths are ignored.
        return Path(base) if os.path.isabs(base) else _home() / usual
    except RuntimeError:
        return _temporary_home()


def _home() -> Path:
    """Return the user's home directory; where ``$HOME`` is not one, that of the system's records.

    Raises
    ------
    RuntimeError
        The system has none.
    """
    if "HOME" not in os.environ or os.path.isabs(os.environ["HOME"]):
        return Path.home()
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise RuntimeError("this user has no home directory") from error


def _expanded(path: Path) -> Path:
    """Return a path with the home directory for a leading ``~``, which YAML and cron keep."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        return path.absolute()


@cache
def _temporary_home() -> Path:
    """Return a folder for a user without a home directory: one that nobody else can write.

    Its usual name is known to all users of the machine. If another one has taken it, the jobs of
    this process are in a new folder, where later commands do not find them.
    """
    path = Path(tempfile.gettempdir()) / f"daskjob-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        if is_own_folder(path):
            path.chmod(0o700)
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="daskjob-state-"))


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Be the only process that takes a name in the state directory; waits briefly for others.

    Raises
    ------
    OSError
        The state directory cannot be written.
    """
    with own_file(root / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_root(root: Path) -> None:
    """Reject a state directory in which another user could replace the folder of a run."""
    facts = root.stat()
    if facts.st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
        raise PermissionError(errno.EPERM, "every user can rename what is in it: chmod o-w")
