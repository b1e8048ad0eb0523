"""``daskjob run`` installs what its Python lacks, once, for script, scheduler and workers."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command import Daskjob, Done
from tests.in_pod.wheels import wheel

SCRIPT = """\
# /// script
# dependencies = [{dependencies}]
# [tool.daskjob]
# find-links = "{wheels}"
# ///
import json, os, pathlib, subprocess, sys
from distributed import Client, LocalCluster

import shapes

def version():
    import colours, shapes
    return [shapes.VERSION, colours.VERSION, shapes.__file__]

if __name__ == "__main__":
    with {cluster} as client:
        found = {{
            "script": version(),
            "worker": client.submit(version, pure=False).result(),
            "scheduler": client.run_on_scheduler(version),
        }}
    child = [sys.executable, "-c", "import shapes; print(shapes.VERSION)"]
    found["child"] = subprocess.run(child, capture_output=True, text=True).stdout
    pathlib.Path(os.environ["DASKJOB_RESULT_FILE"]).write_text(json.dumps(found))
"""


@pytest.fixture
def wheels(daskjob: Daskjob) -> Path:
    folder = daskjob.folder / "wheels"
    wheel(folder, "shapes", "1.0", ["colours>=1"])
    wheel(folder, "colours", "2.0")
    wheel(folder, "old-dask-tool", "1.0", ["dask<2000"])
    return folder


def script(daskjob: Daskjob, wheels: Path, *dependencies: str, cluster: str = "Client()") -> Path:
    listed = ", ".join(json.dumps(item) for item in dependencies)
    text = SCRIPT.format(dependencies=listed, wheels=wheels, cluster=cluster)
    return daskjob.script(text, "sums.py")


def result(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    found = done.object()["status"]["result"]
    assert isinstance(found, dict)
    return found


def overlays(daskjob: Daskjob) -> list[Path]:
    root = daskjob.home / ".cache" / "daskjob" / "overlays"
    return [path for path in root.iterdir() if path.is_dir()] if root.exists() else []


@pytest.mark.parametrize("cluster", ["Client()", "LocalCluster(n_workers=1).get_client()"])
def test_all_processes_of_a_script_have_its_packages(
    daskjob: Daskjob, wheels: Path, cluster: str
) -> None:
    path = script(daskjob, wheels, "shapes", cluster=cluster)
    done = daskjob("run", "-w", 1, "-o", "json", path)
    found = result(done)
    (folder,) = overlays(daskjob)
    expected = ["1.0", "2.0", str(folder / "shapes.py")]
    assert [found["script"], found["worker"], found["scheduler"]] == [expected] * 3
    assert found["child"] == "1.0\n"
    assert "daskjob: installing 2 packages" in done.messages


def test_the_second_run_and_a_retry_use_the_same_overlay(daskjob: Daskjob, wheels: Path) -> None:
    path = script(daskjob, wheels, "shapes")
    first = daskjob("run", "-w", 1, "-o", "json", "--name", "sums", path)
    # A newer version that a lock does not want.
    wheel(wheels, "colours", "3.0")
    again = daskjob("run", "--like", "sums", "-o", "json")
    assert result(again) == result(first)
    assert not any("installing" in message for message in again.messages)
    assert len(overlays(daskjob)) == 1
    other = daskjob("run", "-w", 1, "-o", "json", path)
    assert result(other)["worker"][1] == "3.0"
    assert len(overlays(daskjob)) == 2


def test_a_script_whose_packages_are_there_installs_nothing(daskjob: Daskjob) -> None:
    text = (
        "# /// script\n# dependencies = ['click>=1', 'dask[distributed]']\n# ///\nprint('done')\n"
    )
    # Without uv and without an index: nobody is asked.
    done = daskjob("run", "-w", 0, daskjob.script(text, "plain.py"), env={"PATH": "/nowhere"})
    assert (done.code, done.text) == (0, "done\n"), done.err
    assert not overlays(daskjob)


def test_packages_of_flags_are_installed(daskjob: Daskjob, wheels: Path) -> None:
    path = daskjob.script("import colours\nprint(colours.VERSION)\n", "flags.py")
    project = daskjob.work / "pyproject.toml"
    project.write_text(f'[tool.daskjob]\nfind-links = "{wheels}"\n')
    assert daskjob("run", "-w", 0, "--with", "colours", path).text == "2.0\n"
    requirements = daskjob.work / "requirements.txt"
    requirements.write_text("colours==2.0\n")
    assert daskjob("run", "-w", 0, "--requirements", requirements, path).text == "2.0\n"


def test_no_install_is_a_note(daskjob: Daskjob, wheels: Path) -> None:
    done = daskjob("run", "-w", 0, "--no-install", script(daskjob, wheels, "shapes"))
    assert done.code == 1
    assert any("sums.py declares shapes, which" in message for message in done.messages)
    assert "No module named 'shapes'" in done.verdict
    assert not overlays(daskjob)


@pytest.mark.parametrize("words", [("--with", "shapes"), ("--requirements", "wanted.txt")])
def test_packages_of_flags_beside_no_install_are_rejected(
    daskjob: Daskjob, words: tuple[str, str]
) -> None:
    done = daskjob("run", "--no-install", *words, daskjob.script("print(1)\n", "one.py"))
    assert done.code == 2
    assert f"{words[0]} installs packages, --no-install does not: leave out one" in done.err
    assert not daskjob.state.exists()


def test_a_script_without_a_file_has_its_packages(daskjob: Daskjob, wheels: Path) -> None:
    lines = ['dependencies = ["colours"]', "[tool.daskjob]", f'find-links = "{wheels}"']
    block = "".join(f"{line}\n" for line in ("# /// script", *(f"# {x}" for x in lines), "# ///"))
    text = block + "import colours, sys\nprint(colours.VERSION, sys.argv[1:], sys.stdin.read())\n"
    done = daskjob("run", "-w", 0, "-", "a", input=text.encode())
    assert (done.code, done.text) == (0, "2.0 ['a'] \n"), done.err
    done = daskjob("run", "-w", 0, "-c", text, "a")
    assert (done.code, done.text) == (0, "2.0 ['a'] \n"), done.err


def test_packages_are_for_one_run_where_there_is_no_cache(daskjob: Daskjob, wheels: Path) -> None:
    cache = daskjob.work / "cache"
    cache.touch()
    path = daskjob.script("import colours\nprint(colours.VERSION)\n", "flags.py")
    (daskjob.work / "pyproject.toml").write_text(f'[tool.daskjob]\nfind-links = "{wheels}"\n')
    words = ["run", "-w", 0, "--with", "colours", path]
    done = daskjob(*words, env={"XDG_CACHE_HOME": str(cache)})
    assert (done.code, done.text) == (0, "2.0\n"), done.err
    assert sum("are installed for this run only" in line for line in done.messages) == 1


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        (
            ["nosuchpackage"],
            "sums.py): there is no such package in ",
        ),
        (["shapes", "old-dask-tool"], "need another dask"),
    ],
)
def test_packages_that_cannot_be_had_are_an_error_before_anything_starts(
    daskjob: Daskjob, wheels: Path, dependencies: list[str], message: str
) -> None:
    done = daskjob("run", "-w", 1, script(daskjob, wheels, *dependencies))
    assert done.code == 125
    assert message in done.err
    assert not list(daskjob.state.glob("*")) or daskjob("list").text.count("sums") == 0


def test_another_python_is_an_error_before_anything_starts(daskjob: Daskjob) -> None:
    text = "# /// script\n# requires-python = '>=3.99'\n# ///\n"
    done = daskjob("run", daskjob.script(text, "newer.py"))
    assert done.code == 125
    assert "newer.py requires Python >=3.99" in done.err
    assert "choose another Python: --python" in done.err


def test_ctrl_c_ends_an_installation(daskjob: Daskjob) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/simple/"
        path = daskjob.script("print('never')\n", "slow.py")
        requirements = daskjob.work / "requirements.txt"
        requirements.write_text(f"--index-url {url}\ncolours==2.0\n")
        process = daskjob.start("run", "-w", 0, "--requirements", requirements, path)
        server.settimeout(30)
        connection, _ = server.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert out == b""
    assert process.returncode == 123
    assert err.startswith(b"daskjob: cancelled before ")
    assert err.endswith(b"slow.py was started\n")


def test_a_notebook_has_its_packages_and_its_code(daskjob: Daskjob, wheels: Path) -> None:
    lines = ['dependencies = ["shapes"]', "[tool.daskjob]", f'find-links = "{wheels}"']
    block = "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///"])
    (daskjob.work / "helper.py").write_text("import colours\nVERSION = colours.VERSION\n")
    sources = [block, "import helper, shapes\nprint(shapes.VERSION, helper.VERSION)"]
    cells = [{"cell_type": "code", "source": source, "metadata": {}} for source in sources]
    path = daskjob.script(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}), "nb.ipynb")
    done = daskjob("run", "-w", 0, path)
    assert (done.code, done.text) == (0, "1.0 2.0\n"), done.err


def test_packages_of_flags_are_for_scripts(daskjob: Daskjob) -> None:
    path = manifest(daskjob, ["python", "-c", "print(1)"])
    done = daskjob("run", "--with", "colours", path)
    assert (done.code, "--with is for scripts" in done.err) == (2, True)
    done = daskjob("run", "--requirements", "wanted.txt", "--like", "sums")
    assert (done.code, "--requirements is for scripts" in done.err) == (2, True)
    assert not daskjob.state.exists()


# Manifests


def manifest(daskjob: Daskjob, command: list[str], *others: Any, **spec: Any) -> Path:
    def pod(*args: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "main", "args": list(args)}]}}

    job = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "sums"},
        "spec": {
            "backoffLimit": 0,
            "job": pod(*command),
            "cluster": {
                "spec": {
                    "scheduler": pod("dask", "scheduler"),
                    "worker": {"replicas": 1, **pod("dask", "worker")},
                }
            },
            **spec,
        },
    }
    path = daskjob.work / "job.yaml"
    path.write_text(yaml.safe_dump_all([job, *others]))
    return path


MAIN = """\
import os, mine
from distributed import Client
with Client() as client:
    print(os.path.basename(os.getcwd()), client.submit(mine.version).result())
