"""Every block of the documentation is handled by a test; those for this machine run here."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.rendering import FOR_KUBERNETES, helm
from tests.cli.command import Daskjob
from tests.docs.consoles import (
    DOCS,
    HANDLED,
    HOWS,
    PAGES,
    Block,
    Command,
    Ran,
    Reader,
    alike,
    blocks,
    missing_lines,
    pages_with,
    programs,
    typed,
)
from tests.docs.documents import ROOT

BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(how: str) -> list[Block]:
    return [block for block in BLOCKS if block.how == how]


def test_every_command_and_file_of_the_documentation_is_handled_by_a_test() -> None:
    unhandled = [
        f"{block.place}: {block.how or 'no comment above it'}"
        for block in BLOCKS
        if block.language in HANDLED and not block.file and block.how not in HOWS
    ]
    assert unhandled == []
    assert len(BLOCKS) > 30
    # Blocks within lists are not read.
    within = rf"^[ >]+```(?:{'|'.join(HANDLED)})$"
    assert [page for page in PAGES if re.search(within, page.read_text(), re.MULTILINE)] == []


def test_every_file_is_used_on_its_page() -> None:
    for block in BLOCKS:
        if block.file and block.file != "pyproject.toml":
            others = [b.text for b in BLOCKS if b.page == block.page and b is not block]
            module = Path(block.file).stem
            assert re.search(rf"\b{re.escape(module)}\b", "\n".join(others)), block.place


# On this machine


@pytest.fixture
def daskjob(tmp_path: Path) -> Iterator[Daskjob]:
    user = Daskjob(tmp_path)
    yield user
    left = user.left_over()
    user.end()
    assert not left, f"left behind: {left}"


@pytest.mark.parametrize("page", pages_with("run: here"))
def test_commands_for_this_machine_do_what_the_page_shows(
    page: str, daskjob: Daskjob, tmp_path: Path
) -> None:
    environment = {**daskjob.environment, "PATH": programs(tmp_path / "bin")}
    reader = Reader(daskjob.work, environment)
    assert list(typed(reader, page, "run: here")) == []


# What needs the outside world


@pytest.mark.parametrize("block", of("check: install"), ids=lambda block: block.place)
def test_extras_of_an_installation_exist(block: Block) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for command in block.commands():
        assert command.text.startswith("pip install ")
        for extra in re.findall(r"\[(.*?)\]", command.text):
            assert extra in project["optional-dependencies"]


@pytest.mark.parametrize("block", of("check: docker"), ids=lambda block: block.place)
def test_files_of_an_image_exist(block: Block) -> None:
    for command in block.commands():
        _, verb, *words = shlex.split(command.text)
        assert verb in {"build", "push"}
        if verb == "build":
            assert (ROOT / words[-1]).is_dir()
            if "--file" in words:
                assert (ROOT / words[words.index("--file") + 1]).is_file()


#: Options of ``helm install`` that ``helm template`` does not have.
_INSTALL_ONLY = {"--create-namespace", "--install", "--wait"}


@pytest.mark.parametrize("page", pages_with("check: helm"))
def test_chart_renders_with_the_values_of_the_page(page: str, tmp_path: Path) -> None:
    for block in blocks(DOCS / page):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        if block.how != "check: helm":
            continue
        for command in block.commands():
            program, verb, *words = shlex.split(command.text.replace("\\\n", " ").split(" | ")[0])
            assert program == "helm"
            assert verb in {"install", "upgrade", "template"}
            kept = [word for word in words if word not in _INSTALL_ONLY]
            places = [
                str(ROOT / word)
                if word == "operator-chart"
                else str(tmp_path / word)
                if (tmp_path / word).is_file()
                else word
                for word in kept
            ]
            assert "kind: Deployment" in helm("template", *places, FOR_KUBERNETES), command.text


# The readers themselves


def test_lines_are_alike_in_spite_of_numbers_and_suffixes() -> None:
    shown = "daskjob: my-script-x2k9f succeeded in 2s: 101 tasks, peak worker memory 130.2 MiB"
    printed = "daskjob: my-script-b7m4q succeeded in 11s: 99 tasks, peak worker memory 9 MiB"
    assert alike(shown) == alike(printed)
    assert alike("the sum is wrong") != alike("the sum is 3")


@pytest.mark.parametrize(
    ("text", "missing"),
    [("a 1\nb 2", []), ("b 2", ["a 7 ..."]), ("a x\nb", ["a 7 ...", "b 8"])],
)
def test_line_that_was_not_printed_is_found(text: str, missing: list[str]) -> None:
    assert missing_lines(Ran(Command("c", ("a 7 ...", "...", "", "b 8")), 0, text)) == missing


def test_block_without_a_comment_has_no_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.docs.consoles.DOCS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- run: here -->\n```console\n$ a \\\n  b\nc\n```\n\n```console\n$ d\n```\n")
    first, second = blocks(page)
    assert (first.how, second.how, second.line) == ("run: here", "", 8)
    assert first.commands() == [Command("a \\\n  b", ("c",))]
