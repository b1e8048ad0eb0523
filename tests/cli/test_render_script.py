"""``daskjob render SCRIPT``: the DaskJob for a cluster, its settings and their mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cli.manifests import render_command
from tests.cli.command import Daskjob, job

IMAGE = ("--image", "example.org/dask:1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder; commands that need no process of their own run in this one."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def in_process(*words: object) -> Result:
    return CliRunner().invoke(render_command, [str(word) for word in words])


def rendered(daskjob: Daskjob, *words: object, **more: Any) -> dict[str, Any]:
    done = daskjob("render", *words, **more)
    assert done.code == 0, done.err
    manifest: dict[str, Any] = yaml.safe_load(done.text)
    parse(DaskJob, manifest)
    return manifest


def memory(manifest: dict[str, Any]) -> str:
    worker = manifest["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"][0]
    found: str = worker["resources"]["limits"]["memory"]
    return found


def runner(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["job"]["spec"]["containers"][0]
    return found


BLOCK = """\
# /// script
# dependencies = ["dask", "distributed"]
# [tool.daskjob]
# {}
# ///
print(1)
"""


def test_setting_is_of_the_flag_the_script_the_profile_the_project_the_user(
    daskjob: Daskjob,
) -> None:
    plain = daskjob.script("print(1)", "plain.py")
    script = daskjob.script(BLOCK.format('memory = "4Gi"'))
    user = {"DASK_DASKJOB__MEMORY": "1Gi"}
    assert memory(rendered(daskjob, plain)) == "2Gi"
    assert memory(rendered(daskjob, plain, env=user)) == "1Gi"
    (daskjob.work / "pyproject.toml").write_text(
        '[tool.daskjob]\nmemory = "3Gi"\n[tool.daskjob.profiles.big]\nmemory = "32Gi"\n'
    )
    assert memory(rendered(daskjob, plain, env=user)) == "3Gi"
    assert memory(rendered(daskjob, "--profile", "big", plain, env=user)) == "32Gi"
    assert memory(rendered(daskjob, "--profile", "big", script, env=user)) == "4Gi"
    done = daskjob("render", "--origins", "--memory", "5GiB", script, env=user)
    assert memory(yaml.safe_load(done.text)) == "5Gi"
    assert "# memory            5Gi" in done.text
    assert "--memory" in done.text


def test_user_may_have_a_file_of_dasks_configuration(daskjob: Daskjob) -> None:
    folder = daskjob.home / ".config/dask"
    folder.mkdir(parents=True)
    (folder / "daskjob.yaml").write_text("daskjob:\n  memory: 7Gi\n  env: {A: 1}\n")
    manifest = rendered(daskjob, daskjob.script("pass"))
    assert memory(manifest) == "7Gi"
    assert {"name": "A", "value": "1"} in runner(manifest)["env"]
    (folder / "daskjob.yaml").write_text("daskjob:\n  memroy: 7Gi\n")
    done = daskjob("render", daskjob.script("pass"))
    assert done.code == 2
    assert "did you mean 'memory'?" in done.err


def test_default_image_has_the_versions_of_this_environment(daskjob: Daskjob) -> None:
    import sys
    from importlib.metadata import version

    manifest = rendered(daskjob, daskjob.script("pass"))
    tag = f"{version('dask')}-py{sys.version_info[0]}.{sys.version_info[1]}"
    assert runner(manifest)["image"] == f"ghcr.io/dask/dask:{tag}"
    done = daskjob("render", "--image", "ghcr.io/dask/dask:2023.1.0-py3.8", daskjob.script("pass"))
    assert "the image has Python 3.8, this environment has" in done.err
    assert f"the image has dask 2023.1.0, this environment has {version('dask')}" in done.err


def test_rendered_tree_runs_with_its_modules_and_files(daskjob: Daskjob) -> None:
    folder = daskjob.work / "project"
    (folder / "lib/sub").mkdir(parents=True)
    (folder / "lib/__init__.py").touch()
    (folder / "lib/sub/__init__.py").write_text("from ..base import NAME")
    (folder / "lib/base.py").write_text("NAME = 'from the tree'")
    (folder / "data.txt").write_text("words")
    (folder / "main.py").write_text(
        "import sys\nfrom lib.sub import NAME\n"
        "from pathlib import Path\nhere = Path(__file__)\n"
        "print(NAME, (here.parent / 'data.txt').read_text(), sys.argv[1:], here.name)\n"
    )
    text = daskjob(
        "render", *IMAGE, "--file", folder / "data.txt", folder / "main.py", "$(HOME)"
    ).text
    for path in folder.rglob("*.py"):
        path.unlink()
    path = daskjob.work / "job.yaml"
    path.write_text(text)
    done = daskjob.run(path)
    assert (done.code, done.text) == (0, "from the tree words ['$(HOME)'] main.py\n"), done.err


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["a.py", "x"], ["python", "/daskjob/files/a.py", "x"]),
        (["python", "-O", "a.py"], ["python", "-O", "/daskjob/files/a.py"]),
        (["-m", "a", "x"], ["python", "-m", "a", "x"]),
        (["python", "-m", "a"], ["python", "-m", "a"]),
        (["app", "x"], ["python", "/daskjob/files", "x"]),
        (["pkg"], ["python", "-m", "pkg"]),
        (["run.sh", "x"], ["sh", "/daskjob/files/run.sh", "x"]),
        (["python", "-c", "import a"], ["python", "-c", "import a"]),
    ],
)
def test_ways_of_python_are_those_of_the_cluster(
    here: Path, words: list[str], args: list[str]
) -> None:
    (here / "a.py").write_text("print(1)")
    for folder in ("app", "pkg"):
        (here / folder).mkdir()
        (here / folder / "__main__.py").write_text("print(1)")
    (here / "pkg/__init__.py").touch()
    (here / "run.sh").write_text("#!/usr/bin/env sh\n")
    (here / "run.sh").chmod(0o755)
    done = in_process(*IMAGE, *words)
    assert done.exit_code == 0, done.output
    manifest = yaml.safe_load(done.stdout)
    assert runner(manifest)["args"] == args
    assert manifest["spec"]["job"]["files"]


def test_package_that_runs_as_a_folder_finds_the_modules_in_it(here: Path) -> None:
    (here / "pkg").mkdir()
    for name, text in (("__init__", ""), ("__main__", "import inner"), ("inner", "")):
        (here / f"pkg/{name}.py").write_text(text)
    manifest = yaml.safe_load(in_process(*IMAGE, "pkg").stdout)
    assert sorted(manifest["spec"]["job"]["files"]) == [
        *("inner.py", "pkg--__init__.py", "pkg--__main__.py")
    ]


def test_notebook_and_standard_input_are_sent_as_files(daskjob: Daskjob) -> None:
    cells = [{"cell_type": "code", "source": ["import helper\n", "print(helper.x)"]}]
    daskjob.script(json.dumps({"cells": cells, "metadata": {}}), "book.ipynb")
    daskjob.script("x = 'of the notebook'", "helper.py")
    manifest = rendered(daskjob, *IMAGE, "book.ipynb", "1")
    assert sorted(manifest["spec"]["job"]["files"]) == ["book.ipynb", "helper.py"]
    assert runner(manifest)["args"][-2:] == ["/daskjob/files/book.ipynb", "1"]
    path = daskjob.manifest(manifest)
    os.rename(daskjob.work / "helper.py", daskjob.work / "gone")
    done = daskjob.run(path)
    assert (done.code, done.text) == (0, "of the notebook\n"), done.err
    manifest = rendered(daskjob, *IMAGE, "-", "2", input=b"print('of stdin')")
    assert manifest["spec"]["job"]["files"] == {"stdin.py": "print('of stdin')"}
    assert runner(manifest)["args"] == ["python", "/daskjob/files/stdin.py", "2"]


def test_file_of_variables_is_named_and_never_printed(daskjob: Daskjob) -> None:
    path = daskjob.script("PASSWORD=hunter2\n", ".env")
    done = daskjob("render", *IMAGE, "--env-file", path, daskjob.script("pass"))
    assert "hunter2" not in done.text + done.err
    name = f"{yaml.safe_load(done.text)['metadata']['name']}-env"
    assert runner(yaml.safe_load(done.text))["envFrom"] == [{"secretRef": {"name": name}}]
    assert f"kubectl create secret generic {name} --from-env-file={path}" in done.err


def test_flag_of_a_variable_without_a_value_takes_that_of_here(daskjob: Daskjob) -> None:
    script = daskjob.script("pass")
    manifest = rendered(daskjob, *IMAGE, "-e", "MODE", script, env={"MODE": "fast"})
    assert {"name": "MODE", "value": "fast"} in runner(manifest)["env"]
    done = daskjob("render", *IMAGE, "-e", "GONE", script)
    assert done.code == 2
    assert "GONE is not set in this environment; write GONE=VALUE" in done.err


def test_manifest_is_changed_by_flags_before_its_objects_are_printed(daskjob: Daskjob) -> None:
    path = daskjob.manifest(job("pass", name="sums", workers=2))
    done = daskjob("render", "--workers", "3", "--image", "new", path)
    assert done.code == 0, done.err
    found = list(yaml.safe_load_all(done.text))
    workers = [o for o in found if o["kind"] == "Pod" and "-worker-" in o["metadata"]["name"]]
    assert [pod["spec"]["containers"][0]["image"] for pod in workers] == ["new"] * 3
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    both = daskjob.script(f"{path.read_text()}\n---\n{json.dumps(config)}", "both.yaml")
    done = daskjob("render", "--workers", "1", both)
    assert list(yaml.safe_load_all(done.text))[-1] == config
    done = daskjob("render", path, "--memory", "4Gi")
    assert done.code == 2
    assert "a manifest takes no arguments: --memory 4Gi" in done.err
    done = daskjob("render", "--file", "x", path)
    assert done.code == 2
    assert "--file is for a script" in done.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memory", "4"], "'4': did you mean 4Gi?"),
        (["--memory", "4X"], "write a size such as 512Mi, 4Gi or 4G"),
        (["--cpu", "two"], "did you mean '2'?"),
        (["--workers", "-1"], "from 0 to 10000"),
        (["--adapt", "10:2"], "2:10, not 10:2"),
        (["--group", "big:memroy=4Gi"], "did you mean 'memory'?"),
        (["--mount", "nfs:a:/b"], "write one of pvc:NAME:/path"),
        (["--secret", "A_B"], "write NAME[:KEY=ENV]"),
        (["--toleration", "a:Never"], "write the effect as one of"),
        (["--label", "a"], "'a': write KEY=VALUE"),
        (["-e", "3=4"], "write a variable's name"),
        (["--env-file", "nowhere"], "--env-file nowhere cannot be read: No such file"),
        (["--file", "nowhere"], "nowhere: does not exist"),
        (["--profile", "gpu"], "there is no profile 'gpu'"),
        (["--set", "spec.stallActon=Fail"], "did you mean 'stallAction'?"),
        (["--set", "spec.minAvailableWorkers=5"], "minAvailableWorkers: 5 is not allowed"),
        (["--set", "spec.job.spec.containers[0].resources.limits.cpu=many"], "is not allowed"),
        (["--name", "A"], "write 1 to 63 characters"),
        (["--ttl", "0"], "at least 1 s"),
        (["--memroy", "4Gi"], "--memory"),
        (["--run-as-user", "root"], "write a user's number above 0"),
    ],
)
def test_mistake_in_a_flag_is_one_message_with_the_fix_and_exit_2(
    here: Path, flags: list[str], message: str
) -> None:
    (here / "a.py").write_text("pass")
    done = in_process(*flags, "a.py")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.output
    assert done.output.count("Error:") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BLOCK.format("memory = 4"), "[tool.daskjob] of a.py: memory: 4: did you mean 4Gi?"),
        (BLOCK.format("memroy = 4"), "there is no setting 'memroy'; did you mean 'memory'?"),
        (BLOCK.format("name = 'a'"), "'name' is for one submission; write it as the flag --name"),
        (BLOCK.format("memory"), "its block '# /// script' is not TOML"),
        (BLOCK.format("profile = 'x'"), "there is no profile 'x'"),
    ],
)
def test_mistake_in_a_script_is_one_message_and_exit_2(here: Path, text: str, message: str) -> None:
    (here / "a.py").write_text(text)
    done = in_process("a.py")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.output


def test_mistakes_end_a_process_with_2_and_no_traceback(daskjob: Daskjob) -> None:
    script = daskjob.script(BLOCK.format("memory = 4"))
    for words in (["--memory", "4X"], [], ["--set", "spec.x=1", "--memory", "4Gi"]):
        done = daskjob("render", *IMAGE, *words, script)
        assert (done.code, done.out) == (2, b"")
        assert "Traceback" not in done.err


def test_large_job_names_the_flag_that_kubectl_needs(here: Path) -> None:
    (here / "a.py").write_text("#" * 300_000)
    done = in_process(*IMAGE, "a.py")
    assert done.exit_code == 0
    assert "only with --server-side" in done.stderr


def test_help_lists_settings_by_topic() -> None:
    text = in_process("--help").stdout
    places = [text.index(heading) for heading in ("Options:", "Workers:", "Pods:", "Job:")]
    assert places == sorted(places)
    assert text.isascii()
    assert "[ARGS]" not in text[places[0] :]


def test_environment_that_is_active_chooses_the_image(daskjob: Daskjob, tmp_path: Path) -> None:
    packages = tmp_path / "venv/lib/python3.13/site-packages"
    for name in ("dask-2025.3.0", "distributed-2025.3.0"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    manifest = rendered(
        daskjob, daskjob.script("pass"), env={"VIRTUAL_ENV": str(tmp_path / "venv")}
    )
    assert runner(manifest)["image"] == "ghcr.io/dask/dask:2025.3.0-py3.13"
