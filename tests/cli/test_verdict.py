"""What a run and ``why`` say of a script's end: the cause, in its words, and what was done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.command import Daskjob, job
from tests.waiting import wait_until

CLIENT = "from distributed import Client\nclient = Client()\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            r"raise ValueError('bad dtypes\n+--+\nHint: see https://x')",
            "ValueError: bad dtypes; Hint: see https://x.",
        ),
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'."),
        (
            "print('all good so far')\nimport sys\nsys.exit(1)",
            "it called sys.exit(1) or the like; no exception ended it.",
        ),
        ("print('all good so far')\nimport sys\nsys.exit('no input')", "SystemExit: no input."),
        ("print({'a': 1})\nraise ValueError('x')", "ValueError: x."),
        ("print('[INFO] start')\nraise ValueError('x')", "ValueError: x."),
        ("import logging\nlogging.error('bad')\nraise ValueError('boom')", "ValueError: boom."),
        (
            "import logging, sys\ndef main():\n    try: {}['k']\n"
            "    except KeyError: logging.exception('bad'); sys.exit('no k')\nmain()",
            "SystemExit: no k.",
        ),
        ("x = (", "SyntaxError: '(' was never closed."),
        # Messages of any length, with any characters, and with tracebacks of their own.
        ("raise ValueError('x' * 33000)", f"ValueError: {'x' * 298} …."),
        (r"raise KeyError('\n'.join(map(str, range(9000))))", r"KeyError: '0\n1\n2"),
        (
            r"raise ValueError('a\x00b\x1b[31mred\udc80 \r over \x07')",
            r"ValueError: abred\udc80 over.",
        ),
        (r"raise ValueError('progress 50%\rdone')", "ValueError: progress 50% done."),
        (
            "import traceback\ntry: {}['k']\nexcept KeyError:\n"
            r"    raise RuntimeError('step 3 failed:\n' + traceback.format_exc()) from None",
            "RuntimeError: step 3 failed: KeyError: 'k'.",
        ),
        (
            "raise ExceptionGroup('two steps', [ValueError('a'), KeyError('b')])",
            "ExceptionGroup: two steps (2 sub-exceptions): ValueError: a; KeyError: 'b'.",
        ),
        (
            "e = ValueError('bad')\ne.add_note('in file 3')\nraise e",
            "ValueError: bad; in file 3.",
        ),
        (
            "try: open('/no/such')\nexcept OSError as e: raise RuntimeError('read failed') from e",
            "RuntimeError: read failed (caused by FileNotFoundError: [Errno 2] No such file or "
            "directory: '/no/such').",
        ),
    ],
)
def test_the_reason_of_a_failed_script(script: str, reason: str, daskjob: Daskjob) -> None:
    done = daskjob.run("--name", "bad", daskjob.script(script, "bad.py"))
    assert done.code == 1
    verdict = done.verdict
    assert verdict.startswith("daskjob: bad failed in ")
    assert f"the script exited with code 1: {reason}" in verdict
    assert verdict.endswith(reason) or not reason.endswith(".")
    why = daskjob("why", "bad").text
    assert reason in why.splitlines()[0]
    for text in (verdict, why):
        assert "pod" not in text
        assert "runner" not in text
        assert "ExitCode" not in text
        assert "Read the end of the log" not in text


TWO_LINES = r"raise ValueError('a\nb')"
AFTER = {
    "a print": "atexit.register(print, 'good bye')",
    "several prints": r"atexit.register(print, 'in all:\nan error:\n  3 rows')",
    "records": (
        "logging.basicConfig(level='INFO', format='%(message)s')\n"
        "for n in range(4): atexit.register(logging.info, 'closed %s', n)"
    ),
    "a destructor": "class A:\n    def __del__(self): print('closed')\na = A()",
    "a progress bar": r"atexit.register(sys.stderr.write, 'rows: 100%|####| 2/2 [00:01]\n')",
    "an ignored exception": (
        "class A:\n    def __del__(self): print('closing'); raise OSError('late')\na = A()"
    ),
    "a traceback that looks like its own": (
        "def show():\n    try: {}['k']\n    except KeyError: traceback.print_exc()\n"
        "atexit.register(show)"
    ),
    "a thread that goes on": (
        "def work():\n    time.sleep(0.2); print('still here')\n"
        "threading.Thread(target=work).start()"
    ),
    "more than the end of a log": "atexit.register(print, 'good bye ' * 20_000)",
    "a child that fails": (
        "atexit.register(subprocess.run, [sys.executable, '-c', 'raise OSError(5)'])"
    ),
    "a child that fails in it": (
        "def start():\n    if not os.fork(): raise OSError(5)\n    os.wait()\n"
        "atexit.register(start)"
    ),
    "a hook of the script that calls the first": (
        "first = sys.excepthook\n"
        "def hook(*error): first(*error); print('sent to the team')\nsys.excepthook = hook"
    ),
}
IMPORTS = "import atexit, logging, os, pathlib, subprocess, sys, threading, time, traceback\n"


@pytest.mark.parametrize("case", AFTER)
def test_what_is_printed_after_the_exception_is_no_part_of_the_reason(
    case: str, user: Daskjob
) -> None:
    path = user.script(f"{IMPORTS}{AFTER[case]}\n{TWO_LINES}\n", "after.py")
    done = user.run("--name", "after", path)
    assert done.code == 1
    assert done.verdict.endswith("the script exited with code 1: ValueError: a; b.")


def test_a_module_a_notebook_and_standard_input_have_such_reasons_too(user: Daskjob) -> None:
    text = f"{IMPORTS}{AFTER['a print']}\n{TWO_LINES}\n"
    user.script(text, "late.py")
    cell = {"cell_type": "code", "metadata": {}, "source": text, "outputs": []}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    book = user.script(json.dumps(notebook), "late.ipynb")
    ways: list[list[object]] = [["-m", "late"], [book], ["-"]]
    ends = [user.run(*way, input=text.encode() if way == ["-"] else None) for way in ways]
    for done in ends:
        assert done.verdict.endswith("the script exited with code 1: ValueError: a; b.")


RESULT = "pathlib.Path(os.environ['DASKJOB_RESULT_FILE']).write_text"
RESULTS = {
    "an exception": ("'{\"rows\": 3}'", "raise ValueError('boom')", "ValueError: boom."),
    "an exit with a text": ("'{\"rows\": 3}'", "sys.exit('no input')", "SystemExit: no input."),
    "an exit with a code": ("'[1, 2]'", "sys.exit(1)", "it called sys.exit(1) or the like; no"),
    "half a result": ("'{\"rows\": '", "raise ValueError('boom')", "ValueError: boom."),
    "half a result and a text": ("'[1, '", "sys.exit('no input')", "SystemExit: no input."),
    "a number": ("'3'", "raise ValueError('boom')", "ValueError: boom."),
    "no JSON": ("'rows: 3'", "raise ValueError('boom')", "ValueError: boom."),
    "a long result": ("'[' + '1,' * 9000", "raise ValueError('boom')", "ValueError: boom."),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_result_does_not_hide_why_the_script_failed(case: str, user: Daskjob) -> None:
    result, end, reason = RESULTS[case]
    path = user.script(f"{IMPORTS}{RESULT}({result})\n{end}\n", "result.py")
    done = user.run("--name", "result", path)
    assert done.code == 1
    assert f"the script exited with code 1: {reason}" in done.verdict


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("sys.exit('no input')", "SystemExit: no input."),
        ("sys.exit(f'no file {5}')", "SystemExit: no file 5."),
    ],
)
def test_prints_at_the_exit_do_not_hide_the_text_of_sys_exit(
    end: str, reason: str, user: Daskjob
) -> None:
    text = f"{IMPORTS}atexit.register(print, 'good bye')\nprint('start')\n{end}\n"
    done = user.run("--name", "text", user.script(text, "text.py"))
    assert done.verdict.endswith(f"the script exited with code 1: {reason}")


def test_the_reason_of_a_program_is_what_it_writes_for_kubernetes(daskjob: Daskjob) -> None:
    manifest = job(
        "import os, sys\nprint('a line')\n"
        "open(os.environ['DASKJOB_RESULT_FILE'], 'w').write('no such bucket')\nsys.exit(3)\n"
    )
    daskjob("run", daskjob.manifest(manifest))
    assert "no such bucket" in daskjob.status()["message"]


def test_why_shows_where_the_script_failed_and_which_module_is_missing(user: Daskjob) -> None:
    where = user.script("def load():\n    return {}['k']\n\nload()\n", "where.py")
    user.run("--name", "where", where)
    assert user("why", "where").text.splitlines()[-1] == f"Next: Look at {where}, line 2, in load."
    user.run("--name", "lacks", user.script("import nosuchmodule\n", "lacks.py"))
    assert "Next: Name the package of nosuchmodule" in user("why", "lacks").text


DIVIDES = """\
from distributed import Client

