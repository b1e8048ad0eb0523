"""The exception that ended a script, from what real Pythons print."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from daskjob.core.diagnose import ending
from daskjob.core.last_exception import MESSAGE_LENGTH, last_exception
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
        "ValueError: Mismatched dtypes; Hint: see https://x; to the call.",
    ),
    "text on the next line": (
        r"raise ValueError('\nno such column')",
        "ValueError: no such column",
    ),
    "a list": (r"raise ImportError('missing:\n  - pandas')", "ImportError: missing: - pandas"),
    "looks like a traceback": (
        r"raise OSError('no data\nTypeError: not this\n  File \"x\", line 1')",
        "OSError: no data; TypeError: not this",
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
        "ValueError: no rows; in file 3; of 7: see TypeError: x",
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


BEFORE = {
    "a dict": "print({'a': 1})",
    "a list": "print([1, 2])",
    "JSON": "print('{\"rows\": 3}')",
    "JSON of several lines": "print('{\"rows\":\\n 3}')",
    "a level": "print('[INFO] start')",
    "a count": "print('[1/5]')",
    "a log record": "logging.warning('step 2 done')",
    "an info": "logging.basicConfig(level='INFO'); logging.info('step 2 done')",
    "an error": "logging.error('step 2 failed')",
    "a record with a time": (
        "logging.basicConfig(format='%(asctime)s | %(levelname)s | %(name)s: %(message)s')\n"
        "logging.critical('disk almost full')"
    ),
    "a record of its own form": "print('2026-01-01 12:00:00 ERROR: 3 rows dropped')",
    "a handled exception": (
        "def load():\n"
        "    try: 1 / 0\n"
        "    except ZeroDivisionError: traceback.print_exc(); logging.exception('retried')\n"
        "load(); logging.error('step 2 failed')"
    ),
}
RAISED = {
    "one line": ("raise ValueError('boom')", "ValueError: boom"),
    "in a function": (
        "def load(): {}['k']\ndef main(): load()\nmain()",
        "KeyError: 'k'",
    ),
    "a cause without a traceback": (
        "raise KeyError('a') from ValueError('b')",
        "KeyError: 'a'",
    ),
    "a context": ("try: 1 / 0\nfinally: open('/no/file')", "FileNotFoundError: [Errno 2]"),
    "__del__ at exit": (
        "class A:\n    def __del__(self): raise OSError('late')\na = A()\nraise ValueError('boom')",
        "ValueError: boom",
    ),
    "errors at exit": (
        "import atexit, threading\natexit.register(lambda: 1 / 0)\n"
        "thread = threading.Thread(target=int, args='x')\n"
        "atexit.register(thread.join); atexit.register(thread.start)\nraise ValueError('boom')",
        "ValueError: boom",
    ),
    "a log record at exit": (
        "import atexit\natexit.register(logging.warning, 'good bye')\nraise ValueError('boom')",
        "ValueError: boom",
    ),
    # Dask's client may leave the first one on a busy machine.
    "leftovers of asyncio at exit": (
        "import asyncio\nloop = asyncio.new_event_loop()\nnew = loop.create_future\n"
        "future = new(); future.set_exception(TimeoutError('Timeout'))\n"
        "other = new()\ntry: {}['k']\nexcept KeyError as error: other.set_exception(error)\n"
        "task = loop.create_task(asyncio.sleep(9)); loop.run_until_complete(asyncio.sleep(0))\n"
        "raise ValueError('boom')",
        "ValueError: boom",
    ),
    "of asyncio": (
        "import asyncio\nasync def main(): raise ValueError('boom')\nasyncio.run(main())",
        "ValueError: boom",
    ),
}


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("before", BEFORE)
def test_output_above_an_exception_does_not_hide_it(before: str, raised: str) -> None:
    script, expected = RAISED[raised]
    output, code = ended(f"import logging, traceback\n{BEFORE[before]}\n{script}")
    assert code == 1
    assert ending(output, code, OF_SCRIPTS).startswith(expected)
    assert "never retrieved" not in ending(output, code, OF_SCRIPTS)


@pytest.mark.parametrize(
    "script",
    [b"x = 1\nprint('\xe4')\n", "print(1)".encode("utf-16"), b"# coding: nonsense\nprint(1)\n"],
)
def test_a_script_that_python_cannot_decode_has_its_error_as_the_reason(
    script: bytes, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_bytes(script)
    command = [sys.executable, str(tmp_path / "bad.py")]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert ending(done.stderr, done.returncode, OF_SCRIPTS).startswith("SyntaxError: ")


HANDLED = {
    "in a function": (
        "def main():\n    try: int('x')\n    except ValueError: logging.exception('bad')\nmain()"
    ),
    "at the end of a module": "try: int('x')\nexcept ValueError: logging.exception('bad')",
    "as a critical record": (
        "try: int('x')\nexcept ValueError as e: logging.critical('bad', exc_info=e)"
    ),
    "printed": (
        "def main():\n    try: int('x')\n    except ValueError: traceback.print_exc()\nmain()"
    ),
}


@pytest.mark.parametrize("case", HANDLED)
def test_an_exception_that_is_logged_last_is_the_reason(case: str) -> None:
    output, code = ended(f"import logging, sys, traceback\n{HANDLED[case]}\nsys.exit(1)")
    expected = "ValueError: invalid literal for int() with base 10: 'x'"
    assert ending(output, code, OF_SCRIPTS) == expected


@pytest.mark.parametrize("case", HANDLED)
def test_an_exception_is_handled_if_the_script_continues(case: str) -> None:
    script = f"import logging, sys, traceback\n{HANDLED[case]}\nprint('Went on')\nsys.exit(1)"
    text = ending(*ended(script), OF_SCRIPTS)
    assert text.startswith("it called sys.exit(1)")
    assert "Went on" not in text
    assert "the last exception that it printed: ValueError: invalid literal" in text


def test_a_process_of_multiprocessing_does_not_end_the_script() -> None:
    output, code = ended("""
        import multiprocessing, sys
        process = multiprocessing.get_context("fork").Process(target=int, args=("x",))
        process.start()
        process.join()
        sys.exit(1)
    """)
    assert ending(output, code, OF_SCRIPTS).startswith("it called sys.exit(1)")


@pytest.mark.parametrize("text", ['{"rows": 3}', "[1, 2]\n", ' {"rows":\n 3}'])
def test_a_result_is_no_reason(text: str) -> None:
    assert ending(text, 1, OF_MANIFESTS) == ""
    assert ending(text, 1, OF_SCRIPTS) == ""


MESSAGES = {
    "a wrapped line": (
        r"raise ValueError('the columns of the partitions differ from those of\nthe metadata')",
        "ValueError: the columns of the partitions differ from those of the metadata",
    ),
    "a table": (
        r"raise ValueError('Mismatch\n\n+---+---+\n| a | b |\n+---+---+\n')",
        "ValueError: Mismatch; | a | b |",
    ),
    "a note of an exception without a message": (
        "error = AssertionError()\nerror.add_note('of row 7')\nraise error",
        "AssertionError: of row 7",
    ),
    "before an ignored exception": (
        "class A:\n    def __del__(self): raise OSError('late')\na = A()\n"
        r"raise ValueError('a\nb')",
        "ValueError: a; b",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_all_lines_of_a_message_are_in_the_reason(case: str) -> None:
    script, expected = MESSAGES[case]
    assert ending(*ended(script), OF_SCRIPTS) == expected


@pytest.mark.parametrize("text", ["word " * 200, r"word word\n" * 100, "x" * 900])
def test_a_long_message_is_cut_with_a_mark(text: str) -> None:
    found = ending(*ended(f"raise ValueError('{text}')"), OF_SCRIPTS)
    assert found.endswith("…")
    assert len(found) <= len("ValueError: ") + MESSAGE_LENGTH
    assert "wor " not in found
    assert not found.endswith(("wo …", "w …", "wor …"))


GRAPH = """
class Client:
    def submit(self):
        try:
            import modx
        except ImportError as error:
            raise RuntimeError(
                "Error during deserialization of the task graph. This frequently\\n"
                "occurs if the Scheduler and Client have different environments.\\n"
                "For more information, see\\nhttps://docs.dask.org/\\n"
            ) from error
