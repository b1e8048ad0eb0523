"""Runs a job in the foreground: its script's terminal, its signals, and its display together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from daskjob.core.errors import ApiError
from daskjob.core.manifests import Manifest
from daskjob.submit.local_run import ForegroundJob
from daskjob.submit.terminal.keyboard import Keyboard
from daskjob.submit.terminal.live import View
from daskjob.submit.terminal.screen import Screen, screen_of
from daskjob.submit.terminal.worker_lines import WorkerLines

#: How often the screen is updated, in seconds.
TICK_SECONDS = 0.2
#: How long the reader of the last lines is waited for after a second Ctrl-C.
LAST_LINES_SECONDS = 0.5
#: Who cancels a job, by signal.
CANCELLED_BY = {
    "SIGHUP": "the end of its terminal (SIGHUP)",
    "SIGPIPE": "the reader of its output, which is gone",
}


async def shown_to_its_end(
    run: ForegroundJob,
    notes: list[str],
    *,
    quiet: bool,
    log_to_stderr: bool,
    worker_output: bool,
) -> Manifest:
    """Run a job with everything that it needs of this terminal; return it with its last status.

    Raises
    ------
    BrokenPipeError
        The reader of the script's output is gone; the job was cancelled.
    ApiError
        Its output cannot be written, or this machine cannot provide the ports or processes.
    """
    screen = screen_of(quiet=quiet, log_to_stderr=log_to_stderr)
    lines = None
    if worker_output and not quiet:
        lines = WorkerLines(run)
    view = View(run, screen, quiet=quiet, worker_lines=lines)
    foreground = Foreground(run, screen, view)
    with foreground.signals():
        view.begin([*notes, *run.notes])
        job = await foreground.run()
    # Ctrl-C ends the reader of a pipe too, `| tee`: that is no reason to report another end.
    if screen.error is not None and not foreground.was_interrupted:
        if isinstance(screen.error, BrokenPipeError):
            raise screen.error
        raise ApiError(f"cannot write the script's output: {screen.error.strerror}")
    return job


class Foreground:
    """A job between its script and this terminal."""

    def __init__(self, run: ForegroundJob, screen: Screen, view: View) -> None:
        self._run = run
        self._screen = screen
        self._view = view
        self._signals = 0
        #: As set by nohup: the run outlives its terminal.
        self._outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._keyboard = (
            Keyboard(
                run.output,
                on_interrupt=self._interrupt,
                on_suspend=self._suspend_group,
                on_closed=self._on_lost,
                on_modes=run.restore_when_lost,
            )
            if screen.shape.stdin
            else None
        )
        output = run.output
        output.shape, output.size, output.sink = screen.shape, screen.size, screen
        output.on_change = self._on_script
        screen.on_room = output.resume
        screen.on_error = self._on_lost

    @property
    def was_interrupted(self) -> bool:
        """Whether a signal cancelled the job."""
        return self._signals > 0

    async def run(self) -> Manifest:
        """Run the job to its end, and report it."""
        ticking = asyncio.create_task(self._tick())
        try:
            return await self._run.run()
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            self._release_keys()
            self._view.end()
            await self._last_lines()
            self._screen.close()
            self._run.close()

    async def _tick(self) -> None:
        while True:
            self._follow_terminal()
            self._view.update()
            await asyncio.sleep(TICK_SECONDS)

    async def _last_lines(self) -> None:
        """Wait for the reader of the output; after a second signal, not for long."""
        draining = asyncio.create_task(self._screen.drained())
        patience = None
        while not draining.done():
            if self._signals > 1 and patience is None:
                patience = asyncio.get_running_loop().time() + LAST_LINES_SECONDS
            if patience is not None and asyncio.get_running_loop().time() > patience:
                draining.cancel()
            await asyncio.wait({draining}, timeout=0.05)

    # The terminal

    def _on_script(self) -> None:
        """Follow the start and the end of the script, and of the tasks that it left."""
        self._view.script_changed(runs=self._run.is_working)
        self._follow_terminal()

    def _follow_terminal(self) -> None:
        if self._keyboard is not None:
            self._keyboard.follow()

    def _release_keys(self) -> None:
        if self._keyboard is not None:
            self._keyboard.release()

    def _on_resize(self) -> None:
        self._run.output.resize(*self._screen.size)

    def _on_lost(self) -> None:
        """Cancel the job: its terminal, or the reader of its output, is gone."""
        if self._outlives and self._screen.error is None:
            return
        broken = isinstance(self._screen.error, BrokenPipeError)
        self._run.cancel(CANCELLED_BY["SIGPIPE" if broken else "SIGHUP"])

    # Signals

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Handle signals until the end: cancel at the first, kill at the second."""
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGINT: self._interrupt,
            signal.SIGTERM: lambda: self._on_signal("SIGTERM"),
            signal.SIGWINCH: self._on_resize,
            signal.SIGTSTP: self._suspend,
            signal.SIGCONT: self._follow_terminal,
        }
        if not self._outlives:
            handlers[signal.SIGHUP] = lambda: self._on_signal("SIGHUP")
        added = []
        for number, handler in handlers.items():
            # What a parent had ignored, as in a script's background, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, handler)
                added.append(number)
        try:
            yield
        finally:
            for number in added:
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        self._signals += 1
        # First: a report may fail, on a terminal that was closed.
        if self._signals == 1 and not self._run.snapshot().status.finished:
            self._run.interrupt()
            self._view.interrupted("SIGINT", 1)
        else:
            self._run.kill()
            self._view.interrupted("SIGINT", 2)

    def _on_signal(self, name: str) -> None:
        self._signals += 1
        if self._signals == 1:
            self._run.cancel(CANCELLED_BY.get(name, name))
        else:
            self._run.kill()
        self._view.interrupted(name, self._signals)

    # Ctrl-Z

    def _suspend_group(self) -> None:
        """Stop as a shell expects it of Ctrl-Z: all processes of this command's group."""
        os.killpg(os.getpgrp(), signal.SIGTSTP)

    def _suspend(self) -> None:
        """Stop the script and this process until the shell continues it; workers go on."""
        script = self._run.script_pid
        self._screen.hide()
        self._release_keys()
        _signal_group(script, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        _signal_group(script, signal.SIGCONT)
        self._on_resize()
        self._follow_terminal()


def _signal_group(leader: int | None, number: signal.Signals) -> None:
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
