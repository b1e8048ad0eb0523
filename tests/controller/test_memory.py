"""Unused objects are released, and their memory returns to the machine."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import pytest

from daskjob.controller import memory

MIB = 1024 * 1024


def test_parsed_objects_are_released_before_their_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(memory, "forget", lambda: done.append("forgotten"))
    memory.give_back(lambda: done.append("given back"))
    assert done == ["forgotten", "given back"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no trim")
def test_free_pages_below_used_ones_return_to_the_machine() -> None:
    malloc = ctypes.CDLL(None)
    malloc.malloc.restype, malloc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    # Small enough to come from the heap; one that stays above all others keeps free() from it.
    pieces = [malloc.malloc(ctypes.c_size_t(64 * 1024)) for _ in range(640)]
    for piece in pieces:
        ctypes.memset(piece, 1, 64 * 1024)
    for piece in pieces[:-1]:
        malloc.free(piece)
    before = resident_mib()
    memory.give_back(memory._trimmer())
    assert before - resident_mib() > 30
    malloc.free(pieces[-1])


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB
