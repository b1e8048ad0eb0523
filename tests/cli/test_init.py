"""``daskjob init``: the block of a script is written, and nothing else of it changes."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daskjob.submit.cli.init import init_command
from daskjob.submit.cli.manifests import render_command
from daskjob.submit.inline_metadata import declared
from daskjob.submit.settings.block_text import toml, with_block
from daskjob.submit.settings.sources import WrongSettings

SCRIPT = """\
#!/usr/bin/env python
# coding: utf-8
import os
import dask.dataframe
import psutil, own, not_there
from distributed import Client
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "own.py").write_text("")
    (tmp_path / "sums.py").write_text(SCRIPT)
    return tmp_path


def init(*words: str) -> Result:
    return CliRunner().invoke(init_command, words)


def test_new_block_has_the_imported_packages_and_the_options(here: Path) -> None:
    (here / "sums.py").chmod(0o755)
    done = init("--workers", "4", "--memory", "8GiB", "-e", "MODE=a=b", "--with", "tiny", "sums.py")
    assert done.exit_code == 0, done.output
    text = (here / "sums.py").read_text()
    lines = text.splitlines()
    assert lines[:3] == [*SCRIPT.splitlines()[:2], "# /// script"]
    assert text.endswith("# ///\n\n" + "".join(SCRIPT.splitlines(keepends=True)[2:]))
    found = declared(text)
    expected = ("dask[dataframe]", "distributed", f"psutil>={version('psutil')}")
    assert found.requirements == expected
    assert found.requires_python.startswith(">=3.")
    assert found.settings == {
        **{"workers": 4, "memory": "8GiB", "env": {"MODE": "a=b"}, "packages": ["tiny"]},
    }
    assert "daskjob: not_there: not installed here" in done.stderr
    assert os.stat(here / "sums.py").st_mode & 0o777 == 0o755


def test_written_block_is_what_render_reads(here: Path) -> None:
    (here / "sums.py").write_text("import os\n")
    init("--workers", "7", "--adapt", "1:9", "--deadline", "2h", "--label", "team=a", "sums.py")
    image = ["--image", "example.org/dask:1"]
    done = CliRunner().invoke(render_command, ["--origins", *image, "sums.py"])
    assert done.exit_code == 0, done.output
    assert [line.split()[1:3] for line in done.stdout.splitlines() if "of sums.py" in line] == [
        ["workers", "7"],
        ["adapt", "1:9"],
        ["labels", "team=a"],
        ["deadline", "7200"],
        ["environment", "Python"],
    ]


def test_block_that_exists_keeps_all_but_the_named_settings(here: Path) -> None:
    block = (
        "# /// script\n# dependencies = [\n#     'tiny',\n# ]\n# [tool.daskjob]\n"
        "# workers = 2  # few\n# memory = '4Gi'\n#\n# [tool.uv]\n# managed = false\n# ///\n"
    )
    (here / "sums.py").write_text(block + SCRIPT)
    assert init("--workers", "9", "--cpu", "2", "sums.py").exit_code == 0
    expected = block.replace("workers = 2  # few", "workers = 9").replace(
        "memory = '4Gi'\n#\n", "memory = '4Gi'\n# cpu = \"2\"\n"
    )
    assert (here / "sums.py").read_text() == expected + SCRIPT
    done = init("sums.py")
    assert "has a block already" in done.stderr
    assert (here / "sums.py").read_text() == expected + SCRIPT


@pytest.mark.parametrize("block", ["# dependencies = [\n# ]\n", "# dependencies = []\n\n# ///\n"])
def test_block_without_an_end_is_named(here: Path, block: str) -> None:
    text = "# /// script\n" + block + SCRIPT
    (here / "sums.py").write_text(text)
    done = init("--workers", "9", "sums.py")
    assert done.exit_code == 2
    assert "sums.py: its block '# /// script' has no end: " in done.stderr
    assert (here / "sums.py").read_text() == text


def test_block_without_an_end_in_a_string_is_text(here: Path) -> None:
    (here / "sums.py").write_text('TEXT = """\n# /// script\n"""\n')
    assert init("--workers", "9", "sums.py").exit_code == 0
    assert declared((here / "sums.py").read_text()).settings == {"workers": 9}


