"""The agent is a preload as text, along with others, and never prevents a scheduler's start."""

from __future__ import annotations

import ast
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjob.core.desired.agent import (
    AGENT_VARIABLE,
    PRELOAD,
    PRELOAD_ARGV_VARIABLE,
    PRELOAD_VARIABLE,
    agent_environment,
    bootstrap,
    named_preloads,
    preload_argv,
    preloads,
)
from tests.agent.conftest import SOURCE, TOKEN, Cluster, Start, agent_answers
from tests.waiting import wait_until

OTHER = """
import pathlib
def dask_setup(scheduler):
    pathlib.Path({path!r}).write_text("set up")
def dask_teardown(scheduler):
    pathlib.Path({path!r}).write_text("torn down")
"""


def other(path: Path) -> str:
    return OTHER.format(path=str(path))


def healthy(cluster: Cluster) -> bool:
    """Return whether the scheduler itself answers."""
    try:
        url = f"http://127.0.0.1:{cluster.port}/health"
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.URLError:
        return False


def written(path: Path, text: str) -> None:
    wait_until(
        lambda: path.exists() and path.read_text() == text, shows=f"{path} contains {text!r}"
    )


def test_the_bootstrap_is_one_line_under_16_kib_that_kubernetes_and_dask_do_not_change() -> None:
    text = bootstrap(SOURCE)
    assert len(text) < 16 * 1024
    assert "$" not in text
    assert "\n" not in text


def test_the_preload_is_a_line_of_100_characters_that_kubernetes_and_dask_do_not_change() -> None:
    assert len(PRELOAD) < 120
    assert "$" not in PRELOAD
    assert "\n" not in PRELOAD
    assert " " in PRELOAD
    assert not PRELOAD.endswith(".py")
    assert named_preloads(PRELOAD) == [PRELOAD]
    assert named_preloads(preloads()) == [PRELOAD]


@given(st.lists(st.text()))
def test_the_list_of_preloads_survives_a_round_trip(others: list[str]) -> None:
    assert ast.literal_eval(preloads(others)) == [*others, PRELOAD]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        ("", []),
        ("module.one", ["module.one"]),
        ("/a/file.py", ["/a/file.py"]),
        ("['a', 'b']", ["a", "b"]),
        ("import os\ndef dask_setup(s): pass", ["import os\ndef dask_setup(s): pass"]),
        ("3", []),
    ],
)
def test_preloads_of_the_environment_are_read_as_dask_reads_them(
    value: str | None, names: list[str]
) -> None:
    assert named_preloads(value) == names


@pytest.mark.parametrize(
    ("value", "others", "expected"),
    [
        (None, 0, []),
        (None, 2, []),
        ("['--x']", 2, [["--x"], ["--x"], []]),
        ("[['--x'], []]", 2, [["--x"], [], []]),
    ],
)
def test_arguments_of_preloads_get_an_empty_entry_for_the_agent(
    value: str | None, others: int, expected: list[object]
) -> None:
    assert ast.literal_eval(preload_argv(value, others)) == expected


def test_a_preload_of_the_environment_is_kept_along_with_the_agent(
    start: Start, tmp_path: Path
) -> None:
    agent_answers(start(own={PRELOAD_VARIABLE: other(tmp_path / "own")}))
    written(tmp_path / "own", "set up")


def test_preloads_and_arguments_of_the_yaml_files_are_loaded_by_the_agent(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "image.yaml").write_text(
        json.dumps(
            {
                "distributed": {
                    "scheduler": {
                        "preload": [other(tmp_path / "one"), other(tmp_path / "two")],
                        # One list for each: with our single preload this would be a
                        # mismatch that ends the scheduler.
                        "preload-argv": [[], []],
                    }
                }
            }
        )
    )
    cluster = agent_answers(start(own={"DASK_CONFIG": str(tmp_path / "config")}))
    written(tmp_path / "one", "set up")
    written(tmp_path / "two", "set up")
    cluster.scheduler.end(15)
    written(tmp_path / "two", "torn down")


