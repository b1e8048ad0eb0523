"""``--code`` and ``--file``: what is sent, from where it runs, and what is rejected before that."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cli.manifests import render_command
from tests.cli.test_submit_command import Sent
from tests.submit.test_code_folder import made, write

IMAGE = ("--image", "example.org/dask:1")
TRAIN = "import lib\nprint(open('data/table.csv').read())"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a package below ``src``, a script and data, in which the user stands."""
    root = tmp_path / "project"
    made(root, "pyproject.toml", "src/lib/other.py", "data/table.csv", "README.md")
    write(root / "pyproject.toml", "")
    write(root / "src/lib/__init__.py", "from lib import deep")
    write(root / "src/lib/deep.py", "")
    write(root / "scripts/train.py", TRAIN)
    (root / "data/table.bin").write_bytes(b"\xff\0")
    monkeypatch.chdir(root)
    for variable in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    return root


@pytest.fixture
def sent(project: Path) -> Sent:
    del project
    return Sent()


def rendered(*words: str) -> tuple[dict[str, Any], dict[str, bytes], Result]:
    """Return the job, the files of its archive, and how the command ended."""
    done = CliRunner().invoke(render_command, [*IMAGE, *words])
    assert done.exit_code == 0, done.output
    *maps, manifest = yaml.safe_load_all(done.stdout)
    parse(DaskJob, manifest)
    names = manifest["spec"].get("code", {}).get("configMaps", [])
    assert [item["metadata"]["name"] for item in maps] == names
    data = b"".join(base64.b64decode(item["binaryData"]["part"]) for item in maps)
    if not data:
        return manifest, {}, done
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:xz") as tar:
        found = {m.name: file.read() for m in tar.getmembers() if (file := tar.extractfile(m))}
    return manifest, found, done


