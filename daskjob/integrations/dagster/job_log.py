"""Messages of Dagster Pipes from the log of a job."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dagster import PipesMessageReader
from dagster._core.pipes.context import PipesMessageHandler
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesDefaultMessageWriter

from daskjob.submit.jobs import LogChunk

#: Shown as they come. All others count once their attempt is known to be the last one: a job's
#: retry reports its assets again.
_AT_ONCE = ("log", "log_external_stream")


class PipesDaskJobLogReader(PipesMessageReader):
    """Reads messages from the runner's log; its other lines are printed."""

    def __init__(self) -> None:
        self._handler: PipesMessageHandler | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[dict[str, Any]]:
        """Let the runner write its messages to its standard error."""
        self._handler = handler
        try:
            yield {PipesDefaultMessageWriter.STDIO_KEY: PipesDefaultMessageWriter.STDERR}
        finally:
            self._handler = None

    @property
    def expected_writer_count(self) -> int:
        """One runner at a time writes."""
        return 1

    def read(self, chunks: Iterable[LogChunk]) -> None:
        """Handle the messages of a log up to its end."""
        pod, held = "", list[dict[str, Any]]()
        for found, line in _lines(chunks):
            if found != pod:
                pod, held = found, []
            message = _message(line)
            if message is None:
                print(line, file=sys.stdout, flush=True)
            elif message.get("method") in _AT_ONCE:
                self._handle(message)
            else:
                held.append(message)
        for message in held:
            self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        if self._handler is not None:
            self._handler.handle_message(message)

    def no_messages_debug_text(self) -> str:
        """Return what to look at if there were no messages."""
        return "Attempted to read messages from the log of the DaskJob's runner."


def _lines(chunks: Iterable[LogChunk]) -> Iterator[tuple[str, str]]:
    """Yield each line with its pod; chunks end in the middle of lines."""
    pod, rest = "", b""
    for chunk in chunks:
        if chunk.pod != pod and rest:
            yield pod, rest.decode(errors="replace")
            rest = b""
        pod = chunk.pod
        *whole, rest = (rest + chunk.data).split(b"\n")
        yield from ((pod, line.decode(errors="replace")) for line in whole)
    if rest:
        yield pod, rest.decode(errors="replace")


def _message(line: str) -> dict[str, Any] | None:
    if PIPES_PROTOCOL_VERSION_FIELD not in line:
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and PIPES_PROTOCOL_VERSION_FIELD in found else None
