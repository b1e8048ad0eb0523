"""The documentation is built without warnings, and its pages are whole."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import click
import pytest
import yaml

from daskjob.core.exit_codes import ExitCode
from daskjob.core.reasons import Reason
from daskjob.submit.cli import cli
from scripts.reference.flowcharts import tabulated
from scripts.reference.markdown import prose, table
from scripts.reference.pages import INCLUDED, completed, resolved
from tests.docs.consoles import DOCS
from tests.docs.documents import ROOT

DIAGRAMS = sorted((DOCS / "diagrams").glob("*.svg"))


class Page(HTMLParser):
    """The links, the ids and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.feed(path.read_text())
        self.text = "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if name := found.get("id"):
            self.ids.add(name)
        for attribute in ("href", "src"):
            if (target := found.get(attribute)) and tag != "use":
                self.links.append(target)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    words = ["--builder", "html", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, "-d", folder / "cache", "docs", folder / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_links_within_the_documentation_lead_to_a_page_and_a_place_on_it(site: Path) -> None:
    read = cache(Page)
    broken = []
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        for link in read(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (
                parts.fragment
                and target.suffix == ".html"
                and unquote(parts.fragment) not in read(target).ids
            ):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name)
        if not command.hidden:
            yield inner.command_path
        if isinstance(command, click.Group):
            yield from commands(command, inner)


def test_page_of_the_command_line_has_every_command_and_option(site: Path) -> None:
    text = Page(site / "cli.html").text
    context = click.Context(cli, info_name="daskjob")
    names = list(commands(cli, context))
    assert len(names) > 15
    assert [name for name in names if f"{name}¶" not in text.replace("#", "¶")] == []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        for param in command.params:
            is_shown = isinstance(param, click.Option) and not param.hidden
            assert not is_shown or param.opts[-1] in text


def test_page_of_the_kinds_has_every_field(site: Path) -> None:
    text = Page(site / "kinds.html").text
    for path in sorted((ROOT / "operator-chart" / "crds").glob("*.yaml")):
        fields = set(re.findall(r"^ {14,}(\w+):$", path.read_text(), re.MULTILINE))
        fields -= {"properties", "items", "required", "enum", "additionalProperties"}
        for crd in yaml.safe_load_all(path.read_text()):
            assert crd["spec"]["names"]["kind"] in text
        assert len(fields) > 10
        assert [name for name in sorted(fields) if name not in text] == []


def test_page_of_the_reasons_has_every_reason_and_exit_code(site: Path) -> None:
    text = Page(site / "reasons.html").text
    assert [reason for reason in Reason if reason.value not in text] == []
    assert [code for code in ExitCode if str(int(code)) not in text] == []


def test_included_documents_are_pages(site: Path) -> None:
    for source, page in INCLUDED.items():
        heading = (ROOT / source).read_text().splitlines()[0].removeprefix("# ")
        assert heading in Page((site / page).with_suffix(".html")).text


@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: path.name)
def test_diagram_is_in_a_page_with_the_colours_of_the_theme(path: Path, site: Path) -> None:
    text = path.read_text()
    name = re.findall(r"<title>(.*?)</title>", text)[0]
    pages = [page for page in site.rglob("*.html") if f"<title>{name}</title>" in page.read_text()]
    assert len(pages) == 1
    assert 'role="img" aria-label="' in pages[0].read_text()
    assert "prefers-color-scheme" in text
    style = (DOCS / "_static" / "daskjob.css").read_text()
    used = set(re.findall(r"var\((--\w+)\)", text))
    for theme in re.findall(r'data-theme="\w+"\] svg.diagram \{(.*?)\}', style):
        assert used <= set(re.findall(r"(--\w+):", theme))
    assert float(re.findall(r'viewBox="0 0 (\d+)', text)[0]) <= 400


# What makes the pages


def test_prose_keeps_code_and_escapes_what_markdown_would_interpret() -> None:
    assert prose("use `a*b` for <x> and *y*") == "use `a*b` for \\<x\\> and \\*y\\*"


def test_table_escapes_bars_and_is_empty_without_rows() -> None:
    assert table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |"
    assert table(["a"], []) == ""


@pytest.mark.parametrize(
    ("text", "page", "shown"),
    [
        ("[a](../CHANGELOG.md#x)", "index.md", "[a](changelog.md#x)"),
        ("[a](../../examples/README.md)", "howto/ci.md", "[a](../examples.md)"),
        ("[`a`](../scripts/venv)", "index.md", "`a`"),
        ("[a](settings.md)", "index.md", "[a](settings.md)"),
        ("[a](https://example.org/x)", "index.md", "[a](https://example.org/x)"),
    ],
)
def test_links_lead_to_pages(text: str, page: str, shown: str) -> None:
    folder = PurePosixPath("docs", page).parent
    assert resolved(text, folder=folder, page=page) == shown


def test_flowchart_is_a_table_of_its_arrows() -> None:
    chart = 'a[("API server")]\n    b["api"]\n    a -- "1 event" --> b\n'
    shown = tabulated(f"x\n\n```mermaid\nflowchart TB\n{chart}```\n")
    assert (
        shown == "x\n\n" + table(["what", "from", "to"], [["1 event", "API server", "api"]]) + "\n"
    )
    text = (DOCS / "architecture.md").read_text()
    assert tabulated(text).count("\n| ") - text.count("\n| ") == text.count(" --> ") + 2


def test_unknown_text_to_generate_is_an_error() -> None:
    with pytest.raises(KeyError):
        completed("<!-- generated: nothing -->", "index.md")
