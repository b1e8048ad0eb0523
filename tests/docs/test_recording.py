"""The recording in README is well-formed, and its commands exist."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import click
import pytest

from daskjob.submit.cli import cli
from scripts.recording import COLUMNS, COMMANDS, ROWS, SCRIPTS, frames, picture

ROOT = Path(__file__).parents[2]
CAST, PICTURE = ROOT / "docs" / "run.cast", ROOT / "docs" / "run.svg"
LARGEST_BYTES = 300 * 1024
MACHINE = re.compile(r"/(?:tmp|home|root|Users|var)\b")


def events() -> list[tuple[float, str]]:
    _, *rest = map(json.loads, CAST.read_text().splitlines())
    return [(at, data) for at, kind, data in rest if kind == "o"]


def test_recording_is_an_asciicast_of_version_2_in_the_order_of_time() -> None:
    header = json.loads(CAST.read_text().partition("\n")[0])
    assert (header["version"], header["width"], header["height"]) == (2, COLUMNS, ROWS)
    times = [at for at, _ in events()]
    assert times == sorted(times)


def test_it_shows_each_command_and_no_path_of_a_machine() -> None:
    shown = "".join(data for _, data in events())
    for command in COMMANDS:
        assert command in shown
    assert "succeeded in" in shown
    assert not MACHINE.search(shown)
    assert not MACHINE.search(PICTURE.read_text())


def test_picture_is_an_svg_by_itself_that_readme_shows_near_its_top() -> None:
    text = PICTURE.read_text()
    assert len(text.encode()) <= LARGEST_BYTES
    tree = ElementTree.fromstring(text)
    named = {each.get("id") for each in tree.iter() if each.get("id")}
    used = {each.get("href", "") for each in tree.iter() if each.get("href")}
    assert {f"#{name}" for name in named} >= used
    assert "<script" not in text
    assert "docs/run.svg" in "".join((ROOT / "README.md").read_text().splitlines()[:30])


def test_picture_is_what_the_recording_gives() -> None:
    shown = frames(events())
    seconds = float(re.findall(r"play ([\d.]+)s", PICTURE.read_text())[0])
    assert picture(shown, seconds) == PICTURE.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_and_their_options_exist(command: str) -> None:
    program, name, *words = command.split()
    assert program == "daskjob"
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    context = found.make_context(name, words)
    if name != "run":
        return
    (example,) = (each for each in SCRIPTS if each.endswith(f"/{context.params['script']}"))
    source = (ROOT / "examples" / example).read_text()
    for word in context.params["args"]:
        assert not word.startswith("--") or f'"{word}"' in source
