"""The cache outside the checkout: binaries and images, each built once, by a hash of their inputs.

A folder with the hash in its name is complete as soon as it exists: it is filled under another name
and renamed. Two builds of the same inputs never run at once; the second one waits for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Return the project's cache folder, which ``scripts/venv`` uses as well."""
    named = os.environ.get("DASKJOB_CACHE") or os.environ.get("XDG_CACHE_HOME")
    if not named:
        home = os.environ.get("HOME")
        named = f"{home}/.cache" if home else f"{tempfile.gettempdir()}/daskjob-cache-{os.getuid()}"
    return Path(named) / "daskjob"


def say(words: str) -> None:
    """Print progress to standard error; standard output is for results."""
    print(words, file=sys.stderr, flush=True)


def input_hash(*parts: str | bytes | Path) -> str:
    """Return a hash of texts and files, 16 hex digits; a folder stands for all files below it."""
    digest = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part):
            digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.hexdigest()[:16]


def _pieces(part: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(part, str | bytes):
        yield part.encode() if isinstance(part, str) else part
    elif part.is_dir():
        for path in sorted(p for p in part.rglob("*") if p.is_file()):
            if "__pycache__" not in path.parts:
                yield from (path.relative_to(part).as_posix().encode(), path.read_bytes())
    else:
        yield part.read_bytes()


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock of this name in the cache; if another process has it, print that and wait."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another process that has {name} ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder ``<name>-<key>`` of the cache, filled by ``make`` if it is missing."""
    folder = cache_folder() / f"{name}-{key}"
    if folder.is_dir():
        return folder
    with exclusive(name):
        if not folder.is_dir():
            new = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            make(new)
            new.rename(folder)
    return folder
