"""The next step after an exception that ended a script, from what real Pythons print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daskjob.core.advice import advice
from daskjob.core.diagnose import ending
from daskjob.core.wording import OF_MANIFESTS, OF_SCRIPTS, OF_SUBMITTED_SCRIPTS, Words

#: A function as a worker has it: cloudpickle gives it this file, and the lines of the script.
SENT = "code = compile('\\n\\ndef divide(n): return 1 / n', '<dynamic-code>', 'exec')\nexec(code)\n"


def step(folder: Path, script: str, *, words: Words = OF_SCRIPTS) -> str:
    """Return the next step after a script, without the folder of the script."""
    path = folder / "job.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path], capture_output=True, check=False)
    output = done.stderr.decode()
    found = advice(ending(output, done.returncode, words), output, words)
    return found.replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (f"{SENT}divide(0)", "Look at job.py, line 3, in divide."),
        (f"{SENT}def main():\n    divide(0)\nmain()", "Look at job.py, line 3, in divide."),
        (f"import logging\n{SENT}logging.error('x')\ndivide(0)", "line 3, in divide."),
        (
            f"{SENT}try: divide(0)\nexcept ZeroDivisionError as e: raise OSError('failed') from e",
            "Look at job.py, line 4.",
        ),
    ],
    ids=["module", "function", "log record", "cause"],
)
def test_a_function_that_was_sent_to_a_worker_is_one_of_the_script(
    script: str, expected: str, tmp_path: Path
) -> None:
    assert step(tmp_path, script).endswith(expected)


GRAPH = (
    "try: import {module}\nexcept ImportError as e:\n"
    "    raise RuntimeError('Error during deserialization of the task graph. This is bad.') from e"
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (OF_SCRIPTS, "Install modx for the Python that runs the script; or add its folder to sys"),
        (OF_MANIFESTS, "Install modx for the scheduler and the workers too"),
    ],
    ids=["script", "manifest"],
)
@pytest.mark.parametrize("module", ["modx", "modx.sub"])
def test_a_module_that_a_graph_needs_is_missing_where_it_arrives(
    module: str, words: Words, expected: str, tmp_path: Path
) -> None:
    found = step(tmp_path, GRAPH.format(module=module), words=words)
    assert found.startswith(expected)


def test_a_missing_module_of_a_script_is_to_be_installed_for_it(tmp_path: Path) -> None:
    assert step(tmp_path, "import modx") == (
        "Name the package of modx in the script's block (# dependencies), or for one run: daskjob "
        "run --with modx; or install it for the Python that runs the script, or choose another "
        "(--python)."
    )
    found = step(tmp_path, "import modx", words=OF_MANIFESTS)
    assert "Name the package of modx: daskjob submit --with modx, or spec.env" in found
    assert found.endswith("or use an image of the runner and the workers that has it.")


@pytest.mark.parametrize("words", [OF_SCRIPTS, OF_MANIFESTS, OF_SUBMITTED_SCRIPTS])
def test_a_package_of_another_name_than_its_module_is_named(words: Words) -> None:
    found = advice("ModuleNotFoundError: No module named 'sklearn'", "", words)
    assert found.startswith("Name the package of sklearn")
    assert " --with scikit-learn" in found


def test_a_module_that_pods_lack_is_not_to_be_installed_on_this_machine(tmp_path: Path) -> None:
    named = (
        "Name the package of modx in the script's block (# dependencies), or submit with it: "
        "daskjob submit --with modx; or use an image that has it"
    )
    assert step(tmp_path, "import modx.sub", words=OF_SUBMITTED_SCRIPTS) == f"{named}."
    found = step(tmp_path, GRAPH.format(module="modx"), words=OF_SUBMITTED_SCRIPTS)
    assert found == f"{named}; or send it to the workers: client.upload_file()."
    run = subprocess.run([sys.executable, "-m", "modx"], capture_output=True, check=False)
    output = run.stderr.decode()
    message = ending(output, run.returncode, OF_SUBMITTED_SCRIPTS)
    assert advice(message, output, OF_SUBMITTED_SCRIPTS) == f"Check the name modx, or n{named[1:]}."


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("pkgg", "Check the name pkgg, or"),
        ("xml", "Check the name xml, or"),
        ("xml.nosuch", "Check the name xml.nosuch, or"),
        ("pkgg.main", "Name the package of pkgg in"),
    ],
)
def test_the_step_after_a_mistyped_module(module: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, check=False)
    output = done.stderr.decode()
    message = ending(output, done.returncode, OF_SCRIPTS)
    assert advice(message, output, OF_SCRIPTS).startswith(expected)
