"""Files among the records that are none: commands skip them, with one note."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjob.submit.records.record import as_json, from_json
from daskjob.submit.records.store import FOLDER, Records
from tests.cli.command import Daskjob
from tests.cli.test_started_here import quick, recorded, unreachable
from tests.submit.test_records import record


def without(*path: str) -> Callable[[Path], None]:
    """Return what removes a field of a record."""

    def remove(file: Path) -> None:
        found = json.loads(file.read_bytes())
        part = found
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]
        file.write_text(json.dumps(found))

    return remove


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def of_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "pipe": as_pipe,
    "folder": as_folder,
    "link": as_link,
    "of another user": of_another_user,
    "empty": lambda path: path.write_text(""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "binary": lambda path: path.write_bytes(os.urandom(300)),
    "list": lambda path: path.write_text("[]"),
    "without apiVersion": without("manifest", "apiVersion"),
    "without kind": without("manifest", "kind"),
    "without metadata": without("manifest", "metadata"),
    "without spec": without("manifest", "spec"),
    "without name": without("name"),
    "nested": lambda path: path.write_text("[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_record_is_skipped_with_one_note(daskjob: Daskjob, damage: str) -> None:
    daskjob.variables["KUBECONFIG"] = str(unreachable(daskjob, "http://127.0.0.1:1"))
    recorded(daskjob, "damaged")
    recorded(daskjob, "whole")
    records = Records(daskjob.state)
    # Ended: no cluster is asked.
    records.note_status(records.of("whole")[0], {"phase": "Succeeded", "jobStatus": "Successful"})
    (path,) = (daskjob.state / FOLDER).glob("*.damaged.*")
    DAMAGES[damage](path)
    for words in (("list",), ("retry", "damaged"), ("submit", "--like", "damaged")):
        done = quick(daskjob, *words)
        assert "Traceback" not in done.err
        notes = [line for line in done.messages if "a record of a submission" in line]
        assert len(notes) == 1, done.err
        assert str(path) in notes[0]
        assert done.code == (0 if words == ("list",) else 125)
        assert ("whole" in done.text) is (words == ("list",))


def test_record_of_another_version_is_skipped_silently(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add(record())
    (path,) = (tmp_path / FOLDER).glob("*.json")
    path.write_text(json.dumps({**as_json(record()), "version": 99, "manifest": 3}))
    assert records.all() == ()
    assert records.note() == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(as_json(record()))), JSON))
def test_any_values_are_a_record_or_none(changes: dict[str, Any]) -> None:
    found = from_json({**as_json(record()), **changes})
    if found is not None:
        assert found.job().status is not None
        assert found.last_status is not None
        assert from_json(json.loads(json.dumps(as_json(found)))) == found