def runner(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["job"]["spec"]["containers"][0]
    return found


def test_imports_alone_are_text_in_the_manifest(project: Path) -> None:
    del project
    manifest, packed, _ = rendered("scripts/train.py")
    assert packed == {}
    assert sorted(manifest["spec"]["job"]["files"]) == [
        *("lib--__init__.py", "lib--deep.py", "train.py")
    ]


def test_file_that_is_no_text_lies_as_here_and_is_found_from_here(project: Path) -> None:
    manifest, packed, done = rendered("--file", "data/table.bin", "scripts/train.py")
    assert sorted(packed) == [
        *("data/table.bin", "scripts/train.py", "src/lib/__init__.py", "src/lib/deep.py")
    ]
    assert packed["data/table.bin"] == (project / "data/table.bin").read_bytes()
    assert runner(manifest)["args"] == ["python", "/daskjob/code/scripts/train.py"]
    assert runner(manifest)["workingDir"] == "/daskjob/code"
    assert manifest["spec"]["code"]["paths"] == ["scripts", "src", "."]
    assert "the code is sent in a ConfigMap of the job: 4 files with" in done.stderr


def test_text_file_lies_as_here_in_the_manifest_too(project: Path) -> None:
    del project
    manifest, packed, _ = rendered("--file", "data/table.csv", "scripts/train.py")
    assert packed == {}
    pod = manifest["spec"]["job"]["spec"]
    items = {item["path"] for item in pod["volumes"][0]["configMap"]["items"]}
    assert items == {
        *("data/table.csv", "scripts/train.py", "src/lib/__init__.py", "src/lib/deep.py")
    }
    paths = next(v["value"] for v in pod["containers"][0]["env"] if v["name"] == "PYTHONPATH")
    assert paths == "/daskjob/code/scripts:/daskjob/code/src:/daskjob/code"
    assert runner(manifest)["workingDir"] == "/daskjob/code"


def test_whole_folder_is_sent_as_it_is_but_for_what_is_no_code(project: Path) -> None:
    made(project, ".env", "x.log", "lib_cache/__pycache__/a.pyc")
    write(project / ".gitignore", "*.log\nsrc/lib/deep.py\n")
    manifest, packed, done = rendered("--code", ".", "scripts/train.py", "--epochs", "3")
    # What the script imports is sent even if git ignores it.
    assert sorted(packed) == [
        *(".gitignore", "README.md", "data/table.bin", "data/table.csv", "pyproject.toml"),
        *("scripts/train.py", "src/lib/__init__.py", "src/lib/deep.py", "src/lib/other.py"),
    ]
    assert runner(manifest)["args"] == [
        *("python", "/daskjob/code/scripts/train.py", "--epochs", "3")
    ]
    assert "not sent, looks like a secret: .env (" in done.stderr
    assert "not sent, ignored: x.log (" in done.stderr
    _, packed, done = rendered(
        "--code", ".", "--file", ".env", "--file", "x.log", *(["scripts/train.py"])
    )
    assert {".env", "x.log"} <= set(packed)
    assert "not sent" not in done.stderr


@pytest.mark.parametrize(
    ("where", "words", "folder"),
    [
        (".", ["--code", ".", "scripts/train.py"], "/daskjob/code"),
        ("scripts", ["--code", "..", "train.py"], "/daskjob/code/scripts"),
        ("data", ["--code", "..", "../scripts/train.py"], "/daskjob/code/data"),
        # From outside of the code, the script's own folder is the best guess.
        ("..", ["--code", "project", "project/scripts/train.py"], "/daskjob/code/scripts"),
        ("src", ["--code", "..", "-m", "lib.other"], "/daskjob/code/src"),
        (".", ["--file", "data/table.bin", "scripts/train.py"], "/daskjob/code"),
        ("data", ["--file", "table.bin", "../scripts/train.py"], "/daskjob/code/data"),
    ],
)
def test_program_runs_where_the_user_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch, where: str, words: list[str], folder: str
) -> None:
    monkeypatch.chdir(project / where)
    manifest, _, _ = rendered(*words)
    assert runner(manifest)["workingDir"] == folder
    worker = manifest["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"][0]
    assert worker["workingDir"] == folder
    scheduler = manifest["spec"]["cluster"]["spec"]["scheduler"]["spec"]["containers"][0]
    assert "workingDir" not in scheduler


def test_src_of_a_folder_that_is_no_project_is_on_the_path_too(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    manifest, _, _ = rendered("--code", ".", "scripts/train.py")
    assert manifest["spec"]["code"]["paths"] == ["scripts", "src", "."]


def test_unpacked_archive_runs_with_its_paths_as_here(project: Path, tmp_path: Path) -> None:
    write(project / "scripts/helper.py", "from lib import deep\nvalue = 'helped'")
    write(
        project / "scripts/train.py", "import helper\nprint(helper.value, open('README.md').read())"
    )
    manifest, packed, _ = rendered("--code", ".", "scripts/train.py")
    there = tmp_path / "there"
    for path, data in packed.items():
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).write_bytes(data)
    words = [word.replace("/daskjob/code", str(there)) for word in runner(manifest)["args"]]
    folder = runner(manifest)["workingDir"].replace("/daskjob/code", str(there))
    paths = ":".join(str(there / path) for path in manifest["spec"]["code"]["paths"])
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "helped x\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--code", "nowhere", "scripts/train.py"], "--code nowhere: does not exist"),
        (["--code", "README.md", "scripts/train.py"], "is a file: --file sends one"),
        (["--code", "src", "scripts/train.py"], "train.py is not in the folder that is sent"),
        (["--file", "data", "scripts/train.py"], "is a folder: --code sends one"),
        (["--code-secret", "a", "scripts/train.py"], "--code-secret is for --code git+URL@COMMIT"),
        (["--code", "https://h/x", "scripts/train.py"], "write git+https://HOST/PATH@COMMIT"),
        (["--code", "pvc:code", "--file", "README.md", "scripts/train.py"], "--code names other"),
        (["--code", "pvc:code", "nb.ipynb"], "runs as a script, or as -m MODULE"),
        (["--code", "pvc:code", "run.sh"], "runs as a script of Python (.py), or as -m"),
        (["--code", "pvc:code", "../x.py"], "the script is a path inside of that code"),
    ],
)
def test_mistake_is_one_message_before_anything_is_sent(
    project: Path, words: list[str], message: str
) -> None:
    del project
    done = CliRunner().invoke(render_command, [*IMAGE, *words])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.output


