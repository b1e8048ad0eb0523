"""The log of a job in the foreground: in pieces, attempt after attempt."""

from __future__ import annotations

from pathlib import Path

from daskjob.submit.local_logs import CHUNK_BYTES
from daskjob.submit.local_run import LogTail


def test_the_rest_of_an_attempts_log_is_read_in_chunks_before_the_next_log(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    first.write_bytes(b"begin ")
    tail = LogTail()
    assert tail.read(first) == b"begin "
    with first.open("ab") as log:
        log.write(b"x" * (2 * CHUNK_BYTES + 1))
    second.write_bytes(b"next")
    pieces = []
    while piece := tail.read(second):
        pieces.append(piece)
    tail.close()
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert b"".join(pieces) == b"x" * (2 * CHUNK_BYTES + 1) + b"next"


def test_a_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    tail = LogTail()
    assert tail.read(tmp_path / "later.log") == b""
    (tmp_path / "later.log").write_bytes(b"now")
    assert tail.read(tmp_path / "later.log") == b"now"
    tail.close()
