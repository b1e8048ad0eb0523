"""Records `daskjob run` on a real terminal: docs/run.cast (asciicast 2) and docs/run.svg.

make recording

The commands really run, in a copy of the examples; only the typing is made. The picture plays the
recording: each row that occurs is drawn once, and the frames show rows one below the other.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import pyte
from pyte.screens import Char

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COLUMNS, ROWS = 100, 26
COMMANDS = (
    "daskjob run --workers 2 census.py --top 4 --limit 400",
    "daskjob run --workers 2 --retries 1 compress.py --limit 100 --top 3 --fail-on-attempt 0",
    "daskjob list",
)
SCRIPTS = ("stdlib_census/census.py", "checkpoint/compress.py")

KEY_SECONDS, PAUSE_SECONDS, LAST_SECONDS = 0.045, 1.2, 5.0
#: Between two frames of the picture; longer pauses of the recording are shortened to the last.
FRAME_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0

CELL, LINE, MARGIN = 8.4, 18, 14
BACKGROUND, FOREGROUND = "#16181d", "#d8dbe2"
COLOURS = {"red": "#ff6b6b", "green": "#69d58c", "cyan": "#62c8e8", "blue": "#7aa2f7"}
COLOURS |= {"brown": "#e5c07b", "magenta": "#c792ea", "black": "#5c6370", "white": "#ffffff"}

#: A space that every viewer keeps.
NO_BREAK = "\u00a0"

Event = tuple[float, str]


@dataclass
class Recording:
    """What a terminal showed, with the time of each piece."""

    events: list[Event] = field(default_factory=list)
    now: float = 0.0

    def show(self, text: str, pause: float = 0.0) -> None:
        """Add output, then a pause."""
        self.events.append((round(self.now, 3), text))
        self.now += pause

    def type(self, command: str) -> None:
        """Add a prompt, and a command as if it were typed."""
        self.show("\x1b[1;32m$\x1b[0m ", PAUSE_SECONDS / 2)
        for key in command:
            self.show(key, KEY_SECONDS)
        self.show("\r\n", KEY_SECONDS)

    def run(self, command: str, environment: dict[str, str], folder: Path) -> None:
        """Run a command on a terminal and add its output."""
        pid, descriptor = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "-c", command], environment)
        last = time.monotonic()
        for data in pieces(descriptor):
            now = time.monotonic()
            self.now += min(now - last, LONGEST_PAUSE_SECONDS)
            last = now
            self.show(data.decode(errors="replace"))
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        if status:
            sys.exit(f"{command}: {os.waitstatus_to_exitcode(status)}")
        self.now += PAUSE_SECONDS

    def text(self) -> str:
        """The recording as an asciicast of version 2."""
        header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "daskjob run"}
        lines = [header, *([at, "o", data] for at, data in self.events)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def pieces(descriptor: int) -> Iterator[bytes]:
    """Yield output; what comes within a hundredth of a second is one piece, as one frame is."""
    piece = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.01 if piece else None)
        if not ready:
            yield piece
            piece = b""
            continue
        try:
            data = os.read(descriptor, 65536)
        except OSError:
            data = b""
        if not data:
            break
        piece += data
    if piece:
        yield piece


def recorded() -> Recording:
    """Run all commands in a folder of their own."""
    recording = Recording()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        for script in SCRIPTS:
            shutil.copy(ROOT / "examples" / script, work)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": name,
            "DASKJOB_STATE_DIR": f"{name}/state",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        for command in COMMANDS:
            recording.type(command)
            recording.run(command, environment, work)
    return recording


# The picture


@dataclass(frozen=True)
class Frame:
    """The screen at one time."""

    at: float
    rows: tuple[str, ...]


def frames(events: Sequence[Event]) -> list[Frame]:
    """Return the different screens, at most one in each `FRAME_SECONDS`."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    found: list[Frame] = []
    for index, (at, data) in enumerate(events):
        stream.feed(data)
        after = events[index + 1][0] if index + 1 < len(events) else at + LAST_SECONDS
        slot = at // FRAME_SECONDS
        if after // FRAME_SECONDS == slot:
            continue  # the next event is of the same frame
        rows = tuple(row_of(screen.buffer[number]) for number in range(ROWS))
        if not found or found[-1].rows != rows:
            found.append(Frame(slot * FRAME_SECONDS, rows))
    return found


