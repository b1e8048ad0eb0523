"""``daskjob run script.py`` is ``python script.py``: bytes, arguments, input and exit code."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import Daskjob, finish, job
from tests.waiting import wait_until


def test_output_is_byte_identical_to_python_script_py(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import os, sys\n"
        "print('ünïcode', sys.argv[1:])\n"
        "sys.stdout.flush()\n"
        "os.write(1, bytes(range(256)))\n"
        "os.write(1, b'\\r\\n\\x1b[31mred\\x1b[0m no newline at the end')\n"
    )
    words = ["--limit", "3", "a b", "$HOME", "$(DASKJOB_NAME)", "$$", "*", "", "ä"]
    plain = subprocess.run(
        [sys.executable, script, *words], capture_output=True, check=True, env=daskjob.environment
    )
    done = daskjob.run(script, *words)
    assert done.code == 0
    assert done.out == plain.stdout


def test_messages_of_daskjob_go_to_standard_error_only(
    daskjob: Daskjob,
) -> None:
    done = daskjob.run(daskjob.script("print('mine')"))
    assert done.out == b"mine\n"
    assert done.messages
    assert all("mine" not in line for line in done.messages)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(0)", 0),
        ("raise ValueError('broken')", 1),
        ("import os; os._exit(7)", 7),
        ("raise SystemExit(255)", 255),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
    ],
)
def test_exit_code_is_the_scripts_own_and_128_plus_a_signals_number(
    daskjob: Daskjob, text: str, code: int
) -> None:
    done = daskjob.run("--name", "job", daskjob.script(text))
    assert done.code == code
    status = daskjob.status()
    assert status["jobStatus"] == ("Failed" if code else "Successful")
    assert status["exitCode"] == code
    if code:
        assert status["reason"] == "ExitCode"
        assert f"exited with code {code}" in done.err


def test_failed_script_is_reported_with_its_exception_and_the_next_step(daskjob: Daskjob) -> None:
    done = daskjob.run("--name", "job", daskjob.script("raise ValueError('no data for 2024')"))
    assert "ValueError: no data for 2024" in done.messages[-2]
    assert "daskjob why job" in done.messages[-1]


def test_syntax_error_of_a_script_is_its_own_failure(daskjob: Daskjob) -> None:
    done = daskjob.run("--name", "job", daskjob.script("def ("))
    assert done.code == 1
    assert "SyntaxError" in done.err


def test_children_that_outlive_the_script_are_gone_when_the_run_ends(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import subprocess\n"
        "for session in (False, True):\n"
        "    subprocess.Popen(['sleep', '600'], start_new_session=session)\n"
        "print('done')\n"
    )
    assert daskjob.run(script).code == 0
    assert daskjob.alive() == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux reports the peak memory of a program"
)
def test_100_mb_of_output_come_through_within_150_mb_of_memory(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import sys\n"
        "line = bytes(range(32, 127)) * 11 + b'\\n'\n"
        "for _ in range(100):\n"
        "    sys.stdout.buffer.write(line * 1000)\n"
    )
    out = daskjob.folder / "out"
    with out.open("wb") as file:
        process = daskjob.start("run", "-w", 0, script, stdout=file, stderr=subprocess.DEVNULL)
        peak_kib = 0
        while process.poll() is None:
            peak_kib = max(peak_kib, peak_memory_kib(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0
    line = bytes(range(32, 127)) * 11 + b"\n"
    wanted = hashlib.sha256()
    for _ in range(100):
        wanted.update(line * 1000)
    with out.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == wanted.hexdigest()
    assert 1024 < peak_kib < 150 * 1024


def peak_memory_kib(pid: int) -> int:
    """Return the peak memory of a program; its rusage would include the process that forked it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def test_broken_pipe_ends_the_run_as_usual(daskjob: Daskjob) -> None:
    script = daskjob.script("import itertools\nfor n in itertools.count(): print(n)")
    process = daskjob.start("run", "-w", 0, script, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.wait(30) == 141
    wait_until(lambda: not daskjob.alive())


def test_piped_input_arrives_at_the_script(daskjob: Daskjob) -> None:
    script = daskjob.script("import sys\nprint(sys.stdin.buffer.read() == bytes(range(256)) * 99)")
    assert daskjob.run(script, input=bytes(range(256)) * 99).out == b"True\n"


def test_script_reads_keys_up_to_ctrl_d_from_a_terminal(daskjob: Daskjob) -> None:
    ours, theirs = pty.openpty()
    try:
        script = daskjob.script(
            "import sys\nprint('ready', flush=True)\nprint(repr(sys.stdin.read()))"
        )
        process = daskjob.start("run", "-w", 0, script, stdin=theirs)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.write(ours, b"typed\r")
        os.write(ours, b"\x04")
        assert finish(process, timeout=40).out == b"'typed\\n'\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_closed_standard_input_works(daskjob: Daskjob) -> None:
    script = daskjob.script("print('fine')")
    command = f'exec "$0" -m daskjob run -w 0 {script} <&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        env=daskjob.environment,
        cwd=daskjob.work,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"fine\n")


