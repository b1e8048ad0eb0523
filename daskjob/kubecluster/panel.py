"""What a user sees of a start: a panel on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from daskjob.kubecluster.parts import Row

WIDTH = 80
_STYLES = {"ready": "green", "waiting": "yellow", "failed": "red"}


class Panel:
    """Shows the start of one cluster; ``say`` adds a line, ``redraw`` shows new rows."""

    def __init__(
        self,
        title: str,
        rows: Callable[[], Sequence[Row]],
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self.title = title
        self._rows = rows
        self._quiet = quiet
        self._stream = stream or _default_stream()
        self._live: Any = None
        #: The last line that no row has.
        self._step = ""

    def __enter__(self) -> Panel:
        if not self._quiet and _is_terminal(self._stream):
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream)
            self._live = Live(console=console, refresh_per_second=4, get_renderable=self.drawn)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with suppress(Exception):
                self._live.refresh()
                self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Show a line."""
        if text not in [row.text for row in self._rows()]:
            self._step = text
        if self._quiet or self._live is not None:
            return
        with suppress(OSError, ValueError):
            print(text, file=self._stream, flush=True)

    def drawn(self) -> Any:
        """Return it as rich renders it."""
        from rich import box
        from rich.panel import Panel as Frame
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in self._rows():
            table.add_row(row.title, Text(row.text, style=_STYLES.get(row.state, "")))
        table.add_row("", "")
        table.add_row(Text("›", style="cyan"), Text(self._step))
        return Frame(table, title=Text(self.title), box=box.ROUNDED, width=WIDTH, padding=(1, 2))


def _default_stream() -> TextIO:
    """Return standard error; notebooks show that on red ground, as an error, so not in a kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return sys.stdout if hasattr(shell, "kernel") else sys.stderr


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
