"""The code of a job on a cluster: what a script imports, and how its files are sent."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.spec.code import MOST_PATHS
from daskjob.core.spec.job import MOST_FILES
from daskjob.submit.cluster_job.archive import UnfitCode
from daskjob.submit.cluster_job.code import Code, read_code
from daskjob.submit.cluster_job.imports import Folder, imported, imported_files
from daskjob.submit.cluster_job.program import (
    Program,
    Sources,
    folder_program,
    module_program,
    script_program,
)

#: Files of a user's folder: each would be seen if it were run.
TREE = {
    "script.py": "",
    "helper.py": "import deeper",
    "deeper.py": "",
    "unused.py": "",
    "random.py": "",
    "broken.py": "def f(:\n  import deeper",
    "pkg/__init__.py": "from pkg import base",
    "pkg/base.py": "",
    "pkg/task.py": "from . import util\nfrom .sub.inner import x",
    "pkg/util.py": "",
    "pkg/lazy.py": "",
    "pkg/sub/__init__.py": "",
    "pkg/sub/inner.py": "from ..util import y\nfrom ...unused import z",
    "near/__init__.py": "from .base import x",
    "near/base.py": "from . import other",
    "near/other.py": "",
    "space/part/__init__.py": "",
    "space/part/leaf.py": "",
    "flat/one.py": "",
    "flat/two.py": "",
    "data/table.csv": "1",
    "src/lib/__init__.py": "from lib.core import f",
    "src/lib/core.py": "",
    "src/json.py": "",
    "pyproject.toml": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import helper", ["deeper.py", "helper.py"]),
        ("from helper import x, y", ["deeper.py", "helper.py"]),
        ("import numpy, os, pandas.core", []),
        ("import random", ["random.py"]),
        ("import json", []),
        ("import broken", ["broken.py"]),
        ("import pkg.base", ["pkg/__init__.py", "pkg/base.py"]),
        ("from pkg import base as b", ["pkg/__init__.py", "pkg/base.py"]),
        (
            "import pkg.task",
            [
                *("pkg/__init__.py", "pkg/base.py", "pkg/sub/__init__.py", "pkg/sub/inner.py"),
                *("pkg/task.py", "pkg/util.py"),
            ],
        ),
        (
            "from pkg import *",
            [
                *("pkg/__init__.py", "pkg/base.py", "pkg/lazy.py", "pkg/sub/__init__.py"),
                *("pkg/sub/inner.py", "pkg/task.py", "pkg/util.py"),
            ],
        ),
        ("def f():\n  from pkg.util import g", ["pkg/__init__.py", "pkg/base.py", "pkg/util.py"]),
        ("try:\n  import helper\nexcept ImportError: pass", ["deeper.py", "helper.py"]),
        ("import importlib\nimportlib.import_module('deeper')", ["deeper.py"]),
        ("m = __import__('deeper')", ["deeper.py"]),
        ("import space.part.leaf", ["space/part/__init__.py", "space/part/leaf.py"]),
        ("from flat import two", ["flat/two.py"]),
        ("import near", ["near/__init__.py", "near/base.py", "near/other.py"]),
        ("import data, data.table", []),
        ("import lib", ["lib/__init__.py", "lib/core.py"]),
        ("import lib.missing", ["lib/__init__.py", "lib/core.py"]),
        ("import script", ["script.py"]),
        ("import this is no Python", []),
        ("", []),
    ],
)
def test_files_that_a_script_imports_are_found_without_running_it(
    tree: Path, text: str, files: list[str]
) -> None:
    folders = [Folder(tree, after_library=False), Folder(tree / "src")]
    assert list(imported_files([(text, "")], folders)) == files


#: A project that Python would find in two folders: ``scripts``, then ``src``.
SPREAD = {
    "scripts/space/one.py": "",
    "scripts/lib/notes.py": "",
    "scripts/deep/er/still/leaf.py": "",
    "scripts/latin.py": "# coding: latin-1\nimport café",
    "scripts/café.py": "",
    "scripts/marked.py": "\ufeffimport lib",
    "scripts/fast.cpython-311-x86_64-linux-gnu.so": "",
    "scripts/only.pyc": "",
    "src/space/two.py": "",
    "src/lib/__init__.py": "",
    "src/pkg/__init__.py": "",
    "src/pkg/_c.abi3.so": "",
    "src/pkg/a.py": "",
    "src/pkg/b.py": "",
    "src/pkg/sub/__init__.py": "",
    "src/pkg/sub/c.py": "",
}


@pytest.fixture
def spread(tmp_path: Path) -> list[Folder]:
    for name, text in SPREAD.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1" if "latin" in name else "utf-8")
    return [Folder(tmp_path / "scripts", after_library=False), Folder(tmp_path / "src")]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        # A package without __init__.py has the modules of all its folders; one with it is before.
        ("import space.one, space.two", ["space/one.py", "space/two.py"]),
        ("import lib", ["lib/__init__.py"]),
        ("from deep.er.still import leaf", ["deep/er/still/leaf.py"]),
        ("import latin", ["café.py", "latin.py"]),
        ("import marked", ["lib/__init__.py", "marked.py"]),
        ("from pkg import *", [f"pkg/{n}.py" for n in ("__init__", "a", "b", "sub/__init__")]),
        ("import_module(name='lib')", ["lib/__init__.py"]),
        ("import_module('.a', 'pkg')", ["pkg/__init__.py", "pkg/a.py"]),
        ("import_module('.a', package='pkg')", ["pkg/__init__.py", "pkg/a.py"]),
        ("import_module('.a', place())", []),
        ("__import__('pkg', fromlist=['b'])", ["pkg/__init__.py", "pkg/b.py"]),
        ("__import__('pkg', None, None, ('b',))", ["pkg/__init__.py", "pkg/b.py"]),
    ],
)
def test_modules_are_found_as_python_finds_them(
    spread: list[Folder], text: str, files: list[str]
) -> None:
    assert list(imported_files([(text, "")], spread)) == files


def test_relative_names_of_calls_are_about_the_package_of_their_module(
    spread: list[Folder],
) -> None:
    text = "import_module('.c', __name__)\nimport_module('..b', __package__)"
    assert list(imported_files([(text, "pkg.sub")], spread)) == [
        *("pkg/__init__.py", "pkg/b.py", "pkg/sub/__init__.py", "pkg/sub/c.py")
    ]


def test_modules_without_source_are_found(spread: list[Folder]) -> None:
    found = imported([("import fast, only\nfrom pkg import _c", "")], spread)
    assert list(found.files) == ["pkg/__init__.py"]
    assert list(found.compiled) == [
        *("fast.cpython-311-x86_64-linux-gnu.so", "only.pyc", "pkg/_c.abi3.so")
    ]


def test_modules_without_source_are_sent_if_they_are_small_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import fast, large")
    (tmp_path / "fast.so").write_bytes(b"\x7fELF\0")
    with (tmp_path / "large.so").open("wb") as file:
        file.truncate(2**20 + 1)
    program = script_program(tmp_path / "script.py", Sources(), before=["python"], after=[])
    assert sorted(contents(program.code)) == ["fast.so", "script.py"]
    small, large = program.notes
    assert small.startswith("compiled on this machine: fast.so; ")
    assert large.startswith("not sent, compiled and above 1 MiB: large.so (")


@pytest.mark.parametrize("whole", [False, True])
def test_script_that_is_a_link_imports_from_beside_the_file(tree: Path, whole: bool) -> None:
    (tree / "pkg/task.py").write_text("import base")
    (tree / "run.py").symlink_to("pkg/task.py")
    sources = Sources(project=tree, whole=tree if whole else None)
    program = script_program(tree / "run.py", sources, before=["python"], after=[])
    if whole:
        assert "run.py" in program.code.files
        assert program.code.paths == ("pkg", "src", ".")
    else:
        assert sorted(program.code.files) == ["base.py", "run.py"]


@pytest.mark.parametrize("name", ["click", "yaml", "distributed"])
def test_installed_package_is_before_a_folder_of_the_project(tree: Path, name: str) -> None:
    for path in (tree / f"{name}.py", tree / "src" / f"{name}.py"):
        path.touch()
    away = Folder(tree / "pkg", after_library=False)
    found = imported_files([(f"import {name}", "")], [away, Folder(tree, after_packages=True)])
    assert found == {}
    # The script's own folder is before them, as for Python.
    assert imported_files([(f"import {name}", "")], [Folder(tree, after_library=False)])


def test_script_is_sent_with_what_it_imports_and_nothing_else(tree: Path) -> None:
    (tree / "script.py").write_text("import helper, lib")
    program = script_program(
        tree / "script.py", Sources(project=tree), before=["python", "-O"], after=["--n", "3"]
    )
    assert sorted(program.code.files) == [
        *("deeper.py", "helper.py", "lib/__init__.py", "lib/core.py", "script.py")
    ]
    assert program.command == ["python", "-O", "/daskjob/code/script.py", "--n", "3"]
    assert program.label == "script"


def test_files_without_folders_are_where_daskjob_mounts_them(tree: Path) -> None:
    (tree / "script.py").write_text("import helper")
    program = script_program(tree / "script.py", Sources(), before=[], after=[])
    assert program.command == ["python", "/daskjob/files/script.py"]
    assert list(program.code.job_files()) == ["script.py", "deeper.py", "helper.py"]
    spec: Manifest = {"containers": [{"name": "a"}]}
    program.code.add_to(spec, "job")
    assert spec == {"containers": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("paths", "keys"),
    [
        (["a.py", "p/b.py"], {"a.py": "a.py", "p/b.py": "p--b.py"}),
        (["p/b.py", "p--b.py"], {"p--b.py": "p--b.py", "p/b.py": "file--1"}),
        (["größe.py"], {"größe.py": "file--0"}),
        (["a b.py", "..p/c.py"], {"..p/c.py": "file--0", "a b.py": "file--1"}),
        ([".hidden/x.py"], {".hidden/x.py": ".hidden--x.py"}),
    ],
)
def test_tree_has_its_paths_in_a_volume_of_the_same_config_map(
    paths: list[str], keys: dict[str, str]
) -> None:
    code = Code(dict.fromkeys(paths, "x"))
    assert code.keys == keys
    assert sorted(code.job_files()) == sorted(keys.values())
    spec: Manifest = {"containers": [{"name": "a", "env": [{"name": "PYTHONPATH", "value": "/o"}]}]}
    code.add_to(spec, "sums")
    assert spec["volumes"][0]["configMap"]["name"] == "sums-files"
    items = spec["volumes"][0]["configMap"]["items"]
    assert {item["path"]: item["key"] for item in items} == keys
    container = spec["containers"][0]
    assert container["volumeMounts"][0]["mountPath"] == "/daskjob/code"
    assert container["env"] == [{"name": "PYTHONPATH", "value": "/daskjob/code:/o"}]


@pytest.mark.parametrize(
    ("name", "files", "notes"),
    [
        ("helper", ["deeper.py", "helper.py"], 0),
        ("pkg.util", ["pkg/__init__.py", "pkg/base.py", "pkg/util.py"], 0),
        ("lib", ["lib/__init__.py", "lib/core.py"], 0),
        ("http.server", [], 1),
        ("nowhere", [], 1),
    ],
)
def test_module_is_sent_with_its_packages(
    tree: Path, name: str, files: list[str], notes: int
) -> None:
    program = module_program(name, Sources(project=tree), tree, before=["python"], after=["x"])
    assert program.command == ["python", "-m", name, "x"]
    assert list(program.code.files) == files
    assert len(program.notes) == notes


def test_package_with_main_is_sent_with_it(tree: Path) -> None:
    (tree / "pkg/__main__.py").write_text("from pkg.lazy import x")
    program = module_program("pkg", Sources(), tree, before=["python"], after=[])
    assert sorted(program.code.files) == [
        *("pkg/__init__.py", "pkg/__main__.py", "pkg/base.py", "pkg/lazy.py")
    ]


def test_folder_with_main_runs_as_a_folder(tree: Path) -> None:
    (tree / "flat/__main__.py").write_text("import one")
    program = folder_program(tree / "flat", Sources(), before=["python"], after=["x"])
    assert program.command == ["python", "/daskjob/files", "x"]
    assert list(program.code.files) == ["__main__.py", "one.py"]


@pytest.mark.parametrize(
    ("first", "command"),
    [
        ("#!/bin/sh", ["/bin/sh"]),
        ("#!/usr/bin/env bash", ["bash"]),
        ("#!/usr/bin/env -S bash -e", ["bash", "-e"]),
        ("#! /bin/bash -eu", ["/bin/bash", "-eu"]),
        ("#!/usr/bin/env python3", ["python"]),
        ("#!/opt/venv/bin/python3.12", ["python"]),
    ],
)
def test_script_of_a_shell_runs_with_the_interpreter_of_its_first_line(
    tmp_path: Path, first: str, command: list[str]
) -> None:
    path = tmp_path / "run"
    path.write_text(f"{first}\necho 1\n")
    program = script_program(path, Sources(), before=(), after=("a",))
    assert program.command == [*command, "/daskjob/files/run", "a"]


@pytest.mark.parametrize("first", [b"#!/usr/bin/\xff", b"no first line", b""])
def test_script_without_an_interpreter_is_rejected(tmp_path: Path, first: bytes) -> None:
    path = tmp_path / "run"
    path.write_bytes(first + b"\necho 1\n")
    with pytest.raises(UnfitCode, match="run is neither a Python script nor has a first line such"):
        script_program(path, Sources(), before=(), after=())


def test_more_folders_of_pythonpath_than_a_job_takes_are_an_error(tree: Path) -> None:
    folders = tuple(tree / f"part{number}" for number in range(MOST_PATHS))
    for folder in folders:
        folder.mkdir()
        (folder / "a.py").touch()
    script_program(
        tree / "script.py",
        Sources(whole=tree, python_path=folders[2:]),
        before=["python"],
        after=[],
    )
    with pytest.raises(UnfitCode, match="has 21 folders that are on PYTHONPATH here, and a job ta"):
        script_program(
            tree / "script.py",
            Sources(whole=tree, python_path=folders[1:]),
            before=["python"],
            after=[],
        )


def test_files_that_are_asked_for_lie_to_the_script_as_here(tree: Path) -> None:
    script = tree / "script.py"
    files = (tree / "data/table.csv", tree / "pyproject.toml", Path(__file__))
    program = script_program(script, Sources(files=files), before=["python"], after=[])
    assert sorted(program.code.files) == [
        *("data/table.csv", "pyproject.toml", "script.py", "tests/submit/test_cluster_code.py")
    ]
    assert program.folder == "."
    for wrong, message in ((tree / "data", "is a folder"), (tree / "no", "does not exist")):
        with pytest.raises(UnfitCode, match=message):
            script_program(script, Sources(files=(wrong,)), before=["python"], after=[])


def test_files_never_replace_one_another(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away")
    for name in ("script.py", "x/a.csv", "y/a.csv"):
        (away / name).parent.mkdir(exist_ok=True)
        (away / name).touch()
    for files in ([away / "script.py"], [away / "x/a.csv", away / "y/a.csv"]):
        with pytest.raises(UnfitCode, match=r"would both be (script.py|a.csv) in the pods; rename"):
            script_program(
                tree / "script.py",
                Sources(project=tree, files=tuple(files)),
                before=["python"],
                after=[],
            )


def test_file_from_outside_is_reported_with_its_place(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("away") / "a.csv"
    file.touch()
    program = script_program(
        tree / "script.py", Sources(project=tree, files=(file,)), before=["python"], after=[]
    )
    assert program.notes == (
        f"--file {file} is outside of {tree}; in the pods it is /daskjob/files/a.csv",
    )


@pytest.mark.parametrize("whole", [False, True])
def test_programs_that_are_asked_for_can_be_executed(tree: Path, whole: bool) -> None:
    tool = tree / "tool.sh"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    sources = Sources(project=tree, whole=tree) if whole else Sources(project=tree, files=(tool,))
    program = script_program(tree / "script.py", sources, before=["python"], after=[])
    spec: Manifest = {"containers": [{"name": "a"}]}
    program.code.add_to(spec, "job")
    items = spec["volumes"][0]["configMap"]["items"]
    assert [item for item in items if "mode" in item] == [
        {"key": "tool.sh", "path": "tool.sh", "mode": 0o555}
    ]
    packed = program.code.as_archive().archive
    assert packed
    with tarfile.open(fileobj=io.BytesIO(packed.data), mode="r:xz") as tar:
        assert {member.name for member in tar.getmembers() if member.mode & 0o100} == {"tool.sh"}


NAMING = """\
table = open("data/table.csv"), open("own.csv"), dd.read_csv("data/*.csv"), open("missing.csv")
near = open("near.csv"), open("/etc/hosts"), "https://example.org/data/table.csv"
text = "A sentence. And another one", "data", "no file.", "data/"
"""


def test_files_that_the_code_names_and_that_are_not_sent_are_reported(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    (tree / "pkg/main.py").write_text(NAMING)
    for name in ("own.csv", "pkg/near.csv"):
        (tree / name).touch()
    files = (Path("own.csv"),)
    program = script_program(
        tree / "pkg/main.py", Sources(project=tree, files=files), before=["python"], after=[]
    )
    (note,) = program.notes
    assert note.startswith(
        "named in the code, here, and not sent: data/table.csv (pkg/main.py, line 1), data/*.csv "
        "(pkg/main.py, line 1), pkg/near.csv (pkg/main.py, line 2). If the job reads them: --file"
    )
    whole = Sources(project=tree, whole=tree)
    program = script_program(tree / "pkg/main.py", whole, before=["python"], after=[])
    assert program.notes == ()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.py", b"# coding: latin-1\nx = '\xe9'\n"),
        ("a.py", b"x = '\xe9'\n"),
        ("a.bin", b"\x7fELF\0\0"),
        ("a.txt", b"a\0b"),
    ],
)
def test_file_that_is_no_utf8_text_goes_into_an_archive_as_it_is(
    tmp_path: Path, name: str, data: bytes
) -> None:
    path, text = tmp_path / name, tmp_path / "text.py"
    path.write_bytes(data)
    text.write_text("x = 1")
    code = read_code({name: path, "text.py": text})
    assert code.files == {}
    assert contents(code) == {name: data, "text.py": b"x = 1"}
    assert read_code({"text.py": text}).archive is None


def contents(code: Code) -> dict[str, bytes]:
    assert code.archive
    with tarfile.open(fileobj=io.BytesIO(code.archive.data), mode="r:xz") as tar:
        found = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read() for name, file in found.items() if file}


def test_text_up_to_900_kib_and_1000_files_is_in_the_manifest_and_more_in_an_archive(
    tmp_path: Path,
) -> None:
    for name, size in (("small.py", 10), ("big.py", 600 * 1024), ("other.py", 320 * 1024)):
        (tmp_path / name).write_text("#" * size)
    paths = {path.name: path for path in tmp_path.iterdir()}
    assert sorted(contents(read_code(paths))) == ["big.py", "other.py", "small.py"]
    del paths["other.py"]
    assert len(read_code(paths).files) == 2
    many = {f"{n}.py": tmp_path / "small.py" for n in range(MOST_FILES + 1)}
    assert len(contents(read_code(many))) == MOST_FILES + 1
    del many["0.py"]
    assert len(read_code(many).files) == MOST_FILES


def test_file_that_cannot_be_read_or_sent_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UnfitCode, match=r"gone.py cannot be read: No such file"):
        read_code({"gone.py": tmp_path / "gone.py"})
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnfitCode, match=r"folder cannot be read: Is a directory"):
        read_code({"folder": tmp_path / "folder"})
    huge = tmp_path / "huge.bin"
    with huge.open("wb") as file:
        file.truncate(70 * 2**20)
    with pytest.raises(UnfitCode, match=r"1 file has 70.0 MiB, and .* huge.bin 70.0 MiB"):
        read_code({"huge.bin": huge})
    wrong = Path(os.fsdecode(b"caf\xe9.py"))
    with pytest.raises(UnfitCode, match=r"is not UTF-8; rename it"):
        read_code({str(wrong): tmp_path / wrong})
    for place in ("a/../b.py", "/a.py", "x" * 256):
        with pytest.raises(UnfitCode, match="no path there"):
            read_code({place: tmp_path / "a.py"})


def test_nothing_of_the_script_is_run(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    mark = tree / "ran"
    for name in ("script.py", "helper.py", "lib.py"):
        (tree / name).write_text(f"import helper, lib\nopen({json.dumps(str(mark))}, 'w')")
    program: Program = script_program(tree / "script.py", Sources(), before=["python"], after=[])
    assert len(program.code.files) == 3
    assert not mark.exists()
