"""The documents for readers of the code match the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.documents import (
    ARCHITECTURE,
    CONTRIBUTING,
    DESIGN,
    ROOT,
    Package,
    anchors,
    citations,
    forbidden_imports,
    links,
    map_rows,
    missing_from_map,
    missing_from_tree,
    package_of,
    packages,
    sections,
    text_files,
)

DOCUMENTS = sorted(
    path
    for folder in (ROOT, *(ROOT / name for name in ("docs", "examples", "operator-chart")))
    for path in folder.glob("*.md" if folder == ROOT else "**/*.md")
    if "_build" not in path.parts
)


# The map in CONTRIBUTING.md


def test_every_package_and_module_of_the_map_exists() -> None:
    assert missing_from_tree(map_rows(CONTRIBUTING.read_text()), ROOT) == []


def test_every_module_is_in_the_map() -> None:
    assert missing_from_map(map_rows(CONTRIBUTING.read_text()), ROOT) == []


def test_map_names_nothing_twice() -> None:
    paths = [path for row in map_rows(CONTRIBUTING.read_text()) for path in row.paths]
    assert sorted(set(paths)) == sorted(paths)


# docs/architecture.md


def test_every_package_of_the_architecture_exists() -> None:
    for row in packages(ARCHITECTURE.read_text()):
        for path in (row.path, *(f"daskjob/{name}" for name in row.allowed)):
            assert Path(ROOT, path.removesuffix("/*.py")).exists(), path


def test_every_package_of_daskjob_is_in_the_architecture() -> None:
    table = packages(ARCHITECTURE.read_text())
    modules = [path for path in sorted(Path(ROOT, "daskjob").rglob("*.py")) if path.stat().st_size]
    files = [path.relative_to(ROOT).as_posix() for path in modules]
    alone = {"daskjob/__init__.py", "daskjob/__main__.py"}
    assert [file for file in files if file not in alone and not package_of(file, table)] == []


def test_packages_import_only_what_the_architecture_allows() -> None:
    assert forbidden_imports(packages(ARCHITECTURE.read_text()), ROOT) == []


# docs/design.md


def test_every_citation_resolves_to_a_section_of_the_design_record() -> None:
    known = sections(DESIGN.read_text())
    unknown = [
        f"{name}: §{number}"
        for name, text in text_files()
        if not name.startswith("tests/docs/")
        for number, _ in citations(text)
        if number not in known
    ]
    assert unknown == []


def test_no_document_but_the_design_record_is_cited_by_section() -> None:
    others = [
        f"{name}: {before} §{number}"
        for name, text in text_files()
        if name.endswith((".py", ".toml", ".yaml", ".c", "Dockerfile", "Makefile"))
        and not name.startswith("tests/docs/")
        for number, before in citations(text)
        if before.isalpha() and before.lower() not in {"design", "of", "in", "and"}
    ]
    assert others == []


# Links


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_a_file_and_a_heading(document: Path) -> None:
    for target in links(document):
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


# The readers themselves


MAP = """
```
daskjob/core/            vocabulary
  names, errors            two modules
  policies/                a package as a whole
daskjob/agent            one file
```
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("core/__init__", "core/names", "core/policies/__init__", "core/policies/retry"):
        file = tmp_path / "daskjob" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


def test_map_with_a_module_that_is_gone_names_it(tree: Path) -> None:
    assert missing_from_tree(map_rows(MAP), tree) == ["daskjob/core/errors", "daskjob/agent"]


def test_module_that_no_row_names_is_found_unless_its_package_is_described_as_a_whole(
    tree: Path,
) -> None:
    (tree / "daskjob/core/lookup.py").touch()
    assert missing_from_map(map_rows(MAP), tree) == ["daskjob/core/lookup"]


def test_import_that_the_table_does_not_allow_is_found(tree: Path) -> None:
    (tree / "daskjob/core/names.py").write_text("from daskjob.core.policies import retry\n")
    strict = [Package("daskjob/core/*.py", ()), Package("daskjob/core/policies", ())]
    wrong = "daskjob/core/names.py imports daskjob/core/policies/retry.py"
    assert forbidden_imports(strict, tree) == [wrong]
    lax = [Package("daskjob/core/*.py", ("core/policies",)), strict[1]]
    assert forbidden_imports(lax, tree) == []


def test_citations_are_found_across_lines_of_a_comment() -> None:
    text = "#: few writes (design\n    #: §2.3, §4a)"
    assert citations(text) == [("2.3", "design"), ("4a", "§2.3,")]


def test_sections_are_headings_and_numbered_guarantees() -> None:
    text = "## 1. One\n### 2.1 Two\n\n## 4. G\n\n1. **A.** b\n2. **C.** d\n\n## 4a. Counts\n"
    assert sections(text) == {"1", "2.1", "4", "4.1", "4.2", "4a"}
