"""What a script has set on its terminal and has not set back: colours, modes, a scroll region.

Between two writes of a script its colours are set aside for daskjob's own messages. At its end all
of it is undone, as a program that was killed leaves a hidden cursor or another screen behind, and
what follows is daskjob's and the next attempt's.
"""

from __future__ import annotations

import re

_CHANGE = re.compile(
    rb"\x1b(?:\[(?P<colours>[0-9;:]*)m|\[\?(?P<modes>[0-9;]+)(?P<to>[hl])|\[(?P<region>[0-9;]*)r"
    rb"|(?P<keypad>[=>])|\((?P<letters>[0AB])|(?P<reset>c|\[!p))"
)
#: Modes that are undone: wrapping and the cursor; its keys, the other screen, mouse, focus, paste.
_ON = frozenset({7, 25})
_OFF = frozenset({1, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1047, 1049, 2004})
#: Colours and styles by the number that ends them.
_ENDS = {22: (1, 2), 23: (3,), 24: (4, 21), 25: (5, 6), 27: (7,), 28: (8,), 29: (9,)}
_ENDS |= {39: (38,), 49: (48,)}
_LAST_ROW = 9999
#: How many numbers follow 38 and 48.
_MORE = {b"5": 2, b"2": 4}


class ScriptModes:
    """The state of a terminal that a script changes by what it prints."""

    def __init__(self) -> None:
        self._colours: dict[int, bytes] = {}
        self._modes: dict[int, bytes] = {}
        self._keypad = self._letters = False
        #: The first and the last row of the scroll region.
        self._region: tuple[int, int] | None = None

    def _forget(self) -> None:
        self._colours.clear()
        self._modes.clear()
        self._keypad = self._letters = False
        self._region = None

    def has_region(self, rows: int) -> bool:
        """Return whether only a part of the screen scrolls; an editor may name all of it."""
        if self._region is None:
            return False
        first, last = self._region
        return first > 1 or last < rows

    @property
    def wraps(self) -> bool:
        """Whether a long line continues in the next row."""
        return 7 not in self._modes

    @property
    def colours(self) -> bytes:
        """The sequence that sets the script's present colours; empty for the default ones."""
        return b"\x1b[" + b";".join(self._colours.values()) + b"m" if self._colours else b""

    def feed(self, data: bytes) -> None:
        """Take output that does not end within a sequence."""
        if b"\x1b" not in data:
            return
        plain_from = max(data.rfind(b"\x1b[m"), data.rfind(b"\x1b[0m"))
        if plain_from >= 0:
            self._colours.clear()
        for change in _CHANGE.finditer(data):
            if change["colours"] is not None:
                if change.start() > plain_from:
                    self._paint(change["colours"])
            elif change["modes"] is not None:
                self._switch(change["modes"], change["to"])
            elif change["region"] is not None:
                self._region = _region(change["region"])
            elif change["keypad"] is not None:
                self._keypad = change["keypad"] == b"="
            elif change["letters"] is not None:
                self._letters = change["letters"] != b"B"
            else:
                self._forget()

    def undo(self) -> bytes:
        """Return what sets everything back, and forget it."""
        found = [b"\x1b[0m"] if self._colours else []
        found += [b"\x1b>"] if self._keypad else []
        found += [b"\x1b(B"] if self._letters else []
        # Setting the region moves the cursor.
        found += [b"\x1b7\x1b[r\x1b8"] if self._region else []
        for mode, to in sorted(self._modes.items()):
            found.append(b"\x1b[?%d%s" % (mode, b"l" if to == b"h" else b"h"))
        self._forget()
        return b"".join(found)

    def _switch(self, modes: bytes, to: bytes) -> None:
        for mode in (int(each) for each in modes.split(b";") if each):
            if mode not in _ON | _OFF:
                continue
            if (to == b"h") == (mode in _ON):
                self._modes.pop(mode, None)
            else:
                self._modes[mode] = to

    def _paint(self, numbers: bytes) -> None:
        words = numbers.split(b";")
        while words:
            word = words.pop(0)
            code = int(word.partition(b":")[0] or 0)
            if code == 0:
                self._colours.clear()
            elif code in _ENDS:
                for ended in _ENDS[code]:
                    self._colours.pop(ended, None)
            elif code in (38, 48) and b":" not in word and words:
                more = _MORE.get(words[0], 1)
                self._colours[code] = b";".join([word, *words[:more]])
                del words[:more]
            elif 30 <= code <= 38 or 90 <= code <= 97:
                self._colours[38] = word
            elif 40 <= code <= 48 or 100 <= code <= 107:
                self._colours[48] = word
            else:
                self._colours[code] = word


def _region(numbers: bytes) -> tuple[int, int] | None:
    """Return the rows of a scroll region; ``None``: the whole screen."""
    first, _, last = numbers.partition(b";")
    if not first.strip(b";") and not last.strip(b";"):
        return None
    return int(first or 1), int(last.partition(b";")[0] or _LAST_ROW)
