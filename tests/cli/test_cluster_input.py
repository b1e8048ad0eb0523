"""``daskjob cluster`` and ``daskjob dashboard`` without a cluster: bad input, and what is made."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from daskjob.submit.cli import cli
from tests.cli.command import Daskjob, finish, job
from tests.waiting import wait_until

CREATE = ("cluster", "create", "mine", "--image", "example.org/dask:1", "--dry-run")


def made(daskjob: Daskjob, *words: object) -> dict[str, Any]:
    done = daskjob(*CREATE, *words)
    assert done.code == 0, done.err
    found = yaml.safe_load(done.text)
    assert isinstance(found, dict)
    return found


def test_settings_become_a_cluster(daskjob: Daskjob) -> None:
    project = '[tool.daskjob]\nmemory = "3Gi"\nretries = 4\nlabels = {team = "a"}\n'
    (daskjob.work / "pyproject.toml").write_text(project)
    words = ("-w", 5, "--threads", 2, "--idle-timeout", "30m", "--group", "big:memory=9Gi")
    found = made(daskjob, *words, "-n", "team", "-e", "A=b")
    assert found["kind"] == "DaskCluster"
    assert found["metadata"] == {"name": "mine", "namespace": "team", "labels": {"team": "a"}}
    spec = found["spec"]
    assert set(spec) == {"scheduler", "worker", "workerGroups", "idleTimeout"}
    assert spec["idleTimeout"] == 1800
    assert spec["worker"]["replicas"] == 5
    (container,) = spec["worker"]["spec"]["containers"]
    assert container["args"][:4] == ["dask", "worker", "--nthreads", "2"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "3Gi"}
    assert {"name": "A", "value": "b"} in container["env"]
    assert [group["name"] for group in spec["workerGroups"]] == ["big"]
    found = made(daskjob, "--adapt", "1:7", "--set", "spec.idleTimeout=60")
    assert found["spec"]["worker"]["autoscaling"] == {"minimum": 1, "maximum": 7}
    assert found["spec"]["idleTimeout"] == 60


def test_manifest_is_changed_by_flags_only(daskjob: Daskjob) -> None:
    (daskjob.work / "pyproject.toml").write_text('[tool.daskjob]\nmemory = "3Gi"\n')
    cluster = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "theirs"},
        "spec": job("pass")["spec"]["cluster"]["spec"],
    }
    path = daskjob.manifest(cluster, "cluster.json")
    done = daskjob("cluster", "create", "--dry-run", "-f", path)
    assert yaml.safe_load(done.text) == cluster
    done = daskjob("cluster", "create", "mine", "--dry-run", "-w", 3, "-f", path)
    changed = yaml.safe_load(done.text)
    assert (changed["metadata"]["name"], changed["spec"]["worker"]["replicas"]) == ("mine", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("create",), "name the cluster, or a manifest"),
        (("create", "Mine_"), "'Mine_' is not a valid cluster name; write 1 to 63"),
        (("create", "mine", "--timeout", "5m"), "--timeout is how long --wait waits; add --wait"),
        (("create", "mine", "--adapt", "5:1", "--image", "x"), "--adapt"),
        (("create", "mine", "--retries", "2"), "No such option"),
        ((*CREATE[1:], "--set", "spec.idleTimout=3"), "did you mean 'idleTimeout'"),
        ((*CREATE[1:], "--set", "spec=3"), "such as spec.idleTimeout"),
        ((*CREATE[1:], "--set", "metadata.name=x"), "write NAME as an argument"),
        (("list", "-A", "-n", "team"), "-A lists all namespaces, -n one"),
        (("connect", "mine", "--port", "80000"), "write a whole number from 0 to 65535"),
        (("connect", "mine", "--", "no-such-command"), "there is no command 'no-such-command'"),
        (("scale", "mine", "-1"), "No such option"),
        (("scale", "mine", "20000"), "write a whole number from 0 to 10000"),
        (("delete",), "Missing argument"),
    ],
)
def test_bad_input_is_one_message(words: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(cli, ["cluster", *words])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_file_without_one_cluster_is_rejected(daskjob: Daskjob) -> None:
    path = daskjob.manifest(job("pass"))
    done = daskjob("cluster", "create", "-f", path)
    assert done.code == 125
    assert (
        "must contain one DaskCluster, and has DaskJob; for a DaskJob: daskjob submit" in done.err
    )
    daskjob.variables["KUBECONFIG"] = str(daskjob.work / "none")
    done = daskjob("cluster", "connect", "mine")
    assert done.code == 125
    assert "set KUBECONFIG, or name another context" in done.err


def test_dashboard_of_a_run_here(daskjob: Daskjob) -> None:
    recorder = daskjob.work / "browser"
    recorder.write_text('#!/bin/sh\necho "$1" > opened\n')
    recorder.chmod(0o755)
    daskjob.variables["BROWSER"] = f"{recorder} %s"
    script = daskjob.script("import time; print('runs', flush=True); time.sleep(99)")
    run = daskjob.start("run", "-w", 0, "--name", "here", script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"runs\n"
    wait_until(lambda: daskjob.status().get("dashboardURL"))
    done = daskjob("dashboard", "--no-browser")
    assert (done.code, done.text) == (0, f"{daskjob.status()['dashboardURL']}\n")
    assert not (daskjob.work / "opened").exists()
    assert daskjob("dashboard", "here").code == 0
    assert (daskjob.work / "opened").read_text() == done.text
    done = daskjob("dashboard", "--port", 8000, "here")
    assert (done.code, done.text) == (2, "")
    del daskjob.variables["BROWSER"]
    daskjob.variables["DISPLAY"] = ""
    assert "no browser was found here" in daskjob("dashboard", "here").err
    run.send_signal(signal.SIGTERM)
    finish(run)
    done = daskjob("dashboard", "here")
    assert "here has ended, and its dashboard with it" in done.err
