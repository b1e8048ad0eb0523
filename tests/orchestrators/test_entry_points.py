"""daskjob without an orchestrator, and which of them can be installed together."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from typing import Any

import pytest

from tests.orchestrators.environments import PINS, ROOT, uv

#: The top packages of the orchestrators.
ORCHESTRATORS = ("airflow", "prefect", "prefect_dask", "prefect_kubernetes", "dagster")
#: Imports a module, and prints which orchestrators that has imported.
PROGRAM = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def imported_with(*modules: str) -> set[str]:
    command = [sys.executable, "-c", PROGRAM, *modules]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "modules",
    [
        ("daskjob",),
        ("daskjob.submit.client.async_client", "daskjob.submit.generations"),
        ("daskjob.submit.cli", "daskjob.kubecluster.cluster", "daskjob.controller.__main__"),
    ],
)
def test_daskjob_imports_no_orchestrator_and_no_integration(modules: tuple[str, ...]) -> None:
    found = imported_with(*modules)
    assert found & set(ORCHESTRATORS) == set()
    assert "daskjob" in found


def test_entry_points_are_harmless_without_their_orchestrator() -> None:
    groups = ("apache_airflow_provider", "prefect.collections")
    found = [point for group in groups for point in entry_points(group=group)]
    ours = [point for point in found if point.value.startswith("daskjob.")]
    modules = [point.value.partition(":")[0] for point in ours]
    assert sorted(modules) == ["daskjob.integrations.airflow", "daskjob.integrations.prefect"]
    assert imported_with(*modules) & set(ORCHESTRATORS) == set()


#: A name of each integration that needs the orchestrator.
NAMES = {"airflow": "DaskJobOperator", "prefect": "DaskJob", "dagster": "PipesDaskJobClient"}


@pytest.mark.parametrize("orchestrator", NAMES)
def test_a_missing_orchestrator_is_named(orchestrator: str) -> None:
    package = f"daskjob.integrations.{orchestrator}"
    code = f"from {package} import {NAMES[orchestrator]}"
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False
    )
    kind, _, message = done.stderr.splitlines()[-1].partition(": ")
    assert kind in ("ImportError", "ModuleNotFoundError")
    assert orchestrator in message
    if orchestrator == "dagster":
        assert "pip install 'daskjob[dagster]'" in message


def test_airflow_and_prefect_are_declared_as_conflicting() -> None:
    assert project()["tool"]["uv"]["conflicts"] == [[{"extra": "airflow"}, {"extra": "prefect"}]]


#: What can be installed together (False: what cannot).
TOGETHER = {
    ("airflow",): True,
    ("prefect",): True,
    ("dagster",): True,
    ("airflow", "dagster"): True,
    ("prefect", "dagster"): True,
    ("airflow", "prefect"): False,
}


@pytest.mark.parametrize("orchestrators", TOGETHER, ids="+".join)
def test_the_resolver_agrees_with_what_is_declared(orchestrators: tuple[str, ...]) -> None:
    program = uv()
    if program is None:
        pytest.skip("uv cannot be installed here")
    extras = project()["project"]["optional-dependencies"]
    needed = [each for name in orchestrators for each in (*PINS[name], *extras[name])]
    core = [*project()["project"]["dependencies"], *extras["kubernetes"], *extras["operator"]]
    lines = [each for each in (*needed, *core) if not each.startswith("daskjob[")]
    done = subprocess.run(
        [program, "pip", "compile", "--quiet", "--no-header", "--python", sys.executable, "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is TOGETHER[orchestrators], done.stderr
    if not TOGETHER[orchestrators]:
        assert "fastapi" in done.stderr