def row_of(cells: dict[int, Char]) -> str:
    """Return a row as the inside of a group: one text for each run of equal style."""
    runs: list[tuple[int, str, str]] = []
    for column in range(COLUMNS):
        cell = cells[column]
        style = class_of(cell)
        if runs and runs[-1][2] == style:
            start, text, _ = runs[-1]
            runs[-1] = (start, text + cell.data, style)
        else:
            runs.append((column, cell.data, style))
    return "".join(run_of(*run) for run in runs if run[1].strip())


def class_of(cell: Char) -> str:
    """Return the names of a cell's style."""
    colour = cell.fg if cell.fg in COLOURS else ""
    return " ".join(filter(None, [colour, "bold" if cell.bold else ""]))


def run_of(column: int, text: str, style: str) -> str:
    """Return a run whose width does not depend on the font."""
    shown = text.rstrip()
    indent = len(shown) - len(shown.lstrip())
    shown, column = shown.lstrip(), column + indent
    named = f' class="{style}"' if style else ""
    width = f"{len(shown) * CELL:.1f}".removesuffix(".0")
    place = f"{column * CELL:.1f}".removesuffix(".0")
    shown = escape(shown).replace(" ", NO_BREAK)
    return f'<text x="{place}" textLength="{width}"{named}>{shown}</text>'


def picture(shown: Sequence[Frame], seconds: float) -> str:
    """Return the frames as an animated SVG."""
    width, height = round(COLUMNS * CELL + 2 * MARGIN), ROWS * LINE + 2 * MARGIN
    names: dict[str, str] = {}
    for frame in shown:
        for row in frame.rows:
            if row and row not in names:
                names[row] = f"r{len(names)}"
    defined = "".join(f'<g id="{name}">{row}</g>' for row, name in names.items())
    strip = []
    for index, frame in enumerate(shown):
        top = index * ROWS * LINE
        for number, row in enumerate(frame.rows):
            if row:
                strip.append(f'<use href="#{names[row]}" y="{top + number * LINE}"/>')
    steps = "".join(
        f"{frame.at / seconds * 100:.2f}%{{transform:translateY({-index * ROWS * LINE}px)}}"
        for index, frame in enumerate(shown)
    )
    last = f"100%{{transform:translateY({-(len(shown) - 1) * ROWS * LINE}px)}}"
    colours = "".join(f".{name}{{fill:{value}}}" for name, value in COLOURS.items())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-label="A recording of daskjob run on a terminal">
<style>
text{{font:14px "DejaVu Sans Mono",Menlo,Consolas,monospace;fill:{FOREGROUND}}}
.bold{{font-weight:bold}}{colours}
#strip{{animation:play {seconds:.1f}s steps(1,end) infinite}}
@keyframes play{{{steps}{last}}}
</style>
<defs>{defined}</defs>
<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>
<svg x="{MARGIN}" y="{MARGIN}" width="{width - 2 * MARGIN}" height="{ROWS * LINE}">
<g transform="translate(0 14)"><g id="strip">{"".join(strip)}</g></g>
</svg>
</svg>
"""


def main() -> None:
    """Record, and write both files."""
    recording = recorded()
    text = recording.text()
    if found := re.search(r"(?:/tmp|/home|/root|/Users)\b[^ ]*", text):
        sys.exit(f"the recording shows a path of this machine: {found.group()}")
    (DOCS / "run.cast").write_text(text, encoding="utf-8")
    shown, seconds = frames(recording.events), round(recording.now + LAST_SECONDS, 1)
    (DOCS / "run.svg").write_text(picture(shown, seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
