"""The Python of a script: that of the active environment, and what it lacks."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

from daskjob.backends.local.python_facts import python_facts
from daskjob.core.errors import DaskJobError
from daskjob.submit.environment.python_version import allows
from daskjob.submit.inline_metadata import declared
from daskjob.submit.python_environment import (
    Needs,
    NoPython,
    Python,
    Pythons,
    chosen_python,
    chosen_pythons,
    environment_of,
    examined,
)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without Dask."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return folder


def python_of(folder: Path) -> str:
    return str(folder / "bin/python")


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_is_chosen_and_named(bare: Path, variable: str) -> None:
    found, notes = chosen_python("", {variable: str(bare), "PATH": os.environ["PATH"]})
    assert (found, notes) == (Python(python_of(bare), variable), [])


def test_of_two_active_environments_the_first_in_path_is_chosen(bare: Path) -> None:
    both = {"VIRTUAL_ENV": sys.prefix, "CONDA_PREFIX": str(bare)}
    found, _ = chosen_python("", {**both, "PATH": f"{bare}/bin:{sys.prefix}/bin"})
    assert found.origin == "CONDA_PREFIX"
    found, _ = chosen_python("", {**both, "PATH": f"{sys.prefix}/bin:{bare}/bin"})
    assert found.is_own


@pytest.mark.parametrize("environ", [{}, {"VIRTUAL_ENV": sys.prefix}, {"VIRTUAL_ENV": ""}])
def test_without_another_environment_it_is_daskjobs_own(environ: dict[str, str]) -> None:
    assert chosen_python("", environ) == (Python(sys.executable), [])


def test_environment_that_is_gone_is_named(tmp_path: Path) -> None:
    found, (note,) = chosen_python("", {"VIRTUAL_ENV": str(tmp_path / "gone")})
    assert found.is_own
    assert "gone, which has no Python" in note


def test_option_takes_an_environment_a_path_a_name_or_a_version(bare: Path) -> None:
    wanted = Python(python_of(bare), "--python")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not (bare / "bin" / f"python{version}").exists():
        os.symlink(python_of(bare), bare / "bin" / f"python{version}")
    for given in (str(bare), f"{bare}/bin", f"{bare}/bin/", python_of(bare)):
        assert chosen_python(given, {})[0] == wanted
    for given in ("python", version, f"python{version}"):
        found, _ = chosen_python(given, {"PATH": f"{bare}/bin"})
        assert Path(found.path).parent == bare / "bin"


@pytest.mark.parametrize("given", ["no-such-python", "3.99", "/no/such/python"])
def test_option_that_names_no_python_is_an_error(given: str) -> None:
    with pytest.raises(NoPython, match="--python"):
        chosen_python(given, {"PATH": "/usr/bin"})


def test_folder_that_is_no_environment_is_an_error_with_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for given in (tmp_path, tmp_path / "bin"):
        with pytest.raises(NoPython, match="name an environment's folder"):
            chosen_python(str(given), {})


def test_error_about_a_python_among_the_words_does_not_name_the_option() -> None:
    with pytest.raises(NoPython) as caught:
        chosen_python("python3.99", {"PATH": "/usr/bin"}, "as named")
    assert str(caught.value).startswith("python3.99: ")


def test_program_that_is_no_python_is_an_error() -> None:
    with pytest.raises(NoPython, match="is no working Python"):
        chosen_pythons(Python("/bin/false", "--python"), Needs("a.py", True, True), environ={})


def test_python_that_is_too_old_is_an_error_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "python"
    # What an old Python runs of the probe: its first lines.
    old.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 6, 15)\nexec(sys.argv[2])\n"
    )
    old.chmod(0o755)
    message = r"it is Python 3\.6, and 3\.8 or newer is needed"
    with pytest.raises(DaskJobError, match=message):
        examined(Python(str(old), "--python"), {})
    with pytest.raises(DaskJobError, match=message):
        python_facts(str(old), {})


@pytest.mark.parametrize(
    "needs",
    [
        Needs("a.py", workers=True, uses_dask=False),
        Needs("a.py", workers=False, uses_dask=True),
        Needs("job.yaml", workers=True, uses_dask=True),
    ],
)
def test_python_without_dask_is_an_error_with_the_command_that_installs_it(
    bare: Path, needs: Needs
) -> None:
    python = Python(python_of(bare), "VIRTUAL_ENV")
    with pytest.raises(NoPython, match=f"{python_of(bare)} -m pip install distributed"):
        chosen_pythons(python, needs, environ={})


@pytest.mark.parametrize(
    "needs",
    [
        Needs("a.py", workers=False, uses_dask=False),
        Needs("a.py", workers=False, uses_dask=False, may_lack_dask=True),
        Needs("a.py", workers=False, uses_dask=True, may_lack_dask=True),
    ],
)
def test_script_without_dask_runs_in_a_python_without_it(bare: Path, needs: Needs) -> None:
    python = Python(python_of(bare), "VIRTUAL_ENV")
    pythons, may_have_workers, notes = chosen_pythons(python, needs, environ={})
    assert (pythons, may_have_workers) == (Pythons(python.path, sys.executable), False)
    assert notes[0].startswith(f"runs with {python.path} (VIRTUAL_ENV, 3.")


def test_programs_of_the_chosen_python_come_first_in_path(bare: Path) -> None:
    found = environment_of(Python(python_of(bare), "--python"), {"PATH": "/bin"})
    assert found == {"PATH": f"{bare}/bin:/bin", "VIRTUAL_ENV": str(bare)}
    assert environment_of(Python(sys.executable), {"A": "b"}) == {"A": "b"}


# What a script declares


@pytest.mark.parametrize(
    ("block", "names"),
    [
        ('# dependencies = ["a", "b>=2", "C_d[e] ~= 1.0"]\n', ["a", "b", "C_d"]),
        ('# dependencies = [\n#   "a",\n# ]\n# [tool.x]\n#\n# y = 1\n', ["a"]),
        ('# dependencies = ["a; sys_platform == \'win32\'", "b @ https://x"]\n', ["b"]),
        ('# requires-python = ">=3.11"\n', []),
    ],
)
def test_declared_packages_are_read(block: str, names: list[str]) -> None:
    found = declared(f"#!/usr/bin/env python\n# /// script\n{block}# ///\nimport a\n")
    assert (list(found.dependencies), found.problem) == (names, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# /// script\n# a =\n# ///\n", "is not TOML"),
        ("# /// script\n# dependencies = 'a'\n# ///\n", "is not a list"),
        ("# /// script\n# a = 1\n# ///\n\n# /// script\n# a = 1\n# ///\n", "several blocks"),
        ("# /// script\n# dependancies = ['a']\n# ///\n", "did you mean 'dependencies'?"),
        ("# /// script\n# requires_python = '>=3'\n# ///\n", "did you mean 'requires-python'?"),
        ("# /// script\n# [tools.daskjob]\n# ///\n", "the key 'tools'; did you mean 'tool'?"),
    ],
)
def test_unreadable_declaration_is_reported(text: str, problem: str) -> None:
    assert problem in declared(text).problem


def test_other_keys_of_a_declaration_are_left_to_other_tools() -> None:
    keys = ("name", "version", "description", "authors", "readme", "x")
    block = "".join(f"# {key} = 'a'\n" for key in keys)
    assert declared(f"# /// script\n{block}# ///\n").problem == ""


def test_lacking_packages_are_one_note_with_the_command_that_installs_them() -> None:
    listed = ["click", "no-such-a>=1", "no-such-b; python_version > '3'", "click>=99"]
    listed += ["dask[none]", "click @ https://x/click.whl", "no-such-c; python_version < '3'"]
    text = f"# /// script\n# dependencies = {json.dumps(listed)}\n# ///\n"
    needs = Needs("a.py", workers=False, uses_dask=False, declared=declared(text))
    _, _, (note,) = chosen_pythons(Python(sys.executable), needs, environ=os.environ)
    there = metadata.version("click")
    assert f"a.py declares no-such-a>=1, no-such-b, click>=99 ({there} is there), which" in note
    assert shlex.split(note.split("-m pip install ")[1]) == shlex.split(
        "'no-such-a>=1' \"no-such-b; python_version > '3'\" 'click>=99'"
    )


@pytest.mark.parametrize(
    ("specifier", "met"),
    [
        (">=3.11", True),
        (">=3.12", False),
        (">=3.9,<3.12", True),
        (">=3.9, <3.11", False),
        ("==3.11.*", True),
        ("==3.11", False),
        ("~=3.11", True),
        ("<=3.11", False),
        ("!=3.11.7", False),
        (">3.11", True),
    ],
)
def test_required_version_of_python(specifier: str, met: bool) -> None:
    assert allows(specifier, "3.11.7") is met


@pytest.mark.parametrize(
    ("specifier", "note"),
    [
        (
            ">=99",
            "a.py requires Python >=99, and {0} has {1}; choose another Python: --python PATH",
        ),
        (
            "===3.11.weird",
            "a.py requires Python ===3.11.weird, and {0} has {1}; choose another "
            "Python: --python PATH",
        ),
        ("3.11", "a.py: requires-python is '3.11'; write versions such as '>=3.11'"),
        ("", ""),
        (">=3.11", ""),
    ],
)
def test_what_a_script_requires_of_python_is_a_note(specifier: str, note: str) -> None:
    text = f"# /// script\n# requires-python = '{specifier}'\n# ///\n"
    needs = Needs("a.py", workers=False, uses_dask=False, declared=declared(text))
    _, _, notes = chosen_pythons(Python(sys.executable), needs, environ=os.environ)
    assert notes == ([note.format(sys.executable, platform.python_version())] if note else [])