def divide(number):
    return 1 / number

client = Client()
print([1, 2])
client.submit(divide, 0).result()
"""
ARRIVES_NOT = """\
from distributed import Client

class Number:
    def __reduce__(self):
        return __import__, ("modx",)

    def __call__(self):
        return 1

Client().submit(Number()).result()
"""
IMPORTS_LATE = """\
import sys
from distributed import Client

def imports():
    import modx

client = Client()
sys.path.append("/late")
client.submit(imports).result()
"""
ON_WORKERS = (
    "Install modx for the Python that runs the script; or add its folder to sys.path before "
    "Client(); or send it to the workers: client.upload_file()."
)


@pytest.mark.parametrize(
    ("script", "reason", "step"),
    [
        (DIVIDES, "ZeroDivisionError: division by zero.", "Look at {path}, line 4, in divide."),
        (
            ARRIVES_NOT,
            "RuntimeError: Error during deserialization of the task graph … (caused by "
            "ModuleNotFoundError: No module named 'modx').",
            ON_WORKERS,
        ),
        (
            IMPORTS_LATE,
            "ModuleNotFoundError: No module named 'modx'.",
            ON_WORKERS,
        ),
    ],
)
def test_an_exception_of_a_task_or_its_graph_is_named_with_its_place_and_cause(
    script: str, reason: str, step: str, daskjob: Daskjob
) -> None:
    path = daskjob.script(script, "tasks.py")
    done = daskjob.run("--name", "tasks", "--workers", "1", path)
    verdict = done.verdict
    assert f"the script exited with code 1: {reason}" in verdict
    assert verdict.endswith(reason) or not reason.endswith(".")
    why = daskjob("why", "tasks").text
    assert why.splitlines()[-1] == f"Next: {step.format(path=path)}"


@pytest.mark.parametrize(
    ("module", "reason", "step"),
    [
        ("pkgg", "No module named pkgg", "Check the name pkgg"),
        ("xml", "'xml' is a package and cannot be directly executed", "Check the name xml"),
        ("pkgg.main", "Error while finding module specification", "Name the package of pkgg"),
    ],
)
def test_a_module_that_python_cannot_run_is_the_reason(
    module: str, reason: str, step: str, daskjob: Daskjob
) -> None:
    program = daskjob.script(f"#!/bin/sh\nexec {sys.executable} -m {module}\n", "typo")
    program.chmod(0o755)
    done = daskjob.run("--name", "typo", program)
    assert reason in done.verdict
    assert "sys.exit" not in done.verdict
    assert f"Next: {step}" in daskjob("why", "typo").text


def test_a_program_that_is_missing_is_named_without_the_words_of_a_manifest(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script("#!/usr/bin/env no-such-language\n", "report.R")
    script.chmod(0o755)
    done = daskjob.run("--name", "lacks", script)
    [verdict] = [line for line in done.messages if "failed in" in line]
    assert done.code == 127
    assert re.search(r"no-such-language.*: No such file or directory", verdict)
    assert verdict.endswith("check the first line of the script.")
    assert "sys.exit" not in verdict


HOG = """\
import time
def hog(n):
    data = []
    while True:
        data.append(bytearray(10_000_000))
        time.sleep(0.02)
