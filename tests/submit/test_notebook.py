"""Notebooks as scripts: which can run, and how their cells run in any Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from daskjob.submit.notebook import UnfitNotebook, notebook_command


def notebook(folder: Path, *cells: str | list[str], language: str = "python") -> Path:
    """Write a notebook with these code cells, and text before each."""
    found = []
    for source in cells:
        found += [{"cell_type": "markdown", "metadata": {}, "source": ["# text"]}]
        found += [{"cell_type": "code", "metadata": {}, "outputs": [], "source": source}]
    metadata = {"kernelspec": {"language": language, "name": "any"}}
    text = {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    path = folder / "analysis.ipynb"
    path.write_text(json.dumps(text))
    return path


def executed(path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    _, *rest = notebook_command(path)
    command = [sys.executable, *rest, *args]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("cells", "printed"),
    [
        (["x = 2", "x + 1"], "3\n"),
        (["1 + 1;", "None", "'a'"], "'a'\n"),
        ([["def f():\n", "    return 'both'\n"], "f()"], "'both'\n"),
        (["import asyncio", "await asyncio.sleep(0, 'awaited')"], "'awaited'\n"),
        (["display({1: 2}); print(__name__)"], "{1: 2}\n__main__\n"),
        (["import sys", "sys.argv"], "['analysis.ipynb', '-a', 'b']\n"),
        (["5", "_ * 2"], "5\n10\n"),
        (["import inspect\ndef f(): pass", "inspect.getsource(f)"], "'def f(): pass'\n"),
        (["s = '''\n%no\n!magic?'''", "a = (7\n % 4)", "a"], "3\n"),
        ([], ""),
    ],
)
def test_cells_run_in_order_and_their_last_value_is_printed(
    tmp_path: Path, cells: list[str | list[str]], printed: str
) -> None:
    done = executed(notebook(tmp_path, *cells), "-a", "b")
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


@pytest.mark.parametrize(
    ("cells", "place", "last"),
    [
        (["x = 0", "1\n1 / x"], 'cell 2", line 2, in <module>\n    1 / x', "ZeroDivisionError"),
        (["def f():\n    raise KeyError('k')", "f()"], 'cell 1", line 2, in f', "KeyError: 'k'"),
        (["print('never')", "x = = 1"], 'cell 2", line 1', "SyntaxError: invalid syntax"),
    ],
)
def test_traceback_names_cell_and_line_and_nothing_of_ours(
    tmp_path: Path, cells: list[str | list[str]], place: str, last: str
) -> None:
    done = executed(notebook(tmp_path, *cells))
    assert (done.returncode, done.stdout) == (1, "")
    assert f'File "analysis.ipynb, {place}' in done.stderr
    assert done.stderr.splitlines()[-1].startswith(last)
    assert "<string>" not in done.stderr


LEFT = """import asyncio
async def left():
    try:
        await asyncio.sleep(600)
    finally:
        print('closed')
await asyncio.sleep(0)
task = asyncio.create_task(left())
await asyncio.sleep(0)
"""


@pytest.mark.parametrize(
    ("last", "code"), [("'end'", 0), ("1 / 0", 1), ("import sys; sys.exit(7)", 7)]
)
def test_what_a_notebook_left_running_ends_before_exit_handlers(
    tmp_path: Path, last: str, code: int
) -> None:
    cells = ["import atexit\natexit.register(print, 'handler');", LEFT, last]
    done = executed(notebook(tmp_path, *cells))
    assert done.stdout.removeprefix("'end'\n") == "closed\nhandler\n"
    assert done.returncode == code


def test_exit_code_of_a_cell_is_that_of_the_notebook(tmp_path: Path) -> None:
    assert executed(notebook(tmp_path, "import sys", "sys.exit(7)", "1/0")).returncode == 7


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("%matplotlib inline\nx = 1", ["line 1: %matplotlib inline"]),
        ("x = 1\n!pip install a", ["line 2: !pip install a"]),
        ("files = !ls -l (\n  %time x", ["line 1: files = !ls -l (", "line 2: %time x"]),
        ("%%bash\nls | wc\n!no", ["line 1: %%bash"]),
        ("x?", ["line 1: x?"]),
        ("if 1:\n    get_ipython().system('a')", ["line 2: get_ipython().system('a')"]),
    ],
)
def test_commands_of_ipython_are_named_by_cell_and_line(
    tmp_path: Path, source: str, lines: list[str]
) -> None:
    with pytest.raises(UnfitNotebook) as caught:
        notebook_command(notebook(tmp_path, "x = 1", source))
    named = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert named == [f"  cell 2, {line}" for line in lines]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print(1)", "is not a notebook: it is not valid JSON"),
        ("[]", "it has no cells"),
        ('{"cells": 3}', "it has no cells"),
        ('{"worksheets": []}', "has the format 3"),
        ('{"cells": [{"cell_type": "code"}]}', "cell 1 has no source"),
        ('{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "is of R, not of Python"),
    ],
)
def test_file_that_is_no_notebook_of_python_is_rejected(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    with pytest.raises(UnfitNotebook, match=message):
        notebook_command(path)


@pytest.mark.parametrize(
    "line",
    ["%pip install pandas", "!pip install pandas", "!uv pip install pandas", "%conda install x"],
)
def test_a_line_that_installs_packages_is_told_what_does_so(tmp_path: Path, line: str) -> None:
    path = notebook(tmp_path, line, "print(1)")
    with pytest.raises(UnfitNotebook, match=r"cell 1, line 1(.|\n)*: --with PACKAGE, or a cell"):
        notebook_command(path)


def test_other_magics_are_told_nothing_about_packages(tmp_path: Path) -> None:
    with pytest.raises(UnfitNotebook) as caught:
        notebook_command(notebook(tmp_path, "%matplotlib inline"))
    assert "--with" not in str(caught.value)
