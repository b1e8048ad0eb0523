"""The words that may follow ``python``, and others that people write, as ways to run a script."""

from __future__ import annotations

import json
import os
import py_compile
import stat
import sys
import venv
import zipapp
from pathlib import Path

import click
import dask
import distributed
import pytest

from daskjob.submit.cli.run import run_command, split_module
from daskjob.submit.cli.ways_in import way_in
from tests.cli.command import Daskjob

FACTS = "import json, sys; print(json.dumps([sys.argv, __name__, __package__, sys.path[0]]))\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scripts, a package and a folder of a script; the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("df.py", "my script.py", "nb.ipynb", "pkg/__init__.py", "pkg/main.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"cells": []}' if path.suffix == ".ipynb" else FACTS)
    (tmp_path / "pkg/__main__.py").write_text(FACTS)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/__main__.py").write_text(FACTS)
    (tmp_path / "empty").mkdir()
    for name, text in (("run.sh", "#!/bin/sh\n"), ("bare.sh", "ls\n"), ("job", FACTS)):
        program = tmp_path / name
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")
    (tmp_path / "report").write_text("#!/usr/bin/env Rscript\n")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["df.py", "-m", "x"], ["python", "df.py", "-m", "x"]),
        (["run.sh", "a"], ["./run.sh", "a"]),
        (["job", "a"], ["python", "job", "a"]),
        (["python", "df.py", "a"], ["python", "df.py", "a"]),
        (["python3", "-u", "df.py"], ["python", "-u", "df.py"]),
        (["python", "-W", "a", "-X", "b", "df.py"], ["python", "-W", "a", "-X", "b", "df.py"]),
        (["python", "-m", "pkg.main", "-v"], ["python", "-m", "pkg.main", "-v"]),
        (["python", "-mpkg.main"], ["python", "-m", "pkg.main"]),
        (["python", "-um", "pkg.main"], ["python", "-u", "-m", "pkg.main"]),
        (["python", "-c", "print(1)", "a"], ["python", "-c", "print(1)", "a"]),
        (["python", "--", "df.py"], ["python", "df.py"]),
        (["python", "pkg", "a"], ["python", "-m", "pkg", "a"]),
        (["pkg", "a"], ["python", "-m", "pkg", "a"]),
        (["plain", "a"], ["python", "plain", "a"]),
    ],
)
def test_words_of_python_become_its_command(
    folder: Path, words: list[str], command: list[str]
) -> None:
    del folder
    assert list(way_in(words[0], tuple(words[1:])).command) == command


@pytest.mark.parametrize("word", ["python3.12", ".venv/bin/python", "/usr/bin/python3"])
def test_python_with_a_version_or_a_path_is_the_one_that_runs(folder: Path, word: str) -> None:
    del folder
    way = way_in(word, ("df.py",))
    assert (way.python, way.command, way.label) == (word, ("python", "df.py"), "df")


def test_workers_find_what_the_script_finds_also_if_that_is_a_link(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "real/run.py").touch()
    (folder / "link.py").symlink_to("real/run.py")
    assert way_in("link.py", ()).path == (str(folder / "real"),)


