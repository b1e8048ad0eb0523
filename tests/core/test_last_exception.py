"""The exception that ended a script, from what real Pythons print."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from daskjob.core.diagnose import ending
from daskjob.core.last_exception import last_exception
from daskjob.core.wording import OF_MANIFESTS, OF_SCRIPTS

#: The bytes of a log that become a container's termination message on Kubernetes.
TERMINATION_MESSAGE = 2048


def ended(script: str) -> tuple[str, int]:
    """Run a script; return its output, both streams in one, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-u", "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"FORCE_COLOR": "1"},
        check=False,
    )
    return done.stdout.decode(), done.returncode


EXCEPTIONS = {
    "one line": ("raise ValueError('row 7 is bad')", "ValueError: row 7 is bad"),
    "no message": ("raise MemoryError", "MemoryError"),
    "several lines": (
        r"raise ValueError('Mismatched dtypes\n\n+--+\nHint: see https://x\nto the call.')",
        "ValueError: Mismatched dtypes",
    ),
    "text on the next line": (
        r"raise ValueError('\nno such column')",
        "ValueError: no such column",
    ),
    "a list": (r"raise ImportError('missing:\n  - pandas')", "ImportError: missing: - pandas"),
    "looks like a traceback": (
        r"raise OSError('no data\nTypeError: not this\n  File \"x\", line 1')",
        "OSError: no data",
    ),
    "cause": (
        """
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise RuntimeError("no ratio") from error
        """,
        "RuntimeError: no ratio",
    ),
    "context": ("try:\n    1 / 0\nfinally:\n    {}['k']", "KeyError: 'k'"),
    "notes": (
        """
        error = ValueError("no rows")
        error.add_note("in file 3\\nof 7: see TypeError: x")
        raise error
        """,
        "ValueError: no rows",
    ),
    "group": (
        "raise ExceptionGroup('2 files', [ValueError('a'), ExceptionGroup('in', [KeyError('b')])])",
        "ExceptionGroup: 2 files (2 sub-exceptions): ValueError: a; KeyError: 'b'",
    ),
    "__del__ at exit": (
        """
        class A:
            def __del__(self):
                raise RuntimeError("in del")
        a = A()
        {}["k"]
        """,
        "KeyError: 'k'",
    ),
    "thread and exit after it": (
        """
        import atexit, threading
        def fail():
            raise OSError("in a thread")
        first, second = threading.Thread(target=fail), threading.Thread(target=fail)
        first.start()
        first.join()
        atexit.register(lambda: 1 / 0)
        atexit.register(second.join)
        atexit.register(second.start)
        atexit.register(print, "good bye")
        raise TypeError("in main")
        """,
        "TypeError: in main",
    ),
    "logged before": (
        """
        import logging
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("retried")
        raise TypeError("in main")
        """,
        "TypeError: in main",
    ),
    "logged at exit": (
        """
        import atexit, logging
        logging.basicConfig(format="%(asctime)s [%(levelname)s] %(message)s")
        @atexit.register
        def clean_up():
            try:
                raise KeyError("a") from ValueError("b")
            except KeyError:
                logging.exception("cannot clean up")
        raise TypeError("in main")
        """,
        "TypeError: in main",
    ),
    "task of asyncio": (
        """
        import asyncio, gc
        async def fail():
            raise KeyError("task")
        async def main():
            task = asyncio.create_task(fail())
            await asyncio.sleep(0.01)
            del task
            gc.collect()
            raise ValueError("in main")
        asyncio.run(main())
        """,
        "ValueError: in main",
    ),
    "syntax": ("x = (1,\n\ny = 2", "SyntaxError: '(' was never closed"),
    "indentation": (
        "if 1:\npass",
        "IndentationError: expected an indented block after 'if' statement on line 1",
    ),
    "syntax of a module": (
        "exec(compile('f()\\n  g()', 'mod.py', 'exec'))",
        "IndentationError: unexpected indent",
    ),
    "local class": (
        "def f():\n    class E(Exception): pass\n    raise E('x')\nf()",
        "f.<locals>.E: x",
    ),
    "recursion": (
        "def f(): f()\nf()",
        "RecursionError: maximum recursion depth exceeded",
    ),
}


@pytest.mark.parametrize("case", EXCEPTIONS)
def test_the_reason_is_the_line_of_the_exception_that_ended_the_script(case: str) -> None:
    script, expected = EXCEPTIONS[case]
    output, code = ended(script)
    assert ending(output, code) == expected
    assert ending("loading\n" * 999 + output, code) == expected
    assert ending(output.strip(), code) == expected
    found = last_exception(output[-TERMINATION_MESSAGE:])
    assert found is not None
    assert found.line == expected


ENDS = {
    "print": ("print('all good so far'); sys.exit(1)", 1),
    "another code": ("print('all good so far'); raise SystemExit(3)", 3),
    "os._exit": ("print('all good so far'); os._exit(7)", 7),
    "logged": ("logging.warning('all good so far'); sys.exit(1)", 1),
    "handled and logged": (
        "try: 1 / 0\nexcept ZeroDivisionError: logging.exception('retried')\n"
        "print('all good so far'); sys.exit(1)",
        1,
    ),
    "in a thread": (
        "t = threading.Thread(target=int, args='x')\nt.start(); t.join()\n"
        "print('all good so far'); sys.exit(1)",
        1,
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_script_that_ends_itself_has_no_reason_but_that(case: str) -> None:
    script, expected = ENDS[case]
    output, code = ended("import logging, os, sys, threading\n" + script)
    assert code == expected
    text = ending(output, code, OF_SCRIPTS)
    assert "all good so far" not in text
    assert f"sys.exit({code})" in text
    assert "no exception ended it" in text


def test_an_exception_that_was_handled_is_named_as_what_it_is() -> None:
    output, code = ended(
        "import logging, sys\n"
        "try: 1 / 0\nexcept ZeroDivisionError: logging.exception('retried')\nsys.exit(3)"
    )
    text = ending(output, code, OF_SCRIPTS)
    assert "the last exception that it printed: ZeroDivisionError: division by zero" in text


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "import argparse; argparse.ArgumentParser(prog='x.py').parse_args(['-z'])",
            "x.py: error: ",
        ),
        ("import sys; sys.exit('error: no input')", "error: no input"),
        ("import os; os.execlp('sh', 'sh', '-c', 'nosuchprogram')", "not found"),
    ],
)
def test_a_complaint_is_the_reason(script: str, expected: str) -> None:
    assert expected in ending(*ended(script), OF_SCRIPTS)


def test_the_program_of_a_manifest_may_be_any_so_its_last_line_is_quoted() -> None:
    assert (
        ending("no space left\n", 1, OF_MANIFESTS) == "the last line of its output: no space left"
    )


@pytest.mark.parametrize("code", [134, 137, 139, 143])
def test_a_signal_is_no_exit_by_the_script(code: int) -> None:
    assert ending("all good so far\n", code, OF_SCRIPTS) == ""


def test_a_program_without_output_has_no_reason() -> None:
    assert ending("", 1, OF_MANIFESTS) == ""
