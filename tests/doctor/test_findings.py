"""Single checks, on what they would see."""

from __future__ import annotations

import base64
import copy
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daskjob.submit.cluster_job.image import Versions
from daskjob.submit.doctor.cluster.connection import clock, token
from daskjob.submit.doctor.cluster.crds import compared
from daskjob.submit.doctor.cluster.kubernetes_version import judged as judged_version
from daskjob.submit.doctor.cluster.operator import lease_finding
from daskjob.submit.doctor.cluster.short_pod import judged
from daskjob.submit.doctor.machine.dask_versions import OLDEST, dask_versions
from daskjob.submit.doctor.machine.open_files import open_files
from daskjob.submit.doctor.machine.package_index import package_index
from daskjob.submit.doctor.machine.packages import packages
from daskjob.submit.doctor.machine.shared_memory import shared_memory
from daskjob.submit.doctor.machine.state_folder import state_folder
from daskjob.submit.environment.uv import find_uv
from daskjob.submit.installing import chart
from tests.submit.package_index import Index, serving, variables_for

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = Versions("3.11.7", "2026.8.0", "2026.8.0")


def token_until(end: datetime) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"Bearer {part({})}.{part({'exp': end.timestamp()})}.x"


@pytest.mark.parametrize(
    ("header", "state", "text"),
    [
        (token_until(NOW + timedelta(hours=9)), "ok", "valid for 9h"),
        (token_until(NOW + timedelta(minutes=5)), "warning", "valid for 5m"),
        (token_until(NOW - timedelta(minutes=5)), "warning", "valid for 0s"),
        ("Bearer opaque", "ok", "does not show when it expires"),
        ("Basic eDp5", "ok", "a password"),
        ("", "ok", "a certificate"),
    ],
)
def test_time_that_a_token_is_valid_for_is_reported(header: str, state: str, text: str) -> None:
    found = token(header, NOW)
    assert found.state == state
    assert text in found.text


@pytest.mark.parametrize(
    ("seconds", "state", "text"),
    [
        (3, "ok", "agree"),
        (-29, "ok", "agree"),
        (300, "warning", "this machine is 5m ahead of the API server"),
        (-7200, "warning", "this machine is 2h behind the API server"),
    ],
)
def test_clock_skew_is_reported(seconds: int, state: str, text: str) -> None:
    found = clock(NOW, NOW + timedelta(seconds=seconds))
    assert found.state == state
    assert text in found.text
    assert clock(None, NOW).state == "skipped"


@pytest.mark.parametrize(
    ("version", "state"),
    [("v1.30.0", "ok"), ("v1.34.1+k3s1", "ok"), ("v1.29.14", "failed"), ("v1.9.0", "failed")],
)
def test_kubernetes_that_rejects_the_crds_fails(version: str, state: str) -> None:
    assert judged_version(version).state == state


def test_crds_of_other_versions_name_what_to_upgrade() -> None:
    ours = chart.crds()
    theirs = copy.deepcopy(ours)
    assert compared(theirs, ours).state == "ok"
    properties = theirs[2]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"]["properties"]["futureField"] = {"type": "string"}
    newer = compared(theirs, ours)
    assert (newer.state, newer.fix) == ("warning", "pip install -U daskjob")
    assert newer.text.endswith("spec.futureField")
    older = compared(ours, theirs)
    assert older.state == "warning"
    assert "without spec.futureField" in older.text
    assert older.fix.endswith("daskjob install")


@pytest.mark.parametrize(
    ("seconds", "lasts", "state"),
    [(3, 15, "ok"), (29, 15, "ok"), (31, 15, "failed"), (80, 60, "ok")],
)
def test_lease_that_is_not_renewed_has_no_leader(seconds: int, lasts: int, state: str) -> None:
    spec = {"holderIdentity": "me", "leaseDurationSeconds": lasts}
    assert lease_finding(NOW - timedelta(seconds=seconds), spec, NOW).state == state


@pytest.mark.parametrize(
    ("log", "states", "text"),
    [
        ("python 3.11.2 dask 2026.8.0 distributed 2026.8.0\nresolved\n", ["ok", "ok"], "starts"),
        (
            "python 3.12.2 dask 2026.7.0 distributed 2026.7.0\nresolved\n",
            ["warning", "ok"],
            "Python 3.12, here 3.11; dask 2026.7.0, here 2026.8.0",
        ),
        (
            "python 3.11.2 dask 2026.8.0 distributed 2026.8.0\nTraceback\nsocket.gaierror: -3\n",
            ["ok", "failed"],
            "cannot resolve kubernetes.default.svc: socket.gaierror: -3",
        ),
        ("ModuleNotFoundError: No module named 'dask'\n", ["failed"], "No module named 'dask'"),
        ("", ["failed"], "no output"),
    ],
)
def test_log_of_the_pod_shows_the_image_and_dns(log: str, states: list[str], text: str) -> None:
    found = judged("image", log, HERE)
    assert [one.state for one in found] == states
    assert text in " ".join(one.text for one in found)


