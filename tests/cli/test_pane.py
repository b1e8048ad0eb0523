"""What a script prints and the live line share a terminal, and neither spoils the other."""

from __future__ import annotations

import asyncio
import os
import pty
import random
from collections.abc import Callable, Iterator

import pyte
import pytest

from daskjob.submit.terminal import pane
from daskjob.submit.terminal.open_line import OpenLine
from daskjob.submit.terminal.outlet import Outlet
from daskjob.submit.terminal.pane import Pane

COLUMNS, ROWS = 60, 12
LINE = "LIVE 3/7"


class Window:
    """A pane on a real terminal, and the screen model of what it is sent."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        os.set_blocking(self.ours, False)
        # The screen that the script alone would have made.
        self.expected = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
        self._alone = pyte.ByteStream(self.expected)
        self.screen = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.seen = b""
        self.outlet = Outlet(self.theirs, lambda _: None)
        self.pane = Pane(self.outlet, live=True)
        self.pane.show(lambda _: LINE.encode())

    def script(self, data: bytes) -> None:
        self.pane.write(data)
        self._alone.feed(data.replace(b"\n", b"\r\n"))

    async def frame(self) -> None:
        """Wait for what is due to be drawn."""
        await asyncio.sleep(0.003)
        self.read()

    def read(self) -> None:
        try:
            data = os.read(self.ours, 1 << 20)
        except BlockingIOError:
            return
        self.seen += data
        self._stream.feed(data)

    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display if row.strip()]

    def close(self) -> None:
        self.outlet.close()
        os.close(self.ours)
        os.close(self.theirs)


def printed(screen: pyte.HistoryScreen) -> list[str]:
    """All rows that hold something, those that have left the screen too."""
    past = ["".join(row[column].data for column in range(COLUMNS)) for row in screen.history.top]
    return [row.rstrip() for row in [*past, *screen.display] if row.strip()]


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Window]]:
    monkeypatch.setattr(Pane, "columns", property(lambda _: COLUMNS))
    for pause in ("FIRST_FRAME_SECONDS", "FRAME_SECONDS"):
        monkeypatch.setattr(pane, pause, 0.001)
    made: list[Window] = []

    def make() -> Window:
        made.append(Window())
        return made[0]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"one\n", ["one", LINE]),
        (b"one\ntwo", ["one", "two", LINE]),
        (b"\r10%\r20%", ["20%", LINE]),
        (b"\x1b[31mred\x1b[0m\n", ["red", LINE]),
        ("日本語 ".encode(), ["日本語", LINE]),
        (b"name? \x1b[?2004h", ["name?", LINE]),
    ],
)
async def test_the_line_is_below_what_the_script_printed(
    window: Callable[[], Window], text: bytes, rows: list[str]
) -> None:
    made = window()
    made.script(text)
    await made.frame()
    # A wide character takes a second, empty cell in the model.
    assert [row.replace("日 本 語", "日本語") for row in made.rows()] == rows
    assert (made.screen.cursor.x, made.screen.cursor.y) == (
        made.expected.cursor.x,
        made.expected.cursor.y,
    )


@pytest.mark.parametrize(
    "text",
    [
        b"\nbar two\x1b[A",
        b"\x1b[?1049heditor",
        b"cut \x1b[3",
        b"cut \xe6\x97",
        b"x" * COLUMNS,
        b"\x1b[2J\x1b[H",
    ],
)
async def test_the_line_hides_where_it_could_spoil_something(
    window: Callable[[], Window], text: bytes
) -> None:
    made = window()
    await made.frame()
    assert LINE in made.rows()
    made.script(text)
    await made.frame()
    assert LINE not in made.rows()
    assert made.screen.display == made.expected.display


async def test_a_message_goes_above_an_open_line_and_leaves_it_open(
    window: Callable[[], Window],
) -> None:
    made = window()
    made.script(b"\r10% of bar")
    await made.frame()
    made.pane.write_line(b"a message")
    made.pane.write_line(b"another")
    await made.frame()
    assert made.rows() == ["a message", "another", "10% of bar", LINE]
    made.script(b"\r20% of bar\n")
    await made.frame()
    assert made.rows() == ["a message", "another", "20% of bar", LINE]


PIECES = [
    *(b"line\n", b"partial", b"\r", b"\rbar 10%", b"\x1b[32m", b"\x1b[0m", b"\b", b"\n", b"\t"),
    *("äöü日本".encode(), b"\x1b[K", b"\x1b[2K", b"y" * 25, b"end\r\n", b"\x1b[C", b"\x1b[5G"),
]
MOVES = [b"\x1b[1A", b"\x1b[3;1H", b"\x1b[B", b"\x1bM"]


@pytest.mark.parametrize("moves", [[], MOVES])
@pytest.mark.parametrize("seed", range(10))
async def test_whatever_a_script_prints_its_screen_is_as_without_the_line(
    window: Callable[[], Window], seed: int, moves: list[bytes]
) -> None:
    choice = random.Random(seed)
    made = window()
    for _ in range(60):
        data = choice.choice(PIECES + moves)
        at = choice.randrange(len(data))
        for part in (data[:at], data[at:]):
            if part:
                made.script(part)
            if choice.random() < 0.5:
                await made.frame()
    assert moves or LINE.encode() in made.seen
    made.pane.hide()
    await made.frame()
    assert printed(made.screen) == printed(made.expected)


async def test_many_lines_at_once_have_the_live_line_once_a_frame(
    window: Callable[[], Window],
) -> None:
    made = window()
    for n in range(2000):
        made.script(b"%d\n" % n)
    await made.frame()
    while made.rows()[-2:] != ["1999", LINE]:
        await made.frame()
    assert made.seen.count(LINE.encode()) < 100


def test_an_open_line_does_not_grow_without_limit() -> None:
    line = OpenLine()
    for _ in range(100):
        line.feed(b"x" * 10000, 0.0)
    assert len(line.text) < 20000
    assert not line.leaves_room(100.0, 80, 24)


async def test_a_slow_reader_makes_the_script_wait_but_not_the_loop() -> None:
    ours, theirs = os.pipe()
    outlet = Outlet(theirs, lambda _: None)
    for _ in range(40):
        outlet.write(b"x" * 65536)
    full = outlet.is_full
    reading = asyncio.create_task(asyncio.to_thread(_read_all, ours, 40 * 65536))
    await outlet.drained()
    assert await reading == 40 * 65536
    assert (full, outlet.is_full) == (True, False)
    outlet.close()
    os.close(ours)
    os.close(theirs)


def _read_all(descriptor: int, size: int) -> int:
    read = 0
    while read < size:
        read += len(os.read(descriptor, 65536))
    return read


async def test_a_terminal_that_was_closed_is_reported_once() -> None:
    master, slave = pty.openpty()
    errors: list[OSError] = []
    outlet = Outlet(slave, errors.append)
    os.close(master)
    outlet.write(b"one")
    outlet.write(b"two")
    assert len(errors) == 1
    outlet.close()
    os.close(slave)


# Colours and modes that a script leaves on


@pytest.mark.parametrize(
    ("before", "colours"),
    [
        (b"\x1b[31m", {"fg": "red"}),
        (b"\x1b[1;44m\x1b[32m", {"fg": "green", "bg": "blue", "bold": True}),
        (b"\x1b[7m\x1b[33m\x1b[39m", {"reverse": True}),
        (b"\x1b[38;5;9m\x1b[4", {"fg": "ff0000"}),
    ],
)
async def test_messages_and_the_line_have_not_the_colours_of_the_script(
    window: Callable[[], Window], before: bytes, colours: dict[str, object]
) -> None:
    made = window()
    is_split = not before.endswith(b"m")
    made.script(b"one\n" + before)
    made.pane.write_line(b"message")
    await made.frame()
    made.script(b"mtwo\n" if is_split else b"two\n")
    await made.frame()
    rows = ["one", "two", "message", LINE] if is_split else ["one", "message", "two", LINE]
    assert made.rows() == rows
    plain = pyte.screens.Char("x")
    for row in (rows.index("message"), rows.index(LINE)):
        assert {cell._replace(data="x") for cell in made.screen.buffer[row].values()} == {plain}
    two = made.screen.buffer[rows.index("two")][0]
    assert {name: getattr(two, name) for name in colours} == colours


async def test_an_open_row_keeps_its_colours_below_a_message(window: Callable[[], Window]) -> None:
    made = window()
    made.script(b"\x1b[34m\nblue \x1b[32mgreen")
    made.pane.write_line(b"message")
    await made.frame()
    assert made.rows() == ["message", "blue green", LINE]
    assert [made.screen.buffer[2][column].fg for column in (0, 5)] == ["blue", "green"]


@pytest.mark.parametrize(
    ("left", "undone"),
    [
        (b"\x1b[31mred\n", b"\x1b[0m"),
        (b"\x1b[31mred\x1b[39m\n", b""),
        (b"\x1b[?25l50%", b"\x1b[?25h\n"),
        (b"\x1b[?1049h\x1b[?1h\x1b=\x1b[Hfile", b"\x1b>\x1b[?1l\x1b[?1049l"),
        (b"name? \x1b[?1049h\x1b[?1006;1000hfile", b"\x1b[?1000l\x1b[?1006l\x1b[?1049l\n"),
        (b"\x1b[?1049hfile\x1b[?1049l", b""),
        (b"\x1b[2;9rrows\n", b"\x1b7\x1b[r\x1b8"),
        (b"\x1b[?7l\x1b[?25l\x1bcnew\n", b""),
        (b"\x1b[31mred\x1b[0", b"\x18\x1b[0m\n"),
    ],
)
def test_what_a_script_left_on_is_undone_at_its_end(left: bytes, undone: bytes) -> None:
    line = OpenLine()
    for byte in left:
        line.feed(bytes([byte]), 0.0)
    assert line.end() == undone
    assert line.end() == b""
    whole = OpenLine()
    whole.feed(left, 0.0)
    assert whole.end() == undone


@pytest.mark.parametrize("text", ["x" * 90, "日本語" * 20, "━" * 61])
async def test_a_line_that_is_too_wide_is_cut_and_leaves_nothing_behind(
    window: Callable[[], Window], text: str
) -> None:
    made = window()
    made.script(b"row\n" * (ROWS - 1))
    made.pane.show(lambda _: text.encode())
    await made.frame()
    assert made.screen.display[-1].strip()
    made.pane.show(None)
    await made.frame()
    assert made.rows() == ["row"] * (ROWS - 1)
    assert not made.screen.display[-1].strip()


async def test_no_line_while_the_script_remembers_a_place_of_the_cursor(
    window: Callable[[], Window],
) -> None:
    made = window()
    made.script(b"abc\x1b7\n")
    made.pane._open.moved_at = -99
    await made.frame()
    made.script(b"\x1b8d")
    await made.frame()
    assert made.rows() == ["abcd"]


@pytest.mark.parametrize(
    ("printed", "seconds", "is_free"),
    [
        # An editor, from its beginning to its end.
        (
            b"\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[1;24r\x1b[H\x1b[2J~\x1b[24;1H"
            b"\x1b[?1l\x1b>\x1b[?1049l\x1b[23;0;0t\x1b[34h\x1b[?25h\x1b[>4;m\x1b[2 q",
            0.0,
            True,
        ),
        (b"\x1b[?1049h\x1b[H\x1b[2J", 99.0, False),
        (b"\x1b[1;24r\n", 0.0, False),
        (b"\x1b[1;24r\n", 99.0, True),
        (b"\x1b[1;23r", 99.0, False),
        (b"\x1b[2;r", 99.0, False),
        (b"\x1b[1;9r\x1b[r\n", 99.0, True),
        (b"\x1bP+q544e\x1b\\\x1b(0qq\x1b(B\n", 0.0, True),
        (b"\x1b[6n\x1b[c", 0.0, True),
    ],
)
def test_there_is_room_unless_the_script_has_the_screen(
    printed: bytes, seconds: float, is_free: bool
) -> None:
    for size in (1, 7, len(printed)):
        line = OpenLine()
        for start in range(0, len(printed), size):
            line.feed(printed[start : start + size], 0.0)
        assert line.leaves_room(seconds, 80, 24) == is_free


# Without a line: a dumb terminal, or one that others write too


async def test_without_a_line_messages_wait_for_the_end_of_the_row_or_of_the_script(
    window: Callable[[], Window],
) -> None:
    made = window()
    made.pane.hide()
    made.pane = Pane(made.outlet, live=False)
    made.pane.write(b"name? ")
    made.pane.write_line(b"waits")
    made.pane.write(b"Ada\ndots..")
    made.pane.write_line(b"urgent", urgent=True)
    made.pane.write(b"..")
    made.pane.write_line(b"last")
    made.pane.end_line()
    made.pane.write_line(b"attempt failed")
    made.pane.write(b"attempt 2\nend")
    made.pane.end_line()
    await made.frame()
    await made.frame()
    expected = ["name? Ada", "waits", "dots..", "urgent", "..", "last", "attempt failed"]
    assert made.seen == "\r\n".join([*expected, "attempt 2", "end"]).encode()