def test_script_of_another_place_runs_there_with_the_settings_of_the_file_here(
    project: Path,
) -> None:
    write(project / "scripts/train.py", "# /// script\n# [tool.daskjob]\n# workers = 7\n# ///\n")
    commit = "a" * 40
    place = f"git+https://git.example/x@{commit}"
    manifest, packed, done = rendered("--code", place, "scripts/train.py", "-v")
    assert packed == {}
    assert manifest["spec"]["code"] == {
        "git": {"url": "https://git.example/x", "commit": commit},
        "paths": ["src", "."],
    }
    assert runner(manifest)["args"] == ["python", "/daskjob/code/scripts/train.py", "-v"]
    assert "files" not in manifest["spec"]["job"]
    assert manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] == 7
    assert (
        "scripts/train.py runs from https://git.example/x at commit aaaaaaaaaaaa; of the file "
        "scripts/train.py here, only the settings are used" in done.stderr
    )


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["jobs/only_there.py", "x"], ["python", "/daskjob/code/jobs/only_there.py", "x"]),
        (["-m", "lib.only_there", "x"], ["python", "-m", "lib.only_there", "x"]),
    ],
)
def test_script_that_is_only_in_another_place_needs_no_file_here(
    project: Path, words: list[str], args: list[str]
) -> None:
    del project
    manifest, _, done = rendered("--code", "pvc:code/v7", *words)
    claim = {"claimName": "code", "subPath": "v7"}
    assert manifest["spec"]["code"]["persistentVolumeClaim"] == claim
    assert runner(manifest)["args"] == args
    (worker,) = manifest["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"]
    assert worker["workingDir"] == "/daskjob/code"
    assert "runs from the claim code/v7" in done.stderr
    assert "only the settings" not in done.stderr


def test_files_that_the_script_itself_names_are_in_its_code(project: Path) -> None:
    block = '# /// script\n# [tool.daskjob]\n# files = ["data/table.csv"]\n# ///\n'
    write(project / "scripts/train.py", block + TRAIN)
    manifest, _, _ = rendered("--code", "pvc:code/v7", "scripts/train.py")
    assert "files" not in manifest["spec"]["job"]
    claim = {"claimName": "code", "subPath": "v7"}
    assert manifest["spec"]["code"]["persistentVolumeClaim"] == claim


def noise(project: Path) -> None:
    """Let the project have more than 2 MiB that cannot be compressed."""
    for number in range(3):
        (project / f"data/{number}.bin").write_bytes(os.urandom(1024 * 1024))


def test_more_than_2_mib_need_yes_and_the_message_has_the_numbers(
    project: Path, sent: Sent
) -> None:
    noise(project)
    words = [*IMAGE, "--code", ".", "scripts/train.py"]
    message = sent.fails(*words)
    assert "3,072 KiB, 3,07" in message
    assert "KiB compressed: more than 2,048 KiB, which every pod" in message
    assert "the largest: data/0.bin 1,024 KiB, data/1.bin 1,024 KiB" in message
    assert "To send it: --yes; --code git+URL@COMMIT" in message
    assert sent.manifests == []
    assert sent.command("--dry-run", "client", *words).exit_code == 0
    assert sent.command("--yes", *words).exit_code == 0
    (manifest,) = sent.manifests
    names = [item["metadata"]["name"] for item in sent.owned]
    assert len(names) == 4
    assert manifest["spec"]["code"]["configMaps"] == names