"""


def archive() -> str:
    buffer = io.BytesIO()
    texts = {
        "main.py": MAIN,
        "src/mine.py": "import colours\ndef version():\n    return colours.VERSION\n",
    }
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_manifest_has_its_packages_and_its_code(daskjob: Daskjob, wheels: Path) -> None:
    code = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "code"}}
    path = manifest(
        daskjob,
        ["python", "main.py"],
        {**code, "binaryData": {"part": archive()}},
        environment={"requirements": ["colours==2.0"], "findLinks": str(wheels)},
        code={"configMaps": ["code"], "paths": ["src"]},
    )
    done = daskjob("run", path)
    assert (done.code, done.text) == (0, "code 2.0\n"), done.err
    assert "daskjob: sums: installing 1 package" in done.messages


def test_a_manifest_whose_packages_cannot_be_had_ends_as_environment_failed(
    daskjob: Daskjob, wheels: Path
) -> None:
    environment = {"requirements": ["nosuchpackage==1.0"], "findLinks": str(wheels)}
    path = manifest(daskjob, ["python", "-c", "print('never')"], environment=environment)
    done = daskjob("run", "-o", "json", path)
    status = done.object()["status"]
    assert (status["reason"], status["attempts"][0]["reason"]) == ("EnvironmentFailed",) * 2
    assert "nosuchpackage cannot be installed" in status["message"]
    assert "never" not in done.err
    assert "nosuchpackage" in daskjob("why", "sums").text


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({"configMaps": ["code"]}, "there is no ConfigMap 'code' in the file"),
        ({"git": {"url": "https://h/x", "commit": "0" * 40, "secretName": "s"}}, "no Secret 's'"),
    ],
)
def test_what_the_file_lacks_is_named_before_anything_starts(
    daskjob: Daskjob, code: dict[str, Any], message: str
) -> None:
    done = daskjob("run", manifest(daskjob, ["python", "main.py"], code=code))
    assert done.code == 125
    assert message in done.err


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            {"persistentVolumeClaim": {"claimName": "data"}},
            "the code of the PersistentVolumeClaim data",
        ),
        ({"image": "team/code:1"}, "the code of the image team/code:1"),
    ],
)
def test_code_that_a_machine_does_not_have_is_named(
    daskjob: Daskjob, code: dict[str, Any], message: str
) -> None:
    done = daskjob("run", manifest(daskjob, ["python", "-c", "print(1)"], code=code))
    assert done.code == 0, done.err
    assert any(message in note for note in done.messages if "not on this machine" in note)


def test_ctrl_c_cancels_a_manifest_while_its_packages_are_installed(daskjob: Daskjob) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/simple/"
        environment = {"requirements": ["colours==2.0"], "indexURLs": [url]}
        path = manifest(daskjob, ["python", "-c", "print('never')"], environment=environment)
        process = daskjob.start("run", path)
        server.settimeout(30)
        connection, _ = server.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (123, b"")
    assert "was cancelled by Ctrl-C" in daskjob("why", "sums").text
