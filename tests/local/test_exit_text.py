"""The text of ``sys.exit("text")`` is known from a print before ``sys.exit(1)``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daskjob.backends.local.exit_text import script_end
from daskjob.core.exit_text import exit_text


def text_of(script: str, folder: Path) -> str:
    """Run a script that ends with code 1; return the text with which it ended."""
    file = folder / "script.py"
    file.write_text(f"import sys\n{script}\n")
    done = subprocess.run(
        [sys.executable, "-u", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 1
    return exit_text(file.read_bytes(), done.stdout.decode())


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("print('all good so far'); sys.exit('no input')", "no input"),
        ("raise SystemExit('no input')", "no input"),
        (
            "n = 3\nsys.exit(f'{n} files of {n + 1} are missing (why?)')",
            "3 files of 4 are missing (why?)",
        ),
        ("sys.exit('cannot read %s: %d' % ('a.csv', 5))", "cannot read a.csv: 5"),
        ("sys.exit('cannot read {}'.format('a.csv'))", "cannot read a.csv"),
        ("sys.exit('no file ' + str(7))", "no file 7"),
        (
            "try: int('x')\nexcept ValueError as e: sys.exit(str(e))",
            "invalid literal for int() with base 10: 'x'",
        ),
        ("msg = 'nothing to do'\nprint('a')\nexit(msg)", "nothing to do"),
        ("sys.exit('two\\nlines')", "two\nlines"),
    ],
)
def test_the_text_of_sys_exit(script: str, text: str, tmp_path: Path) -> None:
    assert text_of(script, tmp_path) == text


@pytest.mark.parametrize(
    "script",
    [
        "print('all good so far'); sys.exit(1)",
        "print('all good so far'); sys.exit(True)",
        "rc = 1\nprint('all good so far'); sys.exit(rc)",
        "def main():\n    print('all good so far')\n    return 1\nsys.exit(main())",
        "if len(sys.argv) > 5: sys.exit('usage: x')\nprint('all good so far'); sys.exit(1)",
        "error = None\nif error: sys.exit(error)\nprint('all good so far'); sys.exit(1)",
    ],
)
def test_a_print_before_a_code_is_no_text(script: str, tmp_path: Path) -> None:
    assert text_of(script, tmp_path) == ""


@pytest.mark.parametrize("code", ["x = (", "\0", None])
def test_a_script_that_cannot_be_read_has_no_text(code: str | None, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    if code is not None:
        file.write_text(code)
    assert script_end(file, "no input\n") == ""
