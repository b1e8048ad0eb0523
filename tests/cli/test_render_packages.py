"""``daskjob render`` and ``submit --dry-run`` with packages: from an index on loopback."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from daskjob.core.connection_advice import advice
from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cli.manifests import render_command
from daskjob.submit.cli.submit import submit_command
from tests.cli.command import Daskjob, finish
from tests.docs.documents import ROOT
from tests.submit.package_index import Index, hash_of, serving, variables_for
from tests.waiting import wait_until

IMAGE = ("--image", "ghcr.io/dask/dask:2026.8.0-py3.12")
SCRIPT = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["tiny<2", "dask"]
# [tool.daskjob]
# packages = ["toolz"]
# ///
import tiny
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serving(Index(folder)) as found:
        found.add("tiny", "1.0")
        found.add("tiny", "2.0")
        found.add("toolz", "1.2")
        found.add("dask", "2026.8.0")
        yield found


@pytest.fixture
def here(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user who knows the index."""
    for variable in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    for name, value in variables_for(index, tmp_path).items():
        monkeypatch.setenv(name, value)
    work = tmp_path / "work"
    work.mkdir()
    (work / "sums.py").write_text(SCRIPT)
    monkeypatch.chdir(work)
    return work


def in_process(*words: object) -> Result:
    return CliRunner().invoke(render_command, [str(word) for word in words])


def rendered(*words: object) -> dict[str, Any]:
    done = in_process(*words)
    assert done.exit_code == 0, done.output
    manifest: dict[str, Any] = yaml.safe_load(done.stdout)
    parse(DaskJob, manifest)
    return manifest


def pins(manifest: dict[str, Any]) -> list[str]:
    lines = manifest["spec"]["environment"]["requirements"]
    return [re.sub(r" --hash=\S+", "", line) for line in lines]


@pytest.mark.usefixtures("here")
def test_manifest_has_the_lock_of_what_the_script_declares(index: Index) -> None:
    manifest = rendered(*IMAGE, "sums.py")
    assert manifest["spec"]["environment"] == {
        "requirements": [
            f"tiny==1.0 --hash=sha256:{hash_of(index.folder / 'tiny-1.0-py3-none-any.whl')}",
            f"toolz==1.2 --hash=sha256:{hash_of(index.folder / 'toolz-1.2-py3-none-any.whl')}",
        ],
        "requiresPython": ">=3.11",
    }


@pytest.mark.usefixtures("here")
def test_same_script_and_lock_give_the_same_name_and_another_lock_another(index: Index) -> None:
    name = rendered(*IMAGE, "sums.py")["metadata"]["name"]
    assert rendered(*IMAGE, "sums.py")["metadata"]["name"] == name
    index.add("toolz", "1.3")
    changed = rendered("--with", "toolz>=1.3", *IMAGE, "sums.py")
    assert pins(changed) == ["tiny==1.0", "toolz==1.3"]
    assert changed["metadata"]["name"] != name


@pytest.mark.usefixtures("here")
def test_origins_name_where_packages_come_from() -> None:
    done = in_process("--origins", *IMAGE, "sums.py")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("# environment ")]
    assert "tiny==1.0 toolz==1.2 Python >=3.11" in line
    assert line.endswith("dependencies of sums.py, --with")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("# packages ")]
    assert line.endswith("[tool.daskjob] of sums.py")


@pytest.mark.usefixtures("here")
def test_missing_import_that_is_a_package_is_no_doubt(here: Path) -> None:
    assert "imported, and found" not in in_process(*IMAGE, "sums.py").stderr
    (here / "sums.py").write_text("import tiny")
    assert "nor installed here: tiny" in in_process(*IMAGE, "sums.py").stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "ghcr.io/dask/dask:2026.8.0-py3.10"], "sums.py requires Python >=3.11, and "),
        (["--with", "dask==1"], "dask==1 (--with) clashes with the image"),
        (["--with", "tiny=="], "--with: 'tiny==' is no requirement"),
        (["--requirements", "gone.txt"], "gone.txt cannot be read: No such file or directory"),
        (["--index-url", "https://me:pw@h/simple"], "https://h/simple': it has a login"),
        (["--extra-index-url", "https://me:pw@h/s"], "https://h/s': it has a login"),
        (["--find-links", "wheels"], "write the absolute path of a folder in the pods"),
        (["--index-secret", "A_b"], "write a name of lower-case letters"),
    ],
)
def test_mistake_is_one_message_and_exit_2(here: Path, words: list[str], message: str) -> None:
    for command in (render_command, submit_command):
        options = ["--dry-run=client"] if command is submit_command else []
        given = words if "--image" in words else [*IMAGE, *words]
        done = CliRunner().invoke(command, [*options, *given, str(here / "sums.py")])
        assert done.exit_code == 2
        assert message.replace("sums.py", "sums.py") in done.stderr
        assert "pw" not in done.stderr.replace("pwd", "")


