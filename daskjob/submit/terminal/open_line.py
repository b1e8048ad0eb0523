"""The row that a script has left open on its terminal, and whether the live line fits below."""

from __future__ import annotations

import re

from daskjob.submit.terminal.script_modes import ScriptModes

#: How long the line hides after the script moved the cursor between rows.
MOVED_SECONDS = 3.0
#: The longest open line that is drawn around.
OPEN_BYTES = 4096

#: Escape sequences that leave the cursor in its row: colours, erasing in the line, moves in it,
#: modes, the window's title, the shape of the cursor, questions to the terminal.
_HARMLESS = re.compile(
    rb"\x1b\[[0-9;:]*[mKCDGPX@ntchl]|\x1b\[[?>=][0-9;]*[hlmu]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    rb"|\x1b[=>]|\x1b\([0AB]|\x1b\[[0-9]* q|\x1bP[^\x1b]*\x1b\\"
)
_ALTERNATE = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])")
#: Ends a sequence that is not complete.
_CANCEL = b"\x18"
_REMEMBERS = re.compile(rb"\x1b(?:7|\[s)")
_COLUMN = re.compile(rb"\x1b\[[0-9;]*[CG]")
_MOVES = re.compile(rb"[\x1b\x0b\x0c]")
#: The beginning of an escape sequence at the end of output.
_CUT_ESCAPE = re.compile(rb"\x1b(?:\[[0-9;:?>=]* ?|[\]P][^\x07\x1b]*\x1b?|\()?$")


class OpenLine:
    """What the script's last row holds, and whether something may be drawn beside it."""

    def __init__(self) -> None:
        #: What was written since the last newline.
        self.text = b""
        self.moved_at = -MOVED_SECONDS
        self.modes = ScriptModes()
        #: The colours that were on at the beginning of the row.
        self.colours_before = b""
        #: On another screen, as an editor is; what is open on the main one meanwhile.
        self._on_other_screen = False
        self._below_other_screen = b""
        #: The script remembers a place of the cursor; drawing the live line would replace it.
        self._remembers = False
        #: The beginning of an escape sequence whose rest has not come.
        self._cut = b""

    def feed(self, data: bytes, now: float) -> None:
        """Take output."""
        data = self._cut + data
        cut = _CUT_ESCAPE.search(data)
        self._cut = cut.group() if cut and len(cut.group()) < OPEN_BYTES else b""
        data = data[: len(data) - len(self._cut)]
        start = 0
        for switch in _ALTERNATE.finditer(data):
            self._append(data[start : switch.start()], now)
            self._switch_screen(to_other=switch.group(1) == b"h")
            start = switch.end()
        self._append(data[start:], now)
        self._follow_modes(data)

    def _follow_modes(self, data: bytes) -> None:
        if rows := data.rfind(b"\n") + 1:
            self.modes.feed(data[:rows])
            self.colours_before = self.modes.colours
        self.modes.feed(data[rows:])

    def _append(self, data: bytes, now: float) -> None:
        if _MOVES.search(_HARMLESS.sub(b"", data)):
            self.moved_at = now
            self._remembers = self._remembers or bool(_REMEMBERS.search(data))
        _, newline, rest = data.rpartition(b"\n")
        tail = rest if newline else self.text + data
        # A bar that was written again and again is what came after the last return.
        if len(tail) > OPEN_BYTES and b"\r" in tail[:-1]:
            tail = tail[tail.rfind(b"\r", 0, -1) :]
        self.text = tail[-2 * OPEN_BYTES :]

    def _switch_screen(self, *, to_other: bool) -> None:
        if to_other == self._on_other_screen:
            return
        self._on_other_screen = to_other
        if to_other:
            self._below_other_screen, self.text = self.text, b""
        else:
            self.text, self._below_other_screen = self._below_other_screen, b""
            # The terminal puts the cursor back.
            self.moved_at = -MOVED_SECONDS

    def end(self) -> bytes:
        """Return what ends the row, if it is open, and what undoes the script's settings."""
        self._switch_screen(to_other=False)
        # Settings first: the row is that of the main screen, in its own colours.
        ended = self.modes.undo() + (b"\n" if self.is_open else b"")
        if self._cut:
            ended = _CANCEL + ended
        self.text = self._cut = self.colours_before = b""
        self.moved_at = -MOVED_SECONDS
        self._remembers = False
        return ended

    @property
    def is_open(self) -> bool:
        """Whether the row holds something."""
        return bool(_HARMLESS.sub(b"", self.text).strip(b"\r"))

    @property
    def is_split(self) -> bool:
        """Whether it ends within a character or an escape sequence: the rest is yet to come."""
        return bool(self._cut) or _ends_in_a_character(self.text)

    def is_busy(self, now: float) -> bool:
        """Return whether the script uses rows above or below, where a line would be in its way."""
        return self._on_other_screen or now - self.moved_at < MOVED_SECONDS

    def leaves_room(self, now: float, columns: int, rows: int) -> bool:
        """Return whether the live line may be drawn below."""
        if self.is_busy(now) or self._remembers or self.modes.has_region(rows):
            return False
        if self.is_split:
            return False
        return len(self.text) <= OPEN_BYTES and self.fits(columns)

    def fits(self, columns: int) -> bool:
        """Return whether it takes one row, with the cursor before the row's end."""
        from rich.cells import cell_len

        if _COLUMN.search(self.text):
            return False
        plain = _HARMLESS.sub(b"", self.text).decode(errors="replace")
        return all(cell_len(part.expandtabs()) < columns for part in plain.split("\r"))


def _ends_in_a_character(text: bytes) -> bool:
    """Return whether the last character of UTF-8 is not complete."""
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte & 0xC0 != 0x80:
            size = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return size > back
    return False
