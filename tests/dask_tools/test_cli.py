"""``dask kubernetes``: as dask-kubernetes documents it, without its tracebacks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from daskjob.dask_tools.cli import main
from daskjob.kubecluster.specs import make_cluster_spec
from tests.cli.test_on_cluster import operator
from tests.cluster.environments import DASK_KUBERNETES, environment
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.dask_tools.installed import environment_with_daskjob

DASK = Path(sys.executable).with_name("dask")


def gen(*words: str, **variables: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["gen", "cluster", *words], env=variables)
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.check(47)
@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ("--name a", make_cluster_spec("a", n_workers=3)),
        ("--name a -e A=b=c", make_cluster_spec("a", n_workers=3, env={"A": "b=c"})),
        (
            "--name a -e A= --env B=2 -e C --n-workers 0 --jupyter --image i:1",
            make_cluster_spec(
                "a", "i:1", n_workers=0, env={"A": "", "B": "2", "C": "here"}, jupyter=True
            ),
        ),
        (
            "--name a --scheduler-service-type NodePort --idle-timeout 1h",
            make_cluster_spec(
                "a", n_workers=3, scheduler_service_type="NodePort", idle_timeout=3600
            ),
        ),
    ],
)
def test_gen_cluster_prints_the_manifest(words: str, spec: dict[str, object]) -> None:
    code, out, err = gen(*words.split(), C="here")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out) == spec
    assert "&id" not in out


@pytest.mark.check(47)
def test_gen_cluster_takes_resources_as_json() -> None:
    code, out, err = gen("--name", "a", "--resources", '{"limits": {"memory": "4Gi", "cpu": 2}}')
    assert (code, err) == (0, "")
    [container] = yaml.safe_load(out)["spec"]["worker"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"memory": "4Gi", "cpu": 2}}


@pytest.mark.check(47)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--resources", "{'limits': {}}"), "--resources is not JSON: Expecting property name"),
        (("--resources", "4Gi"), "--resources is not JSON"),
        (("--resources", '"4Gi"'), "resources is '4Gi'; write a dictionary"),
        (("--resources", '{"limit": {}}'), "unknown field 'limit'"),
        (("-e", "=b"), "'' is not the name of a variable"),
        (("-e", "NOT_SET_HERE"), "NOT_SET_HERE is not set in this environment"),
        (("--n-workers", "many"), "many"),
        (("--scheduler-service-type", "ExternalName"), "choose one of ClusterIP"),
        (("--worker-command", ""), "the worker command is empty"),
        (("--name", "J.Doe"), "'J.Doe' is not a valid cluster name"),
    ],
)
def test_gen_cluster_names_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    code, out, err = gen("--name", "a", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.check(47)
def test_it_is_a_command_of_dask(tmp_path: Path) -> None:
    done = subprocess.run(
        [DASK, "kubernetes", "gen", "cluster", "--name", "a"],
        env=environment_with_daskjob(tmp_path, PYTHONWARNINGS="error"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert yaml.safe_load(done.stdout)["kind"] == "DaskCluster"


@pytest.mark.check(47)
def test_both_are_commands_where_dask_kubernetes_is_installed_too(tmp_path: Path) -> None:
    found = environment_with_daskjob(tmp_path)
    bin_folder = environment(DASK_KUBERNETES)
    done = subprocess.run(
        [bin_folder / "dask", "--help"], env=found, capture_output=True, text=True, check=True
    )
    names = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert {"kubernetes", "daskjob-kubernetes"} <= set(names)
    assert "overwritten" not in done.stderr
    assert "exception occurred" not in done.stderr


@pytest.mark.check(47)
def test_without_a_kubernetes_the_message_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [DASK, "kubernetes", "port-forward", "mine"],
        env=environment_with_daskjob(tmp_path, KUBECONFIG=str(tmp_path / "none")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "No such cluster" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.check(47)
@pytest.mark.check(14)
async def test_generated_cluster_runs_and_is_forwarded_from_its_namespace(
    with_crds: Kubernetes, namespace: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    image = with_crds.image("dask")
    found = environment_with_daskjob(tmp_path, KUBECONFIG=str(with_crds.kubeconfig))
    words = f"gen cluster --name mine --image {image} --n-workers 1 -e A=b=c".split()
    made = subprocess.run(
        [DASK, "kubernetes", *words], env=found, capture_output=True, text=True, check=True
    )
    kubectl("apply", "-f", "-", stdin=made.stdout)

    def forward(*more: str) -> subprocess.Popen[str]:
        command = [str(DASK), "kubernetes", "port-forward", "mine", *more]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=found, stdout=pipe, stderr=pipe, text=True)

    absent = forward("-n", "default")
    _, err = await asyncio.to_thread(absent.communicate, timeout=60)
    assert absent.returncode == 1
    assert err.startswith("Error: there is no cluster 'mine' in namespace default")
    async with operator(with_crds, namespace, tmp_path):
        command = forward("-n", namespace, "--port", "0", "--dashboard-port", "0")
        lines = await asyncio.to_thread(_first_lines, command, 3)
        assert [line.split(" at: ")[0] for line in lines[:2]] == ["Scheduler", "Dashboard"]
        assert lines[2] == "Press ctrl+c to exit\n"
        address = lines[0].split()[-1]
        assert await asyncio.to_thread(_computed, address) == "4950 b=c"
        command.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(command.communicate, timeout=30)
        assert (command.returncode, out, "Traceback" in err) == (
            0,
            "Shutting down port-forward\n",
            False,
        )
        assert len(kubectl.there("daskclusters")) == 1


def _first_lines(command: subprocess.Popen[str], count: int) -> list[str]:
    assert command.stdout is not None
    return [command.stdout.readline() for _ in range(count)]


def _computed(address: str) -> str:
    program = (
        "import os, sys; from distributed import Client\n"
        "with Client(sys.argv[1], timeout=60) as client:\n"
        "    print(client.submit(sum, range(100)).result(), client.submit(os.getenv, 'A').result())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, address], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
