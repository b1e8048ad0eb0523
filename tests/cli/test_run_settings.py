"""The settings of ``daskjob run``: of flags, a script's block, profiles, its project, the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cli.manifests import render_command
from daskjob.submit.cli.run_options import RunOptions, Wanted
from daskjob.submit.cli.run_script import script_run
from daskjob.submit.settings.table import LOCAL, SETTINGS, UNREPORTED
from tests.cli.command import Daskjob

BLOCK = """\
# /// script
# [tool.daskjob]
# workers = 3
# memory = "1Gi"
# cpu = 2
# retries = 2
# env = {MODE = "script", PATTERN = "$(HOME)"}
# image = "ghcr.io/dask/dask:latest"
# mounts = ["pvc:data:/data"]
# set = {"spec.stallAction" = "Fail"}
# ///
print("done")
"""
PROJECT = """\
[tool.daskjob]
workers = 5
deadline = "5m"
attempt-deadline = "90s"
env = {MODE = "project", OTHER = "project"}
[tool.daskjob.profiles.big]
deadline = "2h"
memory = "2Gi"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "DASK_SCHEDULER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "sums.py").write_text(BLOCK)
    return tmp_path


def wanted(word: str = "sums.py", *, module: bool = False, **given: Any) -> Wanted:
    """Return what a command line runs."""
    options = {
        **dict.fromkeys(
            ("workers", "threads", "memory", "name", "retries", "timeout", "python", "output")
        ),
        **{"env": (), "result_file": None, "quiet": True, "worker_output": True},
        **given,
    }
    found = script_run(word, (), RunOptions(**options), module=module, code=False)
    parse(DaskJob, {**found.manifest, "metadata": {"name": "x"}})
    return found


def worker(found: Wanted) -> dict[str, Any]:
    """Return the workers of a run."""
    part: dict[str, Any] = found.manifest["spec"]["cluster"]["spec"]["worker"]
    return part


def arguments(found: Wanted) -> list[str]:
    args: list[str] = worker(found)["spec"]["containers"][0]["args"]
    return args


def variables(found: Wanted) -> dict[str, str | None]:
    """Return the values of variables in the manifest; ``None``: it has only the name."""
    container = found.manifest["spec"]["job"]["spec"]["containers"][0]
    return {item["name"]: item.get("value") for item in container["env"]}