def test_yaml_preloads_stay_hidden_where_the_users_own_variable_hides_them(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "image.yaml"
    config.write_text(
        json.dumps({"distributed": {"scheduler": {"preload": other(tmp_path / "yaml")}}})
    )
    own = {"DASK_CONFIG": str(config), PRELOAD_VARIABLE: other(tmp_path / "own")}
    cluster = agent_answers(start(own=own))
    written(tmp_path / "own", "set up")
    cluster.scheduler.end(15)
    assert not (tmp_path / "yaml").exists()


def test_the_agent_works_as_an_argument_along_with_another_preload(
    start: Start, tmp_path: Path
) -> None:
    arguments = ("--preload", other(tmp_path / "own"), "--preload", PRELOAD)
    agent_answers(start(*arguments, more={PRELOAD_VARIABLE: "[]", PRELOAD_ARGV_VARIABLE: "[]"}))
    written(tmp_path / "own", "set up")


@pytest.mark.parametrize(
    "source",
    [
        "this is not python",
        "raise RuntimeError('at import')",
        "import sys; sys.exit(3)",
        "import a_module_that_does_not_exist",
        "def dask_setup(scheduler): raise RuntimeError('in setup')",
    ],
)
def test_a_scheduler_starts_even_if_the_agent_is_broken(start: Start, source: str) -> None:
    cluster = start(source=source)
    wait_until(lambda: healthy(cluster), shows="the scheduler answers")
    assert cluster.scheduler.child.poll() is None


def test_a_broken_yaml_preload_stops_neither_agent_nor_scheduler(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "image.yaml"
    config.write_text('{"distributed": {"scheduler": {"preload": "no_such_module"}}}')
    cluster = agent_answers(start(own={"DASK_CONFIG": str(config)}))
    wait_until(
        lambda: "preloads of the YAML files were not loaded" in cluster.scheduler.output,
        shows="it is logged",
    )


@pytest.mark.parametrize("agent", ["", "(", "raise SystemExit(3)"])
def test_a_scheduler_starts_even_if_the_agents_variable_was_changed(
    start: Start, agent: str
) -> None:
    cluster = start(more={AGENT_VARIABLE: agent})
    wait_until(lambda: healthy(cluster), shows="the scheduler answers")
    assert cluster.scheduler.child.poll() is None


@pytest.mark.parametrize("how", ["environment", "arguments", "files"])
def test_no_line_of_a_schedulers_log_has_the_agents_text(
    start: Start, tmp_path: Path, how: str
) -> None:
    config = tmp_path / "image.yaml"
    file = {"distributed": {"scheduler": {"preload": "json.tool"}}} if how == "files" else {}
    config.write_text(json.dumps(file))
    own = {"DASK_CONFIG": str(config)}
    if how == "environment":
        own[PRELOAD_VARIABLE] = "json.tool"
    arguments = ("--preload", "json.tool", "--preload", PRELOAD) if how == "arguments" else ()
    cluster = agent_answers(start(*arguments, own=own))
    cluster.scheduler.end(15)
    log = cluster.scheduler.output
    assert f"Run preload setup: {PRELOAD}" in log
    assert f"Run preload teardown: {PRELOAD}" in log
    assert "Creating preload: json.tool" in log
    assert "daskjob agent: answering below" in log
    assert max(map(len, log.splitlines())) < 200


def test_without_a_token_there_are_no_routes(start: Start) -> None:
    cluster = start(more={"DASKJOB_AGENT_TOKEN": ""})
    wait_until(lambda: "DASKJOB_AGENT_TOKEN is not set" in cluster.scheduler.output)
    request = urllib.request.Request(
        f"http://127.0.0.1:{cluster.port}/daskjob/v1/state",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as error:
        assert error.code == 404


def test_the_environment_names_token_groups_preloads_and_arguments() -> None:
    found = agent_environment("x = 1", token="t", environment={PRELOAD_VARIABLE: "mine"})
    assert found == {
        AGENT_VARIABLE: bootstrap("x = 1"),
        "DASKJOB_AGENT_TOKEN": "t",
        "DASKJOB_AGENT_GROUPS": "[]",
        PRELOAD_VARIABLE: repr(["mine", PRELOAD]),
        PRELOAD_ARGV_VARIABLE: "[]",
    }
