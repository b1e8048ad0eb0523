"""What workers inherit of a script: compared by digests, applied to a worker's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local.inherited import (
    UNSET_VARIABLE,
    at_start,
    digest,
    inherited_from,
    process_state,
)
from daskjob.backends.local.script_cluster import IN_SCRIPT

REQUEST = {"env": {"A": "a$b", "B": "2"}, "unset": ["C", "D"], "folder": "/there"}


def test_container_starts_with_what_a_request_names() -> None:
    inherited = inherited_from(REQUEST)
    assert inherited is not None
    container = inherited.container({"name": "worker", "env": [{"name": "E"}]})
    assert container == {
        "name": "worker",
        "workingDir": "/there",
        "env": [
            {"name": "E"},
            {"name": "A", "value": "a$$b"},
            {"name": "B", "value": "2"},
            {"name": UNSET_VARIABLE, "value": "C\nD"},
        ],
    }


@pytest.mark.parametrize("raw", [{}, {"env": 3, "unset": [], "folder": ""}, {"env": {}}])
def test_anything_else_is_no_request(raw: dict[str, Any]) -> None:
    with pytest.raises((LookupError, AttributeError)):
        inherited_from(raw)
    assert inherited_from(None) is None


@pytest.mark.parametrize("value", ["", "plain", "\udcff not text", "ü" * 999])
def test_script_compares_by_the_same_digest_and_gets_no_value(value: str) -> None:
    start = at_start({"TOKEN": value, "PYTHONPATH": "/lib"}, {}, Path("/work"))
    assert start["env"]["TOKEN"] == digest(value)
    assert value not in json.dumps(start) or not value
    program = (
        f"import sys; sys.path.insert(0, {str(IN_SCRIPT)!r}); import inheritance, json, os\n"
        "print(json.dumps([inheritance.digest(os.environ['TOKEN']), inheritance.process_state()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TOKEN": value},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == [digest(value), process_state()]


def test_folders_that_workers_know_are_those_of_their_path() -> None:
    worker = {"workingDir": "/there", "env": [{"name": "PYTHONPATH", "value": "/a$$b:rel"}]}
    start = at_start({"PYTHONPATH": "/lib"}, worker, Path("/work"))
    assert (start["folder"], start["path"]) == ("/there", ["/a$b", "/there/rel"])
    start = at_start({"PYTHONPATH": "/lib"}, {}, Path("/work"))
    assert (start["folder"], start["path"]) == ("/work", ["/lib"])
