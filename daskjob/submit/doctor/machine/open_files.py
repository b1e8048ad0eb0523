"""The limit of open files: a scheduler has several for each worker."""

from __future__ import annotations

from daskjob.submit.doctor.finding import Finding, ok, warning

CHECK = "open files"
#: macOS starts with 256, which suffice for few workers.
FEW = 1024


def open_files(soft: int, hard: int) -> Finding:
    """Check the limits of this process; -1: none."""
    if 0 <= soft < FEW:
        can = hard if hard >= 0 else 65536
        fix = f"ulimit -n {min(can, 65536)}" if can > soft else "ask for a higher limit (nofile)"
        return warning(CHECK, f"at most {soft}: too few for some dozens of workers", fix)
    return ok(CHECK, "no limit" if soft < 0 else f"at most {soft}")