client.submit(hog, 1).result()
"""
CRASH = """\
import os, signal
def crash(n):
    os.kill(os.getpid(), signal.SIGSEGV)
client.submit(crash, 1).result()
"""


@pytest.mark.parametrize(
    ("script", "cause", "step"),
    [
        (HOG, "it exceeded its memory limit of 238.4 MiB", "Raise --memory"),
        (CRASH, "with exit code 139 (SIGSEGV)", "Run the task in the script itself"),
    ],
)
def test_a_task_that_kills_its_workers_is_named_with_the_cause(
    script: str, cause: str, step: str, daskjob: Daskjob
) -> None:
    path = daskjob.script(CLIENT + script, "kills.py")
    more = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    done = daskjob("run", "-w", 1, "--memory", "250MB", "--name", "kills", path, env=more)
    assert done.code == 1
    task = "hog" if script is HOG else "crash"
    verdict = done.verdict
    assert f"KilledWorker: the task {task}-" in verdict
    assert cause in verdict
    assert any("1 erred" in line and "1 worker was lost" in line for line in done.messages)
    why = daskjob("why", "kills").text
    assert why.splitlines()[-1].startswith(f"Next: {step}")
    assert f"lost while it ran, with {task}" in why
    assert "workers are ready" not in why
    status = daskjob("status", "kills").text
    [began] = re.findall(r"^Started: +(.+)$", status, re.MULTILINE)
    [event] = re.findall(r"^ +(.+)  Started: attempt 0", status, re.MULTILINE)
    assert event == began
    assert "INFO" not in why + done.err.partition("Traceback")[0]


END = "import threading\ndef hang(n): threading.Event().wait()\n"


@pytest.mark.parametrize(
    ("script", "code", "counts"),
    [
        (
            "from distributed import fire_and_forget\nfire_and_forget(client.map(hang, range(4)))",
            122,
            "0 of 4 tasks done, 4 left undone",
        ),
        (
            "client.submit(abs, -1).result()\nkept = client.map(hang, range(4))\n"
            "client.submit(abs, -2, priority=9).done()",
            0,
            " left undone",
        ),
        ("client.gather(client.map(abs, range(7)))", 0, "7 tasks, peak worker memory"),
        ("", 0, "although its client is connected"),
    ],
)
def test_the_end_counts_what_was_done_and_left_undone(
    script: str, code: int, counts: str, daskjob: Daskjob
) -> None:
    path = daskjob.script(CLIENT + END + script, "end.py")
    # The limit is for the tasks of fire_and_forget: the run waits for them.
    done = daskjob("run", "-w", 1, "--timeout", "8s", "--name", "end", path)
    assert done.code == code
    assert counts in done.err
    assert ("ran no task" in done.err) is (script == "")
    why = daskjob("why", "end").text
    assert ("Next: Call wait() or gather()" in why) is (code == 0 and "left undone" in counts)


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], shows: str) -> None:
    def check() -> bool:
        assert process.poll() is None
        return ready()

    wait_until(check, 60, shows)


WAITING = {
    "lock": (
        ("-w", 2),
        "from distributed import Lock\n"
        "def take(n):\n    Lock('door').acquire()\n    threading.Event().wait()\n"
        "client.gather(client.map(take, range(2)))",
        ("take on worker", "wait for the lock 'door'"),
    ),
    "resource": (
        ("-w", 1),
        "client.submit(abs, 1, resources={'GPU': 1}).result()",
        ("the resource GPU (1), which no worker offers", "--env"),
    ),
    "no workers": (("-w", 0), "client.gather(client.map(abs, range(3)))", ("has no workers",)),
    "memory": (
        ("-w", 1, "--memory", "900TiB"),
        "client.submit(hang, 1).result()",
        ("the worker may use 900 TiB, and this machine has",),
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_what_waits_is_reported_while_it_waits(case: str, daskjob: Daskjob) -> None:
    options, script, texts = WAITING[case]
    path = daskjob.script(CLIENT + END + script, "waits.py")
    process = daskjob.start("run", *options, "--name", "waits", path)

    def said(*command: str) -> bool:
        text = daskjob(*command).text
        return all(part in text for part in texts)

    until(lambda: said("why", "waits"), process, f"why says {texts}")
    assert "no problems found" not in daskjob("why", "waits").text
    assert said("status", "waits")
    daskjob("cancel", "waits", "--wait")
    _, err = process.communicate(timeout=60)
    for text in texts:
        assert text in err.decode()
    assert "waits was cancelled by daskjob cancel waits, after" in err.decode()
    assert process.returncode == 123


DEADLINES = {
    "resource": (
        WAITING["resource"][1],
        "the resource GPU (1), which no worker offers",
        "Offer it: --env DASK_DISTRIBUTED__WORKER__RESOURCES='{\"GPU\": 1}'.",
    ),
    "script": ("threading.Event().wait()", "no task was running", "Raise --timeout, or find out"),
}


@pytest.mark.parametrize("case", DEADLINES)
def test_a_deadline_carries_what_was_known_before_it(case: str, daskjob: Daskjob) -> None:
    script, cause, step = DEADLINES[case]
    path = daskjob.script(CLIENT + END + script, "late.py")
    done = daskjob.run("-w", 1, "--timeout", "10s", "--name", "late", path)
    assert done.code == 122
    assert cause in done.err
    why = daskjob("why", "late").text
    assert cause in why.splitlines()[0]
    assert why.splitlines()[-1].startswith(f"Next: {step}")
    assert "add workers" not in why


def test_a_deadline_names_the_tasks_that_ran_where_and_how_long(daskjob: Daskjob) -> None:
    path = daskjob.script(CLIENT + END + "client.gather(client.map(hang, range(3)))", "slow.py")
    done = daskjob("run", "-w", 1, "--timeout", "8s", "--name", "slow", path)
    assert done.code == 122
    assert "took longer than --timeout allows (8 s)" in done.err
    assert "(hang on worker" in done.err
    assert "activeDeadlineSeconds" not in done.err
    assert daskjob("why", "slow").text.splitlines()[-1].startswith("Next: Raise --timeout")


CRASHES = "import os, signal\ndef step():\n    os.kill(os.getpid(), signal.{})\n"


@pytest.mark.parametrize(
    ("script", "step"),
    [
        (CRASHES.format("SIGSEGV") + "step()", "set PYTHONFAULTHANDLER=1 to see where."),
        (
            "import faulthandler\nfaulthandler.enable()\n" + CRASHES.format("SIGSEGV") + "step()",
            "bad.py, line 5, in step.",
        ),
        (
            "import faulthandler\nfaulthandler.enable()\n" + CRASHES.format("SIGBUS") + "step()",
            "bad.py, line 5, in step.",
        ),
    ],
)
def test_the_place_of_a_crash(script: str, step: str, daskjob: Daskjob) -> None:
    verdict = daskjob.run("--name", "bad", daskjob.script(script, "bad.py")).verdict
    assert verdict.endswith(step)
    assert "It crashed in compiled code; " in verdict
