"""What README claims and the code defines: numbers, names, commands, fields.

What README claims of a run is in ``tests/cli/test_readme.py``.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import click
import pytest
import yaml

from daskjob.backends.local import retention
from daskjob.core.exit_codes import ExitCode
from daskjob.core.quantity import parse_bytes
from daskjob.core.status.job import RESULT_LIMIT_BYTES
from daskjob.submit.cli import cli
from daskjob.submit.cli.job_rows import HEADER, LIMIT
from daskjob.submit.script import default_shape
from tests.docs.documents import ROOT

README = (ROOT / "README.md").read_text()
#: README as one line, for sentences that are wrapped.
TEXT = re.sub(r"\s+", " ", README)
#: Commands and options, in examples, in tables and in sentences.
COMMANDS = sorted(set(re.findall(r"(?:^\$ |`|`uv run |\$\()daskjob ([a-z]+)", README, re.M)))
#: Of helm, docker, python, dask worker and the script of the example.
OF_OTHERS = {"--create-namespace", "--file", "--namespace", "--set", "--tag", "-u"}
OF_OTHERS |= {"--resources", "--input", "--help"}
OPTIONS = set(re.findall(r"[ `](--[a-z-]+|-[a-z])(?=[ `\]\n])", README)) - OF_OTHERS


def found(pattern: str) -> str:
    """The group of a pattern that README must have."""
    match = re.search(pattern, TEXT)
    assert match is not None, pattern
    return match.group(1)


def crd(kind: str) -> dict[str, Any]:
    """A CustomResourceDefinition of the chart."""
    for path in sorted((ROOT / "operator-chart/crds").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["spec"]["names"]["kind"] == kind:
                return dict(document["spec"]["versions"][0])
    raise AssertionError(kind)


def test_every_command_but_version_is_in_readme_and_exists() -> None:
    assert {*COMMANDS, "version"} == set(cli.list_commands(click.Context(cli)))


def test_every_option_exists() -> None:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    for group in [command for command in commands if isinstance(command, click.Group)]:
        commands += group.commands.values()
    params = [param for command in commands if command for param in command.params]
    known = {word for param in params for word in (*param.opts, *param.secondary_opts)}
    assert len(OPTIONS) > 12
    assert OPTIONS - known == set()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^\$ make ([a-z-]+)", README, re.M))))
def test_target_of_make_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_every_environment_variable_is_one_that_the_code_knows() -> None:
    named = set(re.findall(r"\b(?:DASKJOB|VIRTUAL|CONDA)_[A-Z_]+", README))
    code = "".join(path.read_text() for path in (ROOT / "daskjob").rglob("*.py"))
    assert len(named) == 9
    assert [name for name in sorted(named) if f'"{name}"' not in code] == []


def test_limits_of_what_is_kept_are_the_defaults() -> None:
    assert int(found(r"the newest (\d+) are kept \(`\$DASKJOB_KEEP_RUNS`\)")) == retention.KEPT_RUNS
    assert int(found(r"for (\d+) days \(`\$DASKJOB_KEEP_DAYS`\)")) == retention.KEPT_DAYS
    size = found(r"up to (\S+ \S+) together \(`\$DASKJOB_KEEP_SIZE`\)")
    assert parse_bytes(size) == parse_bytes(retention.KEPT_SIZE)
    log = found(r"A log of more than (\S+ \S+) \(`\$DASKJOB_LOG_SIZE`\)")
    assert parse_bytes(log) == parse_bytes(retention.LOG_SIZE)
    assert int(found(r"`list` shows the newest (\d+) jobs \(`--limit`\)")) == LIMIT


def test_exit_codes_of_daskjob_are_those_of_the_table() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}
    in_text = {int(found(r"is that of the job; (\d+) after --timeout"))}
    assert rows | in_text == {int(code) for code in ExitCode} - {0}


def test_result_is_limited_to_4_kib() -> None:
    assert parse_bytes(found(r"writes up to (\d+ KiB) of JSON")) == RESULT_LIMIT_BYTES


def test_versions_are_those_of_the_package_and_of_the_chart() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = found(r"Python (\d\S+) or newer")
    assert project["requires-python"] == f">={python}"
    chart = yaml.safe_load((ROOT / "operator-chart/Chart.yaml").read_text())
    kubernetes = found(r"Kubernetes (\d\S+) or newer")
    assert chart["kubeVersion"] == f">={kubernetes}.0-0"


@pytest.mark.parametrize(
    ("cpus", "shape"), [(1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (8, (4, 2)), (64, (8, 8))]
)
def test_default_workers_are_one_per_cpu_and_above_4_fewer_with_threads(
    cpus: int, shape: tuple[int, int]
) -> None:
    assert "one per CPU, above 4 CPUs fewer with several threads each" in TEXT
    assert default_shape(cpus) == shape


def test_tables_have_the_columns_of_list_and_of_the_resource() -> None:
    assert " ".join(HEADER) in TEXT
    columns = [
        column["name"].upper()
        for column in crd("DaskJob")["additionalPrinterColumns"]
        if not column.get("priority")
    ]
    assert " ".join(["NAME", *columns]) in TEXT


def test_examples_have_as_many_manifests_as_readme_counts() -> None:
    words = {"three": 3, "four": 4, "five": 5}
    jobs = [
        path
        for path in (ROOT / "examples").rglob("*.yaml")
        if any(d["kind"] == "DaskJob" for d in yaml.safe_load_all(path.read_text()))
    ]
    assert words[found(r"has (\w+) manifests")] == len(jobs)


def test_values_and_files_of_the_installation_exist() -> None:
    values = yaml.safe_load((ROOT / "operator-chart/values.yaml").read_text())
    for name in re.findall(r"--set (\S+?)=", README):
        place = values
        for key in name.split("."):
            assert key in place, name
            place = place[key]
    for path in re.findall(r"--file (\S+)|install daskjob (\S+)", README):
        assert (ROOT / "".join(path)).exists()


def test_fields_of_autoscaling_and_updates_exist_with_their_defaults() -> None:
    autoscaler = crd("DaskAutoscaler")["schema"]["openAPIV3Schema"]["properties"]["spec"]
    cluster = crd("DaskCluster")["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert "workerGroup" in autoscaler["properties"]
    delay = autoscaler["properties"]["scaleDownDelaySeconds"]
    seconds = found(r"for (\d+) s \(`scaleDownDelaySeconds`\)")
    assert f"Defaults to {seconds}." in delay["description"]
    worker = cluster["properties"]["worker"]["properties"]
    assert {"minimum", "maximum"} <= set(worker["autoscaling"]["properties"])
    assert "Retire" in worker["updateStrategy"]["enum"]
