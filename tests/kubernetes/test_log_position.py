"""Resuming a log exactly: no line is lost or repeated, whatever the times of its lines are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjob.kube.log_position import LogPosition, stamped, time_of

BEGIN = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def line(at: float, text: str) -> bytes:
    """Return a line as the kubelet sends it; ``at`` is in seconds."""
    moment = datetime.fromtimestamp(BEGIN + int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{int(at % 1 * 1e9):09d}Z {text}\n".encode()


class Log:
    """A container's log as the kubelet serves it."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    def response(self, since: str, *, up_to: int, rotated: int = 0) -> bytes:
        """Return what is sent of the first ``up_to`` lines after a rotation of ``rotated``."""
        first = int(datetime.fromisoformat(since).timestamp()) if since else 0
        return b"".join(kept for kept in self.lines[rotated:up_to] if second(kept) >= first)


def second(data: bytes) -> int:
    found = stamped(data)
    assert found is not None
    return found.second


def read_all(log: Log, cuts: list[tuple[int, int]], size: int = 7) -> list[bytes]:
    """Read a log through disconnects: each after a number of lines, and bytes of the next one."""
    position, got = LogPosition(), list[bytes]()
    for lines, more in [*cuts, (len(log.lines), 0)]:
        data = log.response(position.since, up_to=lines)
        position.resume()
        data += b"".join(log.lines[lines : lines + 1])[:more]
        for start in range(0, len(data), size):
            got += position.feed(data[start : start + size])
    return got


def texts(lines: list[bytes]) -> list[bytes]:
    return [data.split(b" ", 1)[1] for data in lines]


#: Few texts and few times, so that many lines are equal; some are out of order by half a second.
moments = st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 3.0]), max_size=40)
back = st.sampled_from([0.0, 0.0, 0.0, 0.5])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    now, lines = 10.0, []
    for step in draw(moments):
        now += step
        lines.append(line(now - draw(back), draw(st.sampled_from(["a", "b", ""]))))
    return Log(lines)


@given(logs(), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=8))
def test_every_line_is_read_once_over_any_disconnects(
    log: Log, cuts: list[tuple[int, int]]
) -> None:
    ordered = sorted((min(lines, len(log.lines)), more) for lines, more in cuts)
    assert read_all(log, ordered) == texts(log.lines)


def test_thousand_equal_lines_of_one_nanosecond_are_read_once() -> None:
    log = Log([line(5, "same")] * 1000)
    assert len(read_all(log, [(n, 3) for n in range(0, 1000, 50)], size=64)) == 1000


@pytest.mark.parametrize("rotated", [0, 1, 3, 4])
def test_new_lines_are_read_after_the_log_was_rotated(rotated: int) -> None:
    log = Log([line(5, text) for text in "abcdefg"])
    position = LogPosition()
    position.resume()
    got = position.feed(log.response("", up_to=4))
    position.resume()
    got += position.feed(log.response(position.since, up_to=7, rotated=rotated))
    assert b"".join(got).split() == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]


@pytest.mark.parametrize("tail", [1, 2, 3])
def test_lines_before_the_tail_are_not_read_when_it_is_resumed(tail: int) -> None:
    lines = [line(5 + at / 100, text) for at, text in enumerate("abab")]
    position = LogPosition(tail)
    position.resume()
    got = position.feed(b"".join(lines[-tail:]))
    for more in ("c", "d"):
        lines.append(line(5, more))
        position.resume()
        got += position.feed(Log(lines).response(position.since, up_to=len(lines)))
    assert b"".join(got).replace(b"\n", b"") == b"abab"[-tail:] + b"cd"


@pytest.mark.parametrize(
    "foreign",
    [
        b"unable to retrieve container logs for containerd://4f2\n",
        b"2026-13-45T00:00:00Z no time\n",
        b"\n",
    ],
)
def test_errors_of_the_kubelet_are_no_lines(foreign: bytes) -> None:
    position = LogPosition()
    assert position.feed(line(1, "a") + foreign + line(2, "b")) == [b"a\n", b"b\n"]


def test_last_line_without_a_newline_is_read_only_at_the_end() -> None:
    position = LogPosition()
    assert position.feed(line(1, "a") + line(2, "b")[:-1]) == [b"a\n"]
    position.resume()
    assert position.feed(line(1, "a") + line(2, "b")[:-1]) == []
    assert position.end() == [b"b"]


@pytest.mark.parametrize("zone", ["+00:00", "+05:30", "-08:00"])
def test_resumes_in_utc_whatever_the_time_zone_of_the_node(zone: str) -> None:
    position = LogPosition()
    position.feed(f"2026-01-01T12:00:00.000000001{zone} a\n".encode())
    assert datetime.fromisoformat(position.since) == datetime.fromisoformat(
        f"2026-01-01T11:59:59{zone}"
    )


def test_lines_are_ordered_by_their_times() -> None:
    first = b"2026-01-31T11:59:59.999999999Z first\n"
    second = b"2026-01-31T12:00:00Z second\n"
    third = b"2026-01-31T12:00:00.05Z third\n"
    fourth = b"2026-01-31T13:00:00.100000000+01:00 fourth\n"
    fifth = b"2026-01-31T12:00:00.11Z fifth\n"
    mixed = [fourth, second, fifth, first, third]
    assert sorted(mixed, key=time_of) == [first, second, third, fourth, fifth]
    assert time_of(b"none") == (0, b"")


def test_a_position_keeps_the_times_of_lines_on_request() -> None:
    line = b"2026-01-31T12:00:00.05Z text\n"
    for stamps, expected in ((True, line), (False, b"text\n")):
        assert LogPosition(stamps=stamps).feed(line) == [expected]


@pytest.mark.parametrize("end", ["\n", ""])
def test_last_line_is_known_by_its_end_where_the_runtime_has_split_it(end: str) -> None:
    long = "x" * 16384 + "y" * 16384 + "the end"
    position = LogPosition()
    position.feed(line(1, "first") + line(2, long).removesuffix(b"\n") + end.encode())
    assert position.ends_with(line(2.5, "the end").removesuffix(b"\n") + end.encode())
    assert not position.ends_with(line(3, "another end").removesuffix(b"\n") + end.encode())
    assert not position.ends_with(b"")