def test_workers_find_what_the_script_finds(folder: Path) -> None:
    def path(*words: str, module: bool = False) -> tuple[str, ...]:
        return way_in(words[0], words[1:], module=module).path

    assert path("df.py") == path("python", "-c", "1") == (str(folder),)
    assert path("pkg/main.py") == (str(folder / "pkg"),)
    assert path("pkg.main", module=True) == (str(folder),)
    assert path("pkg") == (str(folder), str(folder / "pkg"))
    assert path("plain") == (str(folder / "plain"),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["df"], "did you mean df.py?"),
        (["nb"], "did you mean nb.ipynb?"),
        (["dff.py"], "did you mean df.py?"),
        (["DF.py"], "did you mean df.py?"),
        (["pkg.main"], "did you mean the module: daskjob run -m pkg.main?"),
        (["pkg/mian.py"], "did you mean pkg/main.py?"),
        (["python"], "Write the script: daskjob run my_script.py"),
        (["python", "-u"], "names no script"),
        (["python", "df"], "did you mean df.py?"),
        (["uv", "run", "df.py", "-a"], "uv run daskjob run df.py -a"),
        (
            ["conda", "run", "-n", "science", "python", "-u", "df.py"],
            "conda run -n science daskjob run python -u df.py",
        ),
        (
            ["uv", "run", "--with", "rich", "-m", "pkg.main"],
            "uv run --with rich daskjob run -m pkg",
        ),
        (["uv", "run"], "uv run daskjob run my_script.py"),
        (["poetry", "run", "python", "df.py"], "poetry run daskjob run df.py"),
        (["https://example.org/x/df.py?a=1"], "curl -fsSL -o df.py 'https://example.org"),
        (["s3://bucket/df.py"], "is a URL; daskjob runs files"),
        (["ls"], "To run the program ls with a cluster, write its path"),
        (["pytest", "-x"], "run its module: daskjob run -m pytest -x"),
        (["ipython", "df.py"], "run its module: daskjob run -m IPython df.py"),
        (["plain.sh"], "is a script for '/bin/sh', and not executable: chmod +x plain.sh"),
        (["report"], "is a script for '/usr/bin/env Rscript', and not executable"),
        (["bare.sh"], "write #!/bin/sh there"),
        (["pipe", "a"], "daskjob run - a < pipe"),
        (["python", "pipe"], "daskjob run - < pipe"),
        (["python", "-c"], "names no script"),
        (["python", "-m"], "names no script"),
        (["empty"], "has no __main__.py"),
        (["python df.py"], "write it without quotes: daskjob run python df.py"),
        (["df.py --input a", "b"], "write it without quotes: daskjob run df.py --input a b"),
    ],
)
def test_what_cannot_run_is_explained(folder: Path, words: list[str], message: str) -> None:
    del folder
    with pytest.raises(click.UsageError) as caught:
        way_in(words[0], tuple(words[1:]))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("300MB", "daskjob run --memory 300MB df.py"),
        ("4GiB", "whose option is --memory"),
        ("2", "whose option is --memory"),
        ("1.5 GB", "whose option is --memory"),
        ("df.py", "is a file, not a module: leave out -m"),
        ("my script.py", "is a file, not a module: leave out -m"),
        ("pkg/main", "is no name of a module"),
    ],
)
def test_module_that_is_none_is_explained(folder: Path, name: str, message: str) -> None:
    del folder
    with pytest.raises(click.UsageError) as caught:
        way_in(name, ("df.py",), module=True)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("args", "split"),
    [
        (["-mpkg", "-w", "3"], ["-m", "pkg", "-w", "3"]),
        (["-w", "3", "--module=pkg.a", "x"], ["-w", "3", "-m", "pkg.a", "x"]),
        (["-q", "-m300MB", "a.py"], ["-q", "-m", "300MB", "a.py"]),
        (["-w0", "-cprint(1)", "-w"], ["-w0", "-c", "print(1)", "-w"]),
        (["--code=-x", "a"], ["-c", "-x", "a"]),
        (["a.py", "-mx"], ["a.py", "-mx"]),
        (["--name", "-mx", "a.py"], ["--name", "-mx", "a.py"]),
        (["--", "-mx"], ["--", "-mx"]),
        (["-", "-mx"], ["-", "-mx"]),
    ],
)
def test_attached_module_is_split_only_among_the_options(args: list[str], split: list[str]) -> None:
    assert split_module(args, run_command.params) == split


# Real runs


def test_module_runs_as_by_python_and_workers_import_its_package(daskjob: Daskjob) -> None:
    package = daskjob.work / "pipeline"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "steps.py").write_text("def square(n):\n    return n * n\n")
    (package / "main.py").write_text(
        "import sys\nfrom distributed import Client\nfrom .steps import square\n"
        "client = Client()\n"
        "print(sys.argv[1:], client.gather(client.map(square, range(3))))\n"
    )
    done = daskjob("run", "-w", 1, "-m", "pipeline.main", "--workers", "7")
    assert (done.code, done.text) == (0, "['--workers', '7'] [0, 1, 4]\n"), done.err
    assert daskjob.job()["metadata"]["name"].startswith("pipeline-main-")


def test_module_that_is_missing_is_2_before_anything_starts(daskjob: Daskjob) -> None:
    daskjob.script("raise SystemExit('imported')\n", "jobs.py")
    for words in (("-m", "job"), ("python", "-u", "-m", "job")):
        done = daskjob("run", *words)
        assert (done.code, done.out) == (2, b"")
        assert "there is no module 'job'; did you mean daskjob run -m jobs?" in done.err
    assert not daskjob.state.exists()
    source = daskjob.folder / "source"
    source.mkdir()
    (source / "elsewhere.py").write_text("print('found')\n")
    done = daskjob.run("-e", f"PYTHONPATH={source}", "-m", "elsewhere")
    assert (done.code, done.text) == (0, "found\n"), done.err


def test_every_kind_of_file_that_python_runs_runs(daskjob: Daskjob) -> None:
    source = daskjob.script("print('ran')\n", "source.py")
    py_compile.compile(str(source), cfile=str(daskjob.work / "compiled.pyc"))
    (daskjob.work / "app").mkdir()
    daskjob.script("print('ran')\n", "app/__main__.py")
    zipapp.create_archive(daskjob.work / "app", daskjob.work / "app.pyz")
    kinds = {
        "marked.py": b"\xef\xbb\xbfprint('ran')\n",
        "windows.py": b"import sys\r\nprint('ran')\r\n",
        "latin.py": b"# coding: latin-1\nprint('ran' if '\xe4' else '')\n",
        "without-suffix": b"print('ran')\n",
        "with-a-first-line": b"#!/usr/bin/env python3\nprint('ran')\n",
        "text.txt": b"print('ran')\n",
        "-dash.py": b"print('ran')\n",
    }
    for name, text in kinds.items():
        (daskjob.work / name).write_bytes(text)
    for name in (*kinds, "compiled.pyc", "app.pyz"):
        done = daskjob.run("--", name)
        assert (done.code, done.text) == (0, "ran\n"), (name, done.err)
    daskjob.script("", "empty.py")
    assert daskjob.run("empty.py").code == 0