@pytest.mark.usefixtures("project")
def test_a_script_is_more_important_than_its_project() -> None:
    found = wanted()
    spec = found.manifest["spec"]
    assert worker(found)["replicas"] == 3
    assert arguments(found)[2:] == ["--nthreads", "2", "--memory-limit", "1Gi"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (2, 300)
    assert (spec["attemptDeadlineSeconds"], spec["stallAction"]) == (90, "Fail")
    assert variables(found)["MODE"] == "script"
    assert variables(found)["OTHER"] == "project"
    # Kubernetes would expand it.
    assert variables(found)["PATTERN"] == "$$(HOME)"


@pytest.mark.usefixtures("project")
def test_flags_are_more_important_than_a_script() -> None:
    flags: dict[str, Any] = {
        "workers": 1,
        "threads": 4,
        "memory": "134217728",
        "retries": 0,
        "timeout": 60,
    }
    found = wanted(**flags, env=(("MODE", "flag"),))
    spec = found.manifest["spec"]
    assert worker(found)["replicas"] == 1
    assert arguments(found)[2:] == ["--nthreads", "4", "--memory-limit", "134217728"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 60)
    # The value of a flag is in no manifest.
    assert variables(found)["MODE"] is None
    assert found.variables == {"MODE": "flag"}


@pytest.mark.usefixtures("project")
def test_a_profile_is_between_script_and_project() -> None:
    found = wanted(profile="big")
    assert found.manifest["spec"]["activeDeadlineSeconds"] == 7200
    assert arguments(found)[-1] == "1Gi"
    with pytest.raises(click.UsageError, match="did you mean 'big'"):
        wanted(profile="bog")


def test_settings_of_the_user_are_the_least_important(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"daskjob": {"workers": 9, "startup_deadline": "1h", "service_account": "batch"}}
    for module in ("cli.run_script", "settings_places"):
        monkeypatch.setattr(f"daskjob.submit.{module}.dask_config", lambda _: own)
    found = wanted()
    assert worker(found)["replicas"] == 3
    assert found.manifest["spec"]["startupDeadlineSeconds"] == 3600
    # A user knows their own defaults: not every run reports them.
    assert not any("service-account" in note for note in found.notes)
    (project / "pyproject.toml").unlink()
    (project / "sums.py").write_text("print(1)\n")
    assert worker(wanted())["replicas"] == 9


@pytest.mark.usefixtures("project")
def test_as_many_workers_as_asked_for_with_a_note_if_they_are_too_many_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daskjob.submit.cli.run_script.cpu_count", lambda: 1)
    note = (
        "the settings ask for 3 workers, which share 1 processor here: --workers N starts fewer",
    )
    assert wanted().notes[-1:] == note
    assert worker(wanted())["replicas"] == 3
    # Who asks for it by the flag knows it.
    assert wanted(workers=3).notes[-1:] != note
    monkeypatch.setattr("daskjob.submit.cli.run_script.cpu_count", lambda: 2)
    assert wanted().notes[-1:] != note


def test_what_only_a_cluster_has_is_said_once_by_name(project: Path) -> None:
    assert [note for note in wanted().notes if "not on this machine" in note] == [
        "not on this machine: image (this Python runs instead), mounts"
    ]
    quiet = 'files = ["a"]\nnamespace = "team"\nlabels = {a = "b"}\ncode = "."\n'
    (project / "pyproject.toml").write_text(f"[tool.daskjob]\n{quiet}")
    (project / "sums.py").write_text("print(1)\n")
    assert wanted().notes == ()
    code = 'code = "pvc:code"'
    (project / "pyproject.toml").write_text(f"[tool.daskjob]\n{code}\n")
    assert wanted().notes == ("not on this machine: code (the files of this machine run instead)",)


def test_each_setting_is_used_reported_or_meaningless_here() -> None:
    assert {*LOCAL, *UNREPORTED} <= set(SETTINGS)
    assert not {*LOCAL} & {*UNREPORTED}


def test_bounds_scale_the_workers_up_to_the_processors(project: Path) -> None:
    (project / "sums.py").write_text('# /// script\n# [tool.daskjob]\n# adapt = "0:800"\n# ///\n')
    found = worker(wanted())
    assert found["replicas"] == 1
    assert found["autoscaling"]["minimum"] == 0
    assert 1 <= found["autoscaling"]["maximum"] < 800
    assert "autoscaling" not in worker(wanted(workers=2))
    both = '# /// script\n# [tool.daskjob]\n# adapt = "0:2"\n# workers = 2\n# ///\n'
    (project / "sums.py").write_text(both)
    assert worker(wanted())["replicas"] == 2


def test_a_file_of_variables_is_read_and_its_values_are_not_in_the_manifest(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.daskjob]\nenv-file = ".env"\n')
    with pytest.raises(click.UsageError, match=r"--env-file \.env cannot be read"):
        wanted()
    (project / ".env").write_text("KEY=hidden\nMODE=file\n")
    found = wanted()
    assert variables(found)["KEY"] is None
    assert variables(found)["MODE"] == "script"
    assert found.variables == {"KEY": "hidden"}


@pytest.mark.parametrize("word", ["package", "folder", "-m module", "-m package", "-m lib.tool"])
def test_modules_and_folders_have_the_settings_of_their_files(project: Path, word: str) -> None:
    (project / "sums.py").rename(project / "module.py")
    for path in ("package/__main__.py", "folder/__main__.py", "src/lib/tool.py"):
        (project / path).parent.mkdir(parents=True)
        (project / path).write_text(BLOCK)
    for path in ("package", "src/lib"):
        (project / path / "__init__.py").touch()
    name = word.removeprefix("-m ")
    found = wanted(name, module=name != word)
    assert worker(found)["replicas"] == 3
    assert variables(found)["OTHER"] == "project"
    done = CliRunner().invoke(render_command, ["--image", "example.org/dask:1", *word.split()])
    assert done.exit_code == 0, done.output
    manifest = list(yaml.safe_load_all(done.stdout))[-1]
    assert manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] == 3
    assert manifest["spec"]["backoffLimit"] == 2


def test_unknown_and_wrong_settings_are_rejected_before_anything_starts(daskjob: Daskjob) -> None:
    path = daskjob.script(BLOCK.replace("retries", "retires").replace("1Gi", "1"), "sums.py")
    done = daskjob("run", path)
    assert done.code == 2
    assert "there is no setting 'retires'; did you mean 'retries'?" in done.err
    assert "memory: '1': did you mean 1Gi?" in done.err
    assert not daskjob.state.exists()
    daskjob.work.joinpath("job.yaml").write_text("kind: DaskJob\n")
    done = daskjob("run", "--profile", "big", "job.yaml")
    assert done.code == 2
    assert "--profile is for scripts" in done.err


def test_a_script_of_standard_input_has_its_settings(daskjob: Daskjob) -> None:
    text = '# /// script\n# [tool.daskjob]\n# workers = 0\n# env = {MODE = "in"}\n# ///\n'
    text += "import os, sys\nprint(os.environ['MODE'], repr(sys.stdin.read()))\n"
    done = daskjob("run", "--no-install", "-o", "json", "-", input=text.encode())
    assert done.code == 0, done.err
    assert "in ''" in done.err
    assert done.object()["spec"]["cluster"]["spec"]["worker"]["replicas"] == 0


def test_module_that_nothing_here_has_is_named_before_the_start(project: Path) -> None:
    (project / "src/sales").mkdir(parents=True)
    (project / "src/sales/__init__.py").write_text("import os, humanize_x\n")
    (project / "src/sales/__main__.py").write_text("")
    (project / "uses.py").write_text("import sales\n")
    (project / "folder").mkdir()
    (project / "folder/__main__.py").write_text("import sales\n")
    for word, module in (("uses.py", False), ("folder", False), ("sales", True)):
        [note] = [note for note in wanted(word, module=module).notes if "imported" in note]
        assert note.startswith(
            "imported, and found neither beside the script nor installed here: humanize_x. Name"
        )
    assert "imported" not in str(wanted().notes)
