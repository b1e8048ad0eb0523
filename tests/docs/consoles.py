"""Reads and runs the console blocks of the documentation.

A comment above a block says how a test handles it:

- ``<!-- file: NAME -->``: the block is a file, which the commands below it use;
- ``<!-- run: here -->`` and ``<!-- run: cluster -->``: its commands run on this machine, or on a
  cluster, in the order of the page;
- ``<!-- check: HOW -->``: it needs the outside world, so less is checked: ``dry-run`` adds
  ``--dry-run=server``; ``helm`` renders the chart; ``docker`` and ``install`` look at the names;
- ``<!-- run: kubecluster -->``: Python that ``tests/kubecluster`` runs;
- ``<!-- run: airflow -->``: part of a DAG, which ``tests/orchestrators/airflow`` builds;
- ``<!-- run: prefect -->``: what ``tests/orchestrators/prefect`` runs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.documents import ROOT

DOCS = ROOT / "docs"
#: Pages for those who work on daskjob, and the settings, whose examples are in ``tests/submit``.
OTHER_PAGES = {"architecture.md", "contributing.md", "design.md", "settings.md"}
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).as_posix() not in OTHER_PAGES and "_build" not in path.parts
)
#: Blocks in these languages are commands or files; each needs a comment above it.
HANDLED = {"console", "bash", "sh", "python", "yaml", "toml", "dockerfile"}
HOWS = {
    *("run: here", "run: cluster", "check: dry-run", "check: helm"),
    *("check: docker", "check: install", "run: kubecluster", "run: airflow", "run: prefect"),
}
#: The time limit of all commands of a page.
PAGE_SECONDS = 300

_BLOCK = re.compile(
    r"^(?:<!-- (?P<how>\w+: [^>]+?) -->\n)?```(?P<language>[\w{}-]+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = "\x1e"
#: What differs from run to run: numbers, suffixes of names, and spaces in tables.
_SUFFIX = re.compile(r"-(?=[0-9a-z]*\d)[0-9a-z]{5,12}\b|-[bcdfghjklmnpqrstvwxz2456789]{5,10}\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Command:
    """One command of a console block, with the lines that the page shows below it."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: str
    line: int
    #: The comment above it; empty if there is none.
    how: str
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file that it is; empty if it is none."""
        kind, _, name = self.how.partition(": ")
        return name if kind == "file" else ""

    def commands(self) -> list[Command]:
        """Return the commands of a console block; of a Python block, the program."""
        if self.language == "python":
            return [Command(f"python - <<'END'\n{self.text}END", ())]
        found: list[Command] = []
        lines = iter(self.text.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                found[-1] = Command(found[-1].text, (*found[-1].shown, line))
                continue
            text = line.removeprefix("$ ")
            while text.endswith("\\"):
                text += "\n" + next(lines)
            found.append(Command(text, ()))
        return found


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text()
    name = page.relative_to(DOCS).as_posix()
    return [
        Block(
            name,
            text.count("\n", 0, found.start()) + 1,
            found["how"] or "",
            found["language"],
            found["text"],
        )
        for found in _BLOCK.finditer(text)
    ]


def pages_with(*hows: str) -> list[str]:
    """Return the names of the pages that have such blocks."""
    return sorted({b.page for page in PAGES for b in blocks(page) if b.how in hows})


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    command: Command
    code: int
    text: str


@dataclass
class Reader:
    """A reader who types the commands of a page, in a folder of their own."""

    folder: Path
    environment: Mapping[str, str]
    #: What is written differently in tests, such as images: old and new.
    replaced: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Make the folder, with what a checkout has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("operator-chart", "images"):
            (self.folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "examples", self.folder / "examples")
        for path in (self.folder / "examples").rglob("*.yaml"):
            path.write_text(self.as_typed(path.read_text()))

    def as_typed(self, text: str) -> str:
        """Return text with what tests replace."""
        for old, new in self.replaced:
            text = re.sub(old, new, text)
        return text

    def write(self, block: Block) -> None:
        """Write the file that a block is."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.as_typed(block.text))

    def run(self, commands: list[Command]) -> list[Ran]:
        """Run commands in one shell, each whether an earlier one failed or not."""
        script = "".join(
            f"{self.as_typed(command.text)}\n"
            f"__code=$?; printf '\\n{_MARK}%s{_MARK}\\n' $__code; (exit $__code)\n"
            for command in commands
        )
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            printed, _ = shell.communicate(timeout=PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            # The commands too: they keep the pipe open.
            os.killpg(shell.pid, signal.SIGKILL)
            printed, _ = shell.communicate()
        parts = printed.decode().split(_MARK)
        return [
            Ran(command, int(code), text.strip("\n"))
            for command, text, code in zip(commands, parts[::2], parts[1::2], strict=False)
        ]

    def run_text(self, command: str) -> str:
        """Run one command, which succeeds; return what it prints."""
        (ran,) = self.run([Command(command, ())])
        assert ran.code == 0, ran.text
        return ran.text


def typed(reader: Reader, page: str, how: str) -> Iterator[str]:
    """Type the blocks of a page in their order; yield what is not as the page says."""
    commands: list[Command] = []
    for block in blocks(DOCS / page):
        if block.file:
            reader.write(block)
        elif block.how == how:
            commands += [
                Command(each.text, tuple(map(reader.as_typed, each.shown)))
                for each in block.commands()
            ]
    done = reader.run(commands)
    if len(done) < len(commands):
        yield f"{page}: ended before {commands[len(done)].text}"
    for number, ran in enumerate(done):
        follows = commands[number + 1].text if number + 1 < len(commands) else ""
        if ran.code and follows != "echo $?":
            yield f"{page}: $ {ran.command.text}\nexited with {ran.code}:\n{ran.text}"
        elif missing := missing_lines(ran):
            yield f"{page}: $ {ran.command.text}\ndid not print {missing}, but:\n{ran.text}"


def missing_lines(ran: Ran) -> list[str]:
    """Return the lines that a page shows and the command did not print.

    ``...`` is any lines; at the end of a line, the rest of it.
    """
    printed = [alike(line) for line in ran.text.splitlines()]
    return [
        line
        for line in ran.command.shown
        if (start := alike(line.removesuffix("...")))
        and not any(start in other for other in printed)
    ]


def alike(line: str) -> str:
    """Return a line without what differs from run to run."""
    return re.sub(r"\s+", " ", _NUMBER.sub("N", _SUFFIX.sub("-ID", line))).strip()


def programs(folder: Path, **commands: str) -> str:
    """Make programs of these names and commands in a folder; return a PATH that starts with it."""
    folder.mkdir(parents=True, exist_ok=True)
    python = shlex.quote(sys.executable)
    modules = {name: f"{python} -m {name}" for name in ("daskjob", "dask")}
    given = {"python": python, **modules, **commands}
    for name, command in given.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