@pytest.mark.parametrize(
    ("versions", "state", "text"),
    [
        (HERE, "ok", "distributed 2026.8.0"),
        (Versions("3.11.7"), "failed", "has no dask"),
        (Versions("3.11.7", "2026.8.0"), "failed", "has no distributed"),
        (Versions("3.11.7", "2026.8.0", "2026.7.1"), "warning", "their versions differ"),
        (Versions("3.11.7", "2023.12.1", "2023.12.1"), "failed", "older than 2024.1.0"),
        (Versions("3.11.7", "2026.8.0+4.gabc", "2026.8.0+4.gabc"), "ok", "+4"),
    ],
)
def test_environment_without_a_supported_dask_fails(
    versions: Versions, state: str, text: str
) -> None:
    found = dask_versions(versions)
    assert found.state == state
    assert text in found.text


def test_oldest_dask_is_that_of_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"distributed>={".".join(map(str, OLDEST))}"' in project


@pytest.mark.parametrize(
    ("soft", "hard", "state", "fix"),
    [
        (256, -1, "warning", "ulimit -n 65536"),
        (512, 4096, "warning", "ulimit -n 4096"),
        (256, 256, "warning", "ask for a higher limit"),
        (1024, 4096, "ok", ""),
        (-1, -1, "ok", ""),
    ],
)
def test_low_limit_of_open_files_is_a_warning(soft: int, hard: int, state: str, fix: str) -> None:
    found = open_files(soft, hard)
    assert found.state == state
    assert fix in found.fix


def test_missing_or_broken_uv_is_a_warning_with_the_command(tmp_path: Path) -> None:
    found = packages(find_uv(os.environ))
    assert found.state == "ok"
    assert found.text.startswith("uv ")
    for uv in ("", str(tmp_path / "gone"), "/bin/false"):
        found = packages(uv)
        assert found.state == "warning"
        assert found.fix == "pip install 'daskjob[uv]'"
        assert uv in found.text


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serving(Index(folder, max_age_seconds=600)) as found:
        found.add("packaging", "25.0")
        yield found


def test_index_that_answers_is_ok_and_asked_each_time(index: Index, tmp_path: Path) -> None:
    environ = variables_for(index, tmp_path)
    for count in (1, 2):
        found = package_index(find_uv(environ), tmp_path, environ)
        assert (found.state, found.text) == ("ok", f"{index.url} answers from here")
        assert index.asked.count("/simple/packaging/") == count


def test_index_that_does_not_answer_is_a_warning_with_the_other_ways(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.submit.doctor.machine.package_index.SECONDS", 0.5)
    environ = variables_for(index, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for place, reason in ((silent, "no answer within 0.5 s"), (closed, "Connection refused")):
            url = f"http://127.0.0.1:{place.getsockname()[1]}/simple"
            found = package_index(find_uv(environ), tmp_path, {**environ, "UV_DEFAULT_INDEX": url})
            assert found.state == "warning"
            assert found.text.startswith(f"{url} is of no use from here: ")
            assert reason in found.text
            for way in ("--index-url URL", "--find-links", "image volume", "--image IMAGE"):
                assert way in found.fix
    index.login = "me:secret"
    found = package_index(find_uv(environ), tmp_path, environ)
    assert found.state == "warning"
    assert "wants a login" in found.text


def test_indexes_of_the_project_are_asked(index: Index, tmp_path: Path) -> None:
    environ = {**variables_for(index, tmp_path), "UV_DEFAULT_INDEX": "http://127.0.0.1:1/simple"}
    project = tmp_path / "pyproject.toml"

    def found(*lines: str) -> tuple[str, str]:
        project.write_text("\n".join(["[tool.daskjob]", *lines]))
        finding = package_index(find_uv(environ), tmp_path, environ)
        return str(finding.state), finding.text

    assert found(f'index-url = "{index.url}"') == ("ok", f"{index.url} answers from here")
    # Nobody is asked.
    assert found('find-links = "/wheels"') == (
        "skipped",
        "none is asked: find-links is /wheels",
    )
    state, text = found('index-ulr = "x"')
    assert state == "warning"
    assert "did you mean 'index-url'?" in text
    (index.folder / "packaging-25.0-py3-none-any.whl").unlink()
    state, text = found(f'index-url = "{index.url}"')
    assert (state, text.removeprefix(index.url)) == (
        "warning",
        " answers, and does not have packaging, which Dask needs",
    )
    assert package_index("", tmp_path, environ).state == "skipped"


def test_state_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    assert state_folder(tmp_path / "a" / "b").state == "ok"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    found = state_folder(tmp_path / "file" / "jobs")
    assert found.state == "failed"
    assert "DASKJOB_STATE_DIR" in found.fix
    # Nobody, root included, may write there.
    assert state_folder(Path("/proc/daskjob")).state == "failed" or os.geteuid() == 0


def test_machine_without_shared_memory_is_skipped(tmp_path: Path) -> None:
    assert shared_memory(tmp_path / "shm").state == "skipped"
    assert shared_memory(tmp_path).state == "ok"
