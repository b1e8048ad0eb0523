"""The output of a script on its way to the screen and to its log, in the order of its arrival.

The process that runs the job copies it, so that a full disk under the log does not fail the script,
and so that two streams stay two. It never blocks: where the screen is slow, the script waits, as it
would with `python`, but deadlines and Ctrl-C do not.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from daskjob.backends.local.processes import Streams
from daskjob.backends.local.script_streams import ScriptStreams, Shape, Stream

#: After this many reads within `BURST_SECONDS` a stream rests for `REST_SECONDS`, so that a read
#: finds more than one line: a wake-up per line costs more than the script's own work. Before that,
#: each write is read by itself, which keeps the order of the two streams.
BURST_READS = 8
BURST_SECONDS = 0.05
REST_SECONDS = 0.002


class Sink(Protocol):
    """Where the output of a script is shown."""

    def write(self, stream: Stream, data: bytes) -> None:
        """Take output, bytes as written."""

    @property
    def is_full(self) -> bool:
        """Whether the script has to wait; `ScriptOutput.resume` ends that."""


class Log(Protocol):
    """The log of a script; its output does not depend on it."""

    def write(self, data: bytes) -> None:
        """Append; never raise OSError."""

    def close(self) -> None:
        """Close it."""


class ScriptOutput:
    """The standard streams of a job's script, attempt after attempt."""

    def __init__(self, log_of: Callable[[Path], Log]) -> None:
        self._log_of = log_of
        self.shape = Shape()
        self.sink: Sink | None = None
        #: Rows and columns of the terminal.
        self.size = (24, 80)
        #: Called when a script gets its streams, and when it has ended.
        self.on_change: Callable[[], None] = lambda: None
        self._streams: ScriptStreams | None = None
        self._log: Log | None = None
        self._keys = bytearray()
        self._waiting: set[int] = set()
        self._burst: tuple[float, int] = (0.0, 0)

    @property
    def is_open(self) -> bool:
        """Whether a script has its streams."""
        return self._streams is not None

    def open(self, log: Path, *, inherits_stdin: bool) -> Streams:
        """Return the streams for a script that is about to start; they are read from now on.

        Raises
        ------
        OSError
            The machine has no pipe or terminal left.
        """
        self.finish()
        self._log = self._log_of(log)
        streams = ScriptStreams(self.shape, inherits_stdin=inherits_stdin)
        self._streams = streams
        streams.resize(*self.size)
        for descriptor in streams.readers:
            self._watch(streams, descriptor)
        # Before the script can ask for keys: those typed from then on are its own.
        self.on_change()
        return streams.streams

    def started(self) -> None:
        """Close our copies of the script's ends; without this, their end would not show."""
        if self._streams is not None:
            self._streams.close_for_process()

    def finish(self) -> None:
        """Copy what a script that has ended left, and close its streams."""
        streams = self._streams
        if streams is None:
            return
        streams.close_for_process()
        self._unwatch(streams)
        for stream, data in streams.rest():
            self._copy(stream, data)
        streams.close()
        self._streams = None
        self._keys.clear()
        self._waiting.clear()
        if self._log is not None:
            self._log.close()
            self._log = None
        self.on_change()

    def resume(self) -> None:
        """Read on, after the sink was full."""
        waiting, self._waiting = self._waiting, set()
        for descriptor in waiting:
            if self._streams is not None:
                self._watch(self._streams, descriptor)

    # The terminal

    def resize(self, rows: int, columns: int) -> None:
        """Pass on the size of the real terminal."""
        self.size = (rows, columns)
        if self._streams is not None:
            self._streams.resize(rows, columns)

    @property
    def handles_signal_keys(self) -> bool:
        """Whether the script's terminal makes a signal of Ctrl-C."""
        return self._streams is not None and self._streams.handles_signal_keys()

    def press(self, keys: bytes) -> None:
        """Pass keys to the script."""
        if self._streams is not None and self._streams.master is not None:
            self._keys += keys
            self._type()

    def _type(self) -> None:
        streams = self._streams
        if streams is None or streams.master is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_writer(streams.master)
        try:
            while self._keys:
                del self._keys[: os.write(streams.master, self._keys)]
        except BlockingIOError:
            loop.add_writer(streams.master, self._type)
        except OSError:
            self._keys.clear()

    # Copying

    def _watch(self, streams: ScriptStreams, descriptor: int) -> None:
        if self._streams is streams and descriptor in streams.readers:
            loop = asyncio.get_running_loop()
            loop.add_reader(descriptor, self._read, streams, descriptor)

    def _unwatch(self, streams: ScriptStreams) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in streams.readers:
            loop.remove_reader(descriptor)
        if streams.master is not None:
            loop.remove_writer(streams.master)

    def _read(self, streams: ScriptStreams, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        data, ended = streams.read(descriptor)
        if data:
            self._copy(streams.readers[descriptor], data)
        if ended:
            loop.remove_reader(descriptor)
        elif self.sink is not None and self.sink.is_full:
            loop.remove_reader(descriptor)
            self._waiting.add(descriptor)
        elif self._is_burst():
            loop.remove_reader(descriptor)
            loop.call_later(REST_SECONDS, self._watch, streams, descriptor)

    def _is_burst(self) -> bool:
        began, reads = self._burst
        now = time.monotonic()
        if now - began > BURST_SECONDS:
            began, reads = now, 0
        self._burst = (began, reads + 1)
        return reads >= BURST_READS

    def _copy(self, stream: Stream, data: bytes) -> None:
        if self._log is not None:
            self._log.write(data)
        if self.sink is not None:
            self.sink.write(stream, data)