def test_code_runs_as_by_python_with_its_arguments(daskjob: Daskjob) -> None:
    done = daskjob.run("-c", "import sys; print(sys.argv, repr(sys.path[0]))", "a", "-w", "7")
    assert (done.code, done.text) == (0, "['-c', 'a', '-w', '7'] ''\n"), done.err


def test_folder_runs_as_a_package_with_relative_imports(daskjob: Daskjob) -> None:
    package = daskjob.work / "sub" / "tool"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("NAME = 'part'\n")
    (package / "__main__.py").write_text(
        "import sys, part\nfrom .part import NAME\nprint(NAME, part.NAME, sys.argv[1:])\n"
    )
    done = daskjob.run("sub/tool", "--help")
    assert (done.code, done.text) == (0, "part part ['--help']\n"), done.err


def test_script_from_standard_input_is_as_python_gives_it(daskjob: Daskjob) -> None:
    script = b"import sys\nprint(__name__, sys.argv, repr(sys.path[0]))\n1/0\n"
    done = daskjob.run("-", "a", "-b", input=script)
    assert (done.code, done.text.splitlines()[0]) == (1, "__main__ ['-', 'a', '-b'] ''")
    again = daskjob.run("--retries", 2, "-", input=script)
    assert again.code == 2
    assert "--retries needs a script in a file" in again.err


def test_notebook_runs_in_its_folder_with_tasks_on_workers(daskjob: Daskjob) -> None:
    folder = daskjob.work / "notes"
    folder.mkdir()
    (folder / "beside.py").write_text("def triple(n):\n    return 3 * n\n")
    sources = [
        "from distributed import Client\nfrom beside import triple\nclient = Client()",
        "def more(n):\n    return triple(n) + 1\nclient.submit(more, 4).result()",
        "open('beside.py').readline()",
    ]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    (folder / "a.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}))
    done = daskjob("run", "-w", 1, "notes/a.ipynb")
    assert (done.code, done.text) == (0, "13\n'def triple(n):\\n'\n"), done.err


def test_notebook_with_magics_is_125_and_nothing_starts(daskjob: Daskjob) -> None:
    cells = [{"cell_type": "code", "source": "%matplotlib inline"}]
    daskjob.script(json.dumps({"cells": cells}), "a.ipynb")
    done = daskjob("run", "a.ipynb")
    assert (done.code, done.out) == (125, b"")
    assert "cell 1, line 1: %matplotlib inline" in done.err
    assert not daskjob.state.exists()


def test_named_python_runs_the_script(daskjob: Daskjob) -> None:
    script = daskjob.script("import sys\nprint(sys.executable)\n")
    own = daskjob.run(sys.executable, "-u", script)
    assert own.text == f"{sys.executable}\n", own.err
    assert "runs with" not in own.err
    environment = daskjob.folder / "bare"
    venv.create(environment, with_pip=False)
    for words, env in (
        (("--python", environment), {}),
        ((), {"VIRTUAL_ENV": str(environment)}),
    ):
        done = daskjob("run", *words, script, env=env)
        assert done.text == f"{environment}/bin/python\n", done.err
        assert f"runs with {environment}/bin/python" in done.err
    refused = daskjob("run", "-w", 1, "--python", environment, script)
    assert refused.code == 125
    assert f"{environment}/bin/python -m pip install distributed" in refused.err


def test_scheduler_and_workers_run_in_the_active_environment_too(daskjob: Daskjob) -> None:
    environment = daskjob.folder / "project"
    venv.create(environment, with_pip=False)
    (packages,) = environment.glob("lib/python*/site-packages")
    # It has the same packages as the tests, and one more.
    own = {str(Path(module.__file__).parents[1]) for module in (dask, distributed)}
    (packages / "own.pth").write_text("\n".join(own))
    (packages / "only_here.py").write_text("import sys\ndef where():\n    return sys.prefix\n")
    script = daskjob.script(
        "from distributed import Client\n"
        "from only_here import where\n"
        "client = Client()\n"
        "print({where(), client.submit(where).result(), client.run_on_scheduler(where)})\n"
    )
    done = daskjob("run", "-w", 1, script, env={"VIRTUAL_ENV": str(environment)})
    assert (done.code, done.text) == (0, f"{{{str(environment)!r}}}\n"), done.err