"""
CAUSES = {
    "deserialization": (
        f"{GRAPH}Client().submit()",
        "RuntimeError: Error during deserialization of the task graph … "
        "(caused by ModuleNotFoundError: No module named 'modx')",
    ),
    "logged before": (
        f"{GRAPH}logging.error('no graph'); Client().submit()",
        "RuntimeError: Error during deserialization of the task graph … "
        "(caused by ModuleNotFoundError: No module named 'modx')",
    ),
    "a generic message": (
        "try: {}['path']\nexcept KeyError as e: raise OSError('failed to load conf.yaml.') from e",
        "OSError: failed to load conf.yaml (caused by KeyError: 'path')",
    ),
    "a cause without a traceback": (
        "raise OSError('could not serialize it') from TypeError('a lock')",
        "OSError: could not serialize it (caused by TypeError: a lock)",
    ),
    "a chain": (
        "try:\n    try: 1 / 0\n    except Exception as e: raise OSError('load failed') from e\n"
        "except OSError as e: raise RuntimeError('cannot start') from e",
        "RuntimeError: cannot start (caused by ZeroDivisionError: division by zero)",
    ),
    "a message with the cause in it": (
        "try: 1 / 0\nexcept Exception as e: raise OSError(f'cannot start: {e}') from e",
        "OSError: cannot start: division by zero",
    ),
    "only a context": (
        "try: 1 / 0\nfinally: raise OSError('cannot start')",
        "OSError: cannot start",
    ),
}


@pytest.mark.parametrize("case", CAUSES)
def test_a_generic_message_names_its_cause(case: str) -> None:
    script, expected = CAUSES[case]
    assert ending(*ended(f"import logging\n{script}"), OF_SCRIPTS) == expected


def test_output_of_exit_handlers_does_not_hide_the_exception() -> None:
    script = "import atexit\natexit.register(print, 'good bye')\nraise TypeError('in main')"
    assert ending(*ended(script), OF_SCRIPTS).startswith("TypeError: in main")


AFTER = {
    "an ignored exception": (
        "class A:\n    def __del__(self): raise OSError('late')\na = A()",
        "ValueError: a; b",
    ),
    "leaked memory": (
        "from multiprocessing import resource_tracker as t\n"
        "t.register('/no-such-segment', 'shared_memory')",
        "ValueError: a; b",
    ),
    "a warning": ("atexit.register(warnings.warn, 'not closed')", "ValueError: a; b"),
    "a progress bar": (
        "atexit.register(sys.stderr.write, '\\r 50%|##  | 1/2\\r100%|####| 2/2\\n')",
        "ValueError: a; b",
    ),
    "threads": (
        "import faulthandler; atexit.register(faulthandler.dump_traceback)",
        "ValueError: a; b",
    ),
}


@pytest.mark.parametrize("case", AFTER)
def test_what_libraries_print_at_the_exit_is_no_part_of_the_message(case: str) -> None:
    script, expected = AFTER[case]
    text = f"import atexit, sys, warnings\n{script}\nraise ValueError('a\\nb')"
    assert ending(*ended(text), OF_SCRIPTS) == expected


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


@pytest.mark.parametrize(
    "arguments",
    [["-m", "pkgg"], ["-m", "xml"], ["-m", "pkgg.main"], ["-m", "sys"], ["nofile.py"], ["/"]],
    ids=" ".join,
)
def test_what_python_itself_cannot_run_is_the_reason(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    output = done.stderr.decode()
    assert ending(output, done.returncode, OF_SCRIPTS) == output.strip()


def test_the_program_of_a_manifest_may_be_any_so_its_last_line_is_quoted() -> None:
    assert (
        ending("no space left\n", 1, OF_MANIFESTS) == "the last line of its output: no space left"
    )


@pytest.mark.parametrize("code", [134, 137, 139, 143])
def test_a_signal_is_no_exit_by_the_script(code: int) -> None:
    assert ending("all good so far\n", code, OF_SCRIPTS) == ""


def test_a_program_without_output_has_no_reason() -> None:
    assert ending("", 1, OF_MANIFESTS) == ""


PRINTED = """\
Traceback (most recent call last):
  File "/daskjob/files/load.py", line 5, in <module>
    load("2026-02-30")
  File "/daskjob/files/load.py", line 2, in load
    return {}[day]
           ~~^^^^^
KeyError: '2026-02-30'
"""


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize(
    "other", ["loading", "Loading", "loaded: 3", "reading 3 files:\n- a.csv\n- b.csv", "{'a': 1}"]
)
def test_lines_of_the_other_stream_within_a_traceback_are_no_part_of_it(
    other: str, place: int
) -> None:
    lines = PRINTED.splitlines()
    output = "\n".join([*lines[:place], other, *lines[place:]])
    found = last_exception(output)
    assert found is not None
    assert found.is_main
    assert found.line == "KeyError: '2026-02-30'"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("Missing\nloaded 3 of 4\n", "Missing: loaded 3 of 4"),
        ("lib.Missing: no day\n  left: 3\n", "lib.Missing: no day; left: 3"),
        ("no_day: 2026-02-30\ndone\n", "no_day: 2026-02-30; done"),
        ('  File "lib.pyx", line 3, in f\nMissing: day\n    left: 3\n', "Missing: day; left: 3"),
    ],
)
def test_an_exception_of_any_name_ends_its_traceback(end: str, expected: str) -> None:
    found = last_exception(PRINTED.replace("KeyError: '2026-02-30'\n", end))
    assert found is not None
    assert found.line == expected
