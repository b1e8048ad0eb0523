"""ConfigMaps and Secrets in the file of a job, on a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command import Daskjob, job

SECRET = "the-password-of-ada"
SCRIPT = """\
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
token = pathlib.Path(sys.argv[2])
print(json.dumps({
    "files": sorted(path.name for path in folder.iterdir()),
    "token": token.read_text() == os.environ["PASSWORD"] == os.environ["APP_password"],
    "mode": oct(token.stat().st_mode & 0o777),
    "scratch": str(token),
}))
"""


def whole_file() -> list[dict[str, Any]]:
    """A list with a ConfigMap and a Secret, and a job that uses them."""
    code = {"name": "code", "configMap": {"name": "code"}}
    keys = {"name": "keys", "secret": {"secretName": "login"}}
    manifest = job(["python", "/code/main.py", "/code", "/keys/only"], name="uses", workers=0)
    spec = manifest["spec"]["job"]["spec"]
    spec["volumes"] = [code, keys]
    spec["containers"][0] |= {
        "volumeMounts": [
            {"name": "code", "mountPath": "/code"},
            {"name": "keys", "mountPath": "/keys/only", "subPath": "password"},
        ],
        "envFrom": [{"prefix": "APP_", "secretRef": {"name": "login"}}],
        "env": [
            {
                "name": "PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}},
            }
        ],
    }
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}}
    items = [
        {**config, "data": {"main.py": SCRIPT, "more.txt": "a"}},
        {**secret, "stringData": {"password": SECRET}},
    ]
    return [{"apiVersion": "v1", "kind": "List", "items": [*items, manifest]}]


def written(daskjob: Daskjob, documents: list[dict[str, Any]]) -> Path:
    path = daskjob.work / "job.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return path


def test_file_with_all_that_a_job_needs_runs_and_no_secret_is_kept(daskjob: Daskjob) -> None:
    path = written(daskjob, whole_file())
    done = daskjob("run", path)
    assert done.code == 0, done.err
    found = yaml.safe_load(done.text)
    assert found["files"] == ["main.py", "more.txt"]
    assert (found["token"], found["mode"]) == (True, "0o600")
    assert not Path(found["scratch"]).exists()
    kept = [item for item in daskjob.state.rglob("*") if item.is_file()]
    assert kept
    assert not [item for item in kept if SECRET.encode() in item.read_bytes()]
    assert SECRET not in done.err
    assert daskjob("validate", path).code == 0


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (0, "ConfigMissing: there is no ConfigMap 'code' in the file; add it to the file"),
        (1, "ConfigMissing: there is no Secret 'login' in the file; add it to the file"),
    ],
)
def test_what_the_file_lacks_is_named_before_anything_starts(
    daskjob: Daskjob, left_out: int, message: str
) -> None:
    documents = whole_file()
    del documents[0]["items"][left_out]
    done = daskjob("run", written(daskjob, documents))
    assert done.code == 125
    assert message in done.err
    assert not daskjob.state.exists()


def test_value_of_a_wrong_secret_is_not_printed(daskjob: Daskjob) -> None:
    documents = whole_file()
    documents[0]["items"][1] |= {"data": {"password": SECRET + "!"}}
    for command in ("run", "validate"):
        done = daskjob(command, written(daskjob, documents))
        assert done.code == 125
        assert "data.password" in done.err
        assert SECRET not in done.err + done.text