@pytest.mark.parametrize(("answer", "jobs"), [("y\n", 1), ("n\n", 0)])
def test_terminal_is_asked_whether_to_send_more_than_2_mib(
    project: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch, answer: str, jobs: int
) -> None:
    noise(project)
    monkeypatch.setattr("daskjob.submit.cli.submit._has_terminal", lambda: True)
    done = sent.command(*IMAGE, "--code", ".", "scripts/train.py", stdin=answer)
    assert "Send it? [y/N]" in done.stderr
    assert len(sent.manifests) == jobs


def test_more_than_8_mib_are_rejected_with_the_alternatives(project: Path, sent: Sent) -> None:
    for number in range(9):
        (project / f"data/{number}.bin").write_bytes(os.urandom(1024 * 1024))
    message = sent.fails(*IMAGE, "--yes", "--code", ".", "scripts/train.py")
    assert "and a job carries up to 8,192 KiB compressed; the largest: data/0.bin" in message
    assert "A .daskjobignore leaves files out; --code git+URL@COMMIT" in message


def test_large_file_that_was_asked_for_is_rejected_with_what_helps_with_a_file(
    project: Path, sent: Sent
) -> None:
    (project / "big.bin").write_bytes(os.urandom(9 * 1024 * 1024))
    message = sent.fails(*IMAGE, "--yes", "--file", "big.bin", "scripts/train.py")
    assert "carries up to 8,192 KiB compressed; the largest: big.bin 9,216 KiB" in message
    for way in ("--mount pvc:CLAIM:/path", "a URL or an object store", "--image IMAGE"):
        assert way in message
    assert ".daskjobignore" not in message


def test_data_that_the_code_names_and_git_ignores_is_one_note_with_what_helps(
    project: Path,
) -> None:
    write(project / ".gitignore", "data/\nREADME.md\n")
    *_, done = rendered("--code", ".", "scripts/train.py")
    lines = [line for line in done.stderr.splitlines() if "not sent" in line]
    assert lines == [
        "daskjob: not sent, ignored: data/ (the code names data/table.csv: scripts/train.py, "
        "line 2), README.md (--file sends one, .daskjobignore replaces .gitignore)"
    ]


def test_small_code_is_sent_after_the_job_without_a_question(project: Path, sent: Sent) -> None:
    del project
    done = sent.command(*IMAGE, "--code", ".", "scripts/train.py")
    assert done.exit_code == 0, done.output
    (manifest,), (part,) = sent.manifests, sent.owned
    name = manifest["metadata"]["name"]
    assert part["metadata"]["name"].startswith(f"{name}-code-")


def test_folder_of_pythonpath_may_be_above_the_current_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project.parent / "shared/helpers.py", "")
    write(project / "scripts/train.py", "import helpers")
    monkeypatch.setenv("PYTHONPATH", "../shared")
    for words in (["scripts/train.py"], ["--code", ".", "--file", "data/table.bin"]):
        manifest, packed, _ = rendered(*words, *(["scripts/train.py"] if len(words) > 1 else []))
        names = packed or manifest["spec"]["job"]["files"]
        assert "helpers.py" in names


def test_script_of_uv_is_a_script_of_python(project: Path) -> None:
    path = project / "scripts/tool"
    write(path, "#!/usr/bin/env -S uv run --quiet --script\nimport near\n")
    write(project / "scripts/near.py", "")
    path.chmod(0o755)
    manifest, _, _ = rendered("scripts/tool")
    assert runner(manifest)["args"] == ["python", "/daskjob/files/tool"]
    assert sorted(manifest["spec"]["job"]["files"]) == ["near.py", "tool"]


def test_data_that_a_notebook_names_is_reported(project: Path) -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": "print(open('data/table.csv').read())"}
    write(project / "a.ipynb", json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))
    _, _, done = rendered("a.ipynb")
    assert "not sent: data/table.csv (a.ipynb, line 1). If the job reads them" in done.stderr