def test_working_directory_and_environment_are_the_users(daskjob: Daskjob) -> None:
    script = daskjob.script("import os\nprint(os.getcwd(), os.environ['COLOUR'])")
    elsewhere = daskjob.folder / "elsewhere"
    elsewhere.mkdir()
    done = daskjob.run(script, cwd=elsewhere, env={"COLOUR": "blue"})
    assert done.text == f"{elsewhere} blue\n"


def test_env_option_sets_and_passes_on_variables(daskjob: Daskjob) -> None:
    script = daskjob.script("import os\nprint(os.environ['A'], os.environ['B'])")
    done = daskjob.run("-e", "A=$(B)=1", "--env", "B", script, env={"B": "two"})
    assert done.text == "$(B)=1 two\n"


#: Prints where the values of variables are found while the run goes on: in files of daskjob, and in
#: the command lines of its processes.
SEARCHES = """\
import os, pathlib, psutil
from distributed import Client
with Client() as client:
    assert client.submit(os.environ.get, 'A_TOKEN').result() == os.environ['A_TOKEN']
    secrets = [os.environ['A_TOKEN'].encode(), os.environ['B_TOKEN'].encode()]
    folders = [os.environ['DASKJOB_STATE_DIR'], os.environ['TMPDIR']]
    found = [path for folder in folders for path in pathlib.Path(folder).rglob('*')]
    texts = {path: path.read_bytes() for path in found if path.is_file()}
    supervisor = psutil.Process().parent()
    for process in [supervisor, *supervisor.children(recursive=True)]:
        texts[process.pid] = ' '.join(process.cmdline()).encode()
    print([where for where, text in texts.items() if any(secret in text for secret in secrets)])
"""


def test_address_of_another_scheduler_in_the_environment_is_replaced_with_a_note(
    daskjob: Daskjob,
) -> None:
    code = "import os; print(os.environ['DASK_SCHEDULER_ADDRESS'])"
    other = {"DASK_SCHEDULER_ADDRESS": "tcp://other:8786"}
    done = daskjob.run("-c", code, env=other)
    assert done.text.startswith("tcp://127.0.0.1:")
    assert "DASK_SCHEDULER_ADDRESS=tcp://other:8786 has no effect" in done.messages[0]
    given = daskjob.run("-e", "DASK_SCHEDULER_ADDRESS=tcp://mine:8786", "-c", code, env=other)
    inside = daskjob.run("-c", "pass", env={**other, "DASKJOB_ATTEMPT": "0"})
    assert given.text == "tcp://mine:8786\n"
    assert "has no effect" not in given.err + inside.err


def test_values_of_the_env_option_are_not_kept_on_disk(daskjob: Daskjob) -> None:
    words = ("-e", "A_TOKEN=secret-of-a", "-e", "B_TOKEN", "--name", "quiet")
    given = {"B_TOKEN": "secret-of-b"}
    done = daskjob("run", "-w", 1, *words, daskjob.script(SEARCHES), env=given)
    assert done.text == "[]\n", done.err
    manifest = job(
        ["python", "-c", "import os; print(len(os.environ['A_TOKEN']))"], name="manifest"
    )
    done = daskjob("run", "-e", "A_TOKEN=secret-of-a", daskjob.manifest(manifest))
    assert done.text == "11\n", done.err
    sleeps = daskjob.script("import time\nprint('ready', flush=True)\ntime.sleep(600)")
    killed = daskjob.start("run", "-w", 0, *words[:-1], "killed", sleeps, env=given)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"ready\n"
    killed.kill()
    finish(killed)
    wait_until(lambda: not daskjob.alive(), seconds=20)
    assert daskjob("status", "killed", "-o", "yaml").code == 0
    for path in (*daskjob.state.rglob("*"), *daskjob.temporary.rglob("*")):
        assert not path.is_file() or b"secret-of" not in path.read_bytes(), path
    runner = daskjob.job("quiet")["spec"]["job"]["spec"]["containers"][0]
    assert runner["env"] == [{"name": "A_TOKEN"}, {"name": "B_TOKEN"}]