def test_print_changes_no_file(here: Path) -> None:
    done = init("--print", "--workers", "4", "sums.py")
    assert declared(done.stdout).settings == {"workers": 4}
    assert (here / "sums.py").read_text() == SCRIPT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.py"], "'gone.py' does not exist"),
        (["x.txt"], "name a Python script"),
        (
            ["x.ipynb"],
            "A code cell of its own names its packages, by comments: # /// script, # dep",
        ),
        (["broken.py"], "broken.py cannot be parsed"),
        (["latin.py"], "latin.py is not UTF-8 text"),
        (["--memory", "4", "sums.py"], "did you mean 4Gi?"),
        (["--worker", "4", "sums.py"], "--workers"),
        (["--name", "x", "sums.py"], "No such option"),
        (["--workers", "4", "several.py"], "write it there: workers = 4"),
        (["--workers", "4", "wrong.py"], "is not TOML"),
    ],
)
def test_mistake_changes_no_file(here: Path, words: list[str], message: str) -> None:
    files = {
        "x.ipynb": b"{}",
        "x.txt": b"",
        "broken.py": b"def f(:\n",
        "latin.py": b"# \xe9\n",
        "several.py": b"# /// script\n# [tool]\n# daskjob = {workers = 2}\n# ///\n",
        "wrong.py": b"# /// script\n# x\n# ///\n",
    }
    for name, data in files.items():
        (here / name).write_bytes(data)
    done = init(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert {name: (here / name).read_bytes() for name in files} == files


def test_line_ends_stay_as_they_are() -> None:
    text = "import os\r\nprint(1)\r\n"
    changed = with_block(text, {"workers": 2})
    assert "\n" not in changed.replace("\r\n", "")
    again = with_block(changed, {"workers": 3})
    assert again == changed.replace("workers = 2", "workers = 3")


def test_values_are_toml() -> None:
    value = {"a b": ['"', "\\", "é\n"], "c": True, "d": 0.5}
    assert toml(value) == '{"a b" = ["\\"", "\\\\", "é\\n"], c = true, d = 0.5}'
    assert declared(with_block("", {"set": value})).settings == {"set": value}


def test_link_to_a_script_stays_a_link(here: Path) -> None:
    (here / "link.py").symlink_to("sums.py")
    assert init("--workers", "4", "link.py").exit_code == 0
    assert (here / "link.py").is_symlink()
    assert declared((here / "sums.py").read_text()).settings == {"workers": 4}


def test_setting_in_another_form_is_left_alone() -> None:
    text = "# /// script\n# [tool.daskjob]\n# packages = [\n#     'a',\n# ]\n# ///\n"
    with pytest.raises(WrongSettings, match=r"write it there: packages = \[\"b\"\]"):
        with_block(text, {"packages": ["b"]})


@pytest.fixture
def project(here: Path) -> Path:
    """A script beside a package in ``src``, of a project with requirements of its own."""
    (here / "pyproject.toml").write_text(
        '[project]\nname = "sales"\ndependencies = ["psutil>=1,<99", "humanise-x ~= 4.0", "unused",'
        ' "dask[array]>=2024", "here @ file:///x"]\n'
    )
    package = here / "src" / "salespkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .sums import total\nimport humanise_x\n")
    (package / "sums.py").write_text(
        "import psutil, click, dask.dataframe, not_there\n"
        "try:\n    import fast_one\nexcept ImportError:\n    fast_one = None\n"
    )
    (package / "broken.py").write_text("def f(:\n")
    (here / "sales.py").write_text("import distributed, salespkg, salespkg.broken\n")
    return here


def test_packages_of_the_projects_modules_are_listed_as_the_project_requires_them(
    project: Path,
) -> None:
    done = init("sales.py")
    assert done.exit_code == 0, done.output
    found = declared((project / "sales.py").read_text())
    assert found.requirements == (
        f"click>={version('click')}",
        "dask[array,dataframe]>=2024",
        "distributed",
        "humanise-x ~= 4.0",
        "psutil>=1,<99",
    )
    [line] = [line for line in done.stderr.splitlines() if "not installed here" in line]
    assert line.startswith("daskjob: not_there: not installed here, so its package is not known; ")
    assert "uv.lock" not in done.stderr


def test_lock_that_the_block_replaces_is_named(project: Path) -> None:
    (project / "uv.lock").write_text("version = 1\n")
    done = init("sales.py")
    assert f"{project / 'uv.lock'} does not count for sales.py any more" in done.stderr
    assert "any more" not in init("--workers", "2", "sales.py").stderr