def test_login_in_a_table_of_settings_is_rejected_and_not_shown(here: Path) -> None:
    text = '# /// script\n# [tool.daskjob]\n# index-url = "https://me:pw@h/simple"\n# ///\n'
    (here / "sums.py").write_text(text)
    done = in_process(*IMAGE, "sums.py")
    assert done.exit_code == 2
    assert "[tool.daskjob] of sums.py: index-url: 'https://h/simple': it has a" in done.stderr
    assert "pw" not in done.stderr


def test_manifest_gets_the_packages_of_flags(here: Path) -> None:
    (here / "job.yaml").write_text(in_process(*IMAGE, "--with", "tiny==1.0", "sums.py").stdout)
    done = CliRunner().invoke(
        submit_command,
        ["--dry-run=client", "-o", "yaml", "-f", "job.yaml", "--with", "dask", "--with", "tiny"],
    )
    assert done.exit_code == 0, done.output
    manifest = yaml.safe_load(done.stdout)
    # What the manifest has already stays at its version.
    assert pins(manifest) == ["tiny==1.0", "toolz==1.2"]
    assert manifest["spec"]["environment"]["requiresPython"] == ">=3.11"


@pytest.mark.usefixtures("here")
def test_script_from_standard_input_has_its_packages_and_settings_too() -> None:
    done = CliRunner().invoke(render_command, [*IMAGE, "-"], input=SCRIPT)
    assert done.exit_code == 0, done.output
    assert pins(yaml.safe_load(done.stdout)) == ["tiny==1.0", "toolz==1.2"]


def test_job_of_an_existing_cluster_gets_no_packages(here: Path) -> None:
    manifest = yaml.safe_load(in_process(*IMAGE, "sums.py").stdout)
    spec = {"clusterRef": {"name": "shared"}, "job": manifest["spec"]["job"]}
    del manifest["spec"]
    (here / "job.yaml").write_text(yaml.safe_dump({**manifest, "spec": spec}))
    words = ["--dry-run=client", "-f", "job.yaml", "--with", "tiny"]
    done = CliRunner().invoke(submit_command, words)
    assert done.exit_code == 2
    assert "clusterRef" in done.stderr


def test_manifest_without_flags_is_not_resolved(here: Path, index: Index) -> None:
    (here / "job.yaml").write_text(in_process(*IMAGE, "sums.py").stdout)
    index.asked.clear()
    done = CliRunner().invoke(submit_command, ["--dry-run=client", "-o", "yaml", "-f", "job.yaml"])
    assert pins(yaml.safe_load(done.stdout)) == ["tiny==1.0", "toolz==1.2"]
    assert index.asked == []


@pytest.mark.usefixtures("here")
def test_index_that_is_not_reached_is_an_error_of_the_place_not_of_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    done = in_process(*IMAGE, "sums.py")
    assert isinstance(done.exception, Exception)
    assert type(done.exception).__name__ == "IndexUnreachable"
    # What follows is for errors of clusters.
    assert advice(done.exception) == ""


def test_script_of_the_documentation_gets_its_package(here: Path, index: Index) -> None:
    index.add("pandas", "2.3.0")
    index.add("distributed", "2026.8.0", requires=["dask==2026.8.0"])
    page = (ROOT / "docs/howto/script-packages.md").read_text()
    script = re.search(r"<!-- file: sums.py -->\n```python\n(.*?)```", page, re.DOTALL)
    assert script is not None
    (here / "sums.py").write_text(script[1])
    assert pins(rendered(*IMAGE, "sums.py")) == ["pandas==2.3.0"]
    assert pins(rendered(*IMAGE, "--with", "toolz", "sums.py")) == ["pandas==2.3.0", "toolz==1.2"]
    clash = re.search(r"```text\n(dask==2025.*?)\n```", page, re.DOTALL)
    assert clash is not None
    done = in_process(*IMAGE, "--with", "dask==2025.1.0", "sums.py")
    assert " ".join(clash[1].split()) in done.stderr


def test_interrupt_ends_uv_and_the_command_at_once(daskjob: Daskjob) -> None:
    program = daskjob.folder / "bin" / "uv"
    program.parent.mkdir()
    started = daskjob.folder / "started"
    program.write_text(f"#!/bin/sh\n: > {started}\nexec tail -f /dev/null\n")
    program.chmod(0o755)
    script = daskjob.script(SCRIPT)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    process = daskjob.start("render", *IMAGE, script, env=environment)
    wait_until(started.exists)
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    # uv is killed, which the system carries out a moment later.
    wait_until(lambda: not daskjob.alive())