WRITES = """\
import glob, os, sys, time
from distributed import Client

def write():
    for _ in range(66):
        os.write(1, b"x" * 1023 * 16 + b"\\n" * 16)

write()
with Client() as client:
    client.wait_for_workers(1)
    client.run(write)
    (log,) = glob.glob(os.environ["DASKJOB_STATE_DIR"] + "/*/logs/*-worker-*.log")
    give_up = time.monotonic() + 60
    while b"left out here" not in open(log, "rb").read() and time.monotonic() < give_up:
        time.sleep(0.1)
    sys.exit(os.path.getsize(log) > 1024**2)
"""


def test_logs_above_their_limit_are_shortened_and_the_scripts_output_is_whole(
    daskjob: Daskjob,
) -> None:
    limit = {"DASKJOB_LOG_SIZE": "1MiB"}
    done = daskjob("run", "-w", 1, "--name", "writes", daskjob.script(WRITES), env=limit)
    assert done.code == 0, done.err
    assert len(done.out) == 66 * 1024 * 16
    for log in (daskjob.log("writes-runner"), *daskjob.state.glob("*/logs/*-worker-*.log")):
        assert log.stat().st_size < 1024**2
        assert b"bytes of this log were left out here" in log.read_bytes()


def test_relative_script_and_module_beside_it_are_found(daskjob: Daskjob) -> None:
    daskjob.script("VALUE = 42", "beside.py")
    daskjob.script("import beside\nprint(beside.VALUE, __file__)", "main.py")
    done = daskjob.run("main.py")
    assert done.code == 0, done.err
    assert done.text.startswith("42 ")


def test_executable_that_is_not_python_runs_with_its_own_interpreter(daskjob: Daskjob) -> None:
    script = daskjob.script("#!/bin/sh\necho shell $1 $DASKJOB_ATTEMPT\nexit 3\n", "work")
    script.chmod(0o755)
    done = daskjob.run(script.name, "yes")
    assert (done.out, done.code) == (b"shell yes 0\n", 3)


@pytest.mark.parametrize("name", ["script.py", "ünï cödé.py", "-.py", "2024-report.py", "A.B.py"])
def test_any_name_of_a_script_gives_a_valid_name_of_a_job(daskjob: Daskjob, name: str) -> None:
    done = daskjob.run(f"./{daskjob.script('print(1)', name).name}")
    assert (done.code, done.out) == (0, b"1\n"), done.err


def test_option_after_the_script_goes_to_the_script_and_daskjob_says_so(daskjob: Daskjob) -> None:
    done = daskjob.run(daskjob.script("import sys\nprint(sys.argv[1:])"), "--workers", "3")
    assert done.text == "['--workers', '3']\n"
    assert "--workers goes to the script; put options of daskjob before the script" in done.err


def test_help_keeps_the_lines_of_its_examples(daskjob: Daskjob) -> None:
    help_text = daskjob("run", "--help").text
    assert "\n    daskjob run job.yaml\n" in help_text
    assert "\\b" not in help_text


def test_quiet_leaves_standard_error_to_the_script(daskjob: Daskjob) -> None:
    done = daskjob.run("--quiet", daskjob.script("print('mine')"))
    assert (done.out, done.err) == (b"mine\n", "")


def test_quiet_still_reports_why_a_job_failed(daskjob: Daskjob) -> None:
    done = daskjob.run("--quiet", daskjob.script("raise SystemExit(3)"))
    assert "exited with code 3" in done.err


def test_script_that_ignores_signals_is_killed_after_its_grace_of_1_s(daskjob: Daskjob) -> None:
    text = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(600)\n"
    )
    manifest = daskjob.manifest(job(text, pod={"terminationGracePeriodSeconds": 1}))
    process = daskjob.start("run", manifest)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = finish(process, timeout=20)
    assert done.code == 123
    assert 0.9 < time.monotonic() - asked < 10


def test_output_of_a_script_that_is_cancelled_is_passed_on_to_the_end(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import sys, signal, time\n"
        "def last(*_):\n"
        "    print('the last line')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, last)\n"
        "print('ready')\n"
        "time.sleep(600)\n"
    )
    process = daskjob.start("run", "-w", 0, script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    done = finish(process, timeout=20)
    assert done.out == b"the last line\n"
    assert done.code == 123, "an exit with 0 after SIGTERM is not a success"


def test_read_only_working_directory_and_empty_home_work(daskjob: Daskjob) -> None:
    script = daskjob.script("print('fine')")
    done = daskjob.run(script, cwd=Path("/proc"), env={"HOME": ""})
    assert (done.code, done.out) == (0, b"fine\n"), done.err


def test_default_state_directory_is_in_the_home(daskjob: Daskjob) -> None:
    script = daskjob.script("print('fine')")
    done = daskjob.run(script, env={"DASKJOB_STATE_DIR": ""})
    assert done.code == 0
    assert list((daskjob.home / ".local/state/daskjob/jobs").glob("script-*/job.json"))
