"""Files and folders of this user, in directories where other users may have put theirs."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def own_file(path: Path) -> Iterator[int]:
    """Open a file for locking, and create it if needed; never another user's, and no link.

    Raises
    ------
    OSError
        It cannot be opened, or is not a file of this user.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags, 0o600)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not a file of this user", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def read_own_file(path: Path) -> bytes:
    """Return the content of a file of this user, which is no link and no pipe.

    Raises
    ------
    OSError
        It cannot be read, or is not a file of this user.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    with open(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not a file of this user", str(path))
        return file.read()


def write_own_file(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, in the place of an older one; whole or not at all.

    Raises
    ------
    OSError
        It cannot be written.
    """
    draft = path.parent / f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(draft, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def make_own_folder(path: Path) -> None:
    """Create a folder that only this user can read, if it is missing.

    Raises
    ------
    OSError
        It cannot be created, or is not this user's alone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not is_own_folder(path):
        raise PermissionError(errno.EPERM, "another user can write it", str(path))
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)


def is_own_folder(path: Path) -> bool:
    """Return whether it is a folder of this user that no other user can write, and no link.

    Raises
    ------
    OSError
        There is nothing at this path.
    """
    facts = path.lstat()
    ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
    return ours and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
