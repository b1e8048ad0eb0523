"""Native clusters start from any state, run in parallel, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images
from tests.cluster.components import Unit
from tests.cluster.native import CLUSTERS, NativeCluster, NotUp, _mounts, clusters
from tests.cluster.packages import Missing, program
from tests.cluster.providers import PROCESS_VARIABLE, External, provide, wanted
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not wanted() or os.geteuid() != 0, reason="native clusters need root"
)

NAMES = ("self-a", "self-b")


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[NativeCluster, NativeCluster]]:
    """Two clusters that run at the same time."""
    both = NativeCluster(NAMES[0]), NativeCluster(NAMES[1])
    try:
        for cluster in both:
            cluster.up()
        yield both
    finally:
        for cluster in both:
            cluster.down()


@pytest.fixture
def alone() -> Iterator[NativeCluster]:
    cluster = NativeCluster("self-alone")
    yield cluster
    cluster.down()


def kubectl(cluster: NativeCluster, *arguments: str, stdin: str | None = None) -> str:
    command = [*External(cluster.kubeconfig).command, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_pod(cluster: NativeCluster, name: str) -> dict[str, Any]:
    """Start an idle pod; return it once it is running."""
    image = images.pause().reference
    kubectl(cluster, "run", name, f"--image={image}", "--image-pull-policy=IfNotPresent")
    kubectl(cluster, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    found: dict[str, Any] = json.loads(kubectl(cluster, "get", "pod", name, "-o", "json"))
    return found


def traces(name: str) -> dict[str, list[str]]:
    """The traces of one cluster, or of any, on the machine outside of the cluster's folder."""
    mark = f"DASKJOB_CLUSTER={CLUSTERS / name}".encode()
    ip = program("ip")
    return {
        "processes": [p for p in os.listdir("/proc") if p.isdigit() and mark in environment(p)],
        # Images may be built at the same time.
        "mounts": sorted(m for m in _mounts() if not is_of_a_build(m)),
        "interfaces": lines(ip, "-o", "link", "show"),
        "routes": lines(ip, "route", "show", "table", "all"),
        "rules": lines(program("iptables-save")),
        "groups": [str(path) for path in (*Path("/sys/fs/cgroup").glob(f"daskjob-{name}"),
                                          *Path("/sys/fs/cgroup").glob(f"*/daskjob-{name}"))],
        "files": [str(path) for path in CLUSTERS.glob(f"{name}*")],
    }  # fmt: skip


def environment(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return b""


def is_of_a_build(mount: str) -> bool:
    # Tests of images that run in parallel have their own cache.
    return "/daskjob/buildah/" in mount or "mmdebstrap" in mount


def cables(line: str) -> set[str]:
    """The names of clusters' links in a line."""
    return set(re.findall(r"\bdaskjob\d+\b", line))


def lines(*command: str) -> list[str]:
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Ignore counters and the time of a dump.
    return sorted(line for line in text.splitlines() if line and line[0] not in "#:")


def test_down_leaves_no_process_mount_interface_route_rule_group_or_file(
    alone: NativeCluster,
) -> None:
    before = traces(alone.name)
    settings = {path: Path(path).read_text() for path in ("/proc/sys/kernel/panic",)}
    alone.up()
    run_pod(alone, "left-running")
    during = traces(alone.name)
    assert all(during[kind] != before[kind] for kind in ("processes", "interfaces", "routes"))
    assert during["groups"]
    cable = alone.platform.network.interface
    alone.down()
    after = traces(alone.name)
    for found in (before, after):
        # Only these traces can be of other clusters, which may start and stop at any time.
        for kind in ("interfaces", "routes"):
            found[kind] = [line for line in found[kind] if cables(line) <= {cable}]
    assert after == before
    assert {path: Path(path).read_text() for path in settings} == settings


def test_down_of_a_cluster_that_was_never_up_is_not_an_error(alone: NativeCluster) -> None:
    alone.down()
    assert not alone.running


def test_two_clusters_run_in_parallel(pair: tuple[NativeCluster, NativeCluster]) -> None:
    pods = [run_pod(cluster, "same-name") for cluster in pair]
    addresses = [found["status"]["podIP"] for found in pods]
    assert addresses[0].rpartition(".")[0] != addresses[1].rpartition(".")[0]
    for cluster in pair:
        names = kubectl(cluster, "get", "pods", "--all-namespaces", "-o", "name").split()
        assert names == ["pod/same-name"]
    assert {c.name for c in clusters()} >= set(NAMES)


def test_up_of_a_running_cluster_changes_nothing(pair: tuple[NativeCluster, NativeCluster]) -> None:
    before = [(part.name, part.pid) for part in pair[0].parts()]
    pair[0].up()
    assert [(part.name, part.pid) for part in pair[0].parts()] == before


@pytest.mark.parametrize("name", ["etcd", "containerd", "kubelet"])
def test_up_after_a_component_was_killed_keeps_the_running_cluster(
    pair: tuple[NativeCluster, NativeCluster], name: str
) -> None:
    cluster = pair[1]
    run_pod(cluster, f"before-{name}")
    killed = next(part for part in cluster.parts() if part.name == name)
    os.kill(killed.pid, signal.SIGKILL)
    cluster.up()
    wait_until(
        lambda: any(p.name == name and p.pid != killed.pid for p in cluster.parts()),
        shows=f"{name} is started again",
    )
    kubectl(cluster, "wait", "node", "--all", "--for=condition=Ready", "--timeout=60s")
    run_pod(cluster, f"after-{name}")
    kubectl(cluster, "wait", f"pod/before-{name}", "--for=condition=Ready", "--timeout=60s")
    # Processes of pods are no components.
    assert len({part.name for part in cluster.parts()}) == len(cluster.parts())


def test_up_after_the_whole_cluster_was_killed_starts_a_new_one(alone: NativeCluster) -> None:
    alone.up()
    run_pod(alone, "lost")
    supervisor = alone._supervisor()
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not traces(alone.name)["processes"], shows="it ends with its supervisor")
    alone.up()
    assert kubectl(alone, "get", "pods", "-o", "name") == ""
    run_pod(alone, "new")


def test_up_after_an_interrupted_up_starts_a_new_cluster(alone: NativeCluster) -> None:
    command = [sys.executable, "-m", "tests.cluster", "--name", alone.name, "up"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: (alone.folder / "up").exists(), shows="the supervisor runs")
        process.kill()
    alone.up()
    run_pod(alone, "works")


def test_two_concurrent_ups_start_one_cluster(alone: NativeCluster) -> None:
    command = [sys.executable, "-m", "tests.cluster", "--name", alone.name, "up"]
    both = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len([part for part in alone.parts() if part.name == "etcd"]) == 1


def test_component_that_never_starts_is_reported_with_the_end_of_its_log(
    alone: NativeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cluster.native.READY_SECONDS", 3.0)
    broken = Unit("etcd", ["sh", "-c", "echo the disk is full; exit 1"])
    monkeypatch.setattr("tests.cluster.components.etcd", lambda _platform: broken)
    with pytest.raises(NotUp, match="not within 3 s: the API server") as raised:
        alone.up()
    assert "etcd.log\nthe disk is full" in str(raised.value)


def test_external_cluster_is_used_and_left_running(
    pair: tuple[NativeCluster, NativeCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKJOB_TEST_KUBECONFIG", str(pair[0].kubeconfig))
    _leave_the_choice_open(monkeypatch)
    provider = provide(Path("/anywhere"))
    assert provider.kubeconfig == pair[0].kubeconfig
    assert provider.load(images.pause()) == images.pause().reference
    provider.stop()
    assert pair[0].running


def test_kubeconfig_without_a_cluster_is_an_error_and_not_a_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_the_choice_open(monkeypatch)
    missing = tmp_path / "none"
    monkeypatch.setenv("DASKJOB_TEST_KUBECONFIG", str(missing))
    with pytest.raises(Missing, match="the file does not exist"):
        provide(Path("/anywhere"))
    missing.write_text("{}")
    with pytest.raises(Missing, match="does not answer"):
        provide(Path("/anywhere"))


def test_parallel_test_processes_do_not_share_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_the_choice_open(monkeypatch)
    monkeypatch.setenv("DASKJOB_TEST_KUBECONFIG", str(tmp_path))
    monkeypatch.setenv(PROCESS_VARIABLE, "gw0")
    with pytest.raises(Missing, match="need one each: unset either it or JOBS"):
        provide(Path("/anywhere"))


def _leave_the_choice_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the choice of a cluster for the current run."""
    monkeypatch.delenv("DASKJOB_TEST_CLUSTER", raising=False)
    monkeypatch.delenv(PROCESS_VARIABLE, raising=False)


def test_unknown_choice_of_a_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKJOB_TEST_CLUSTER", "minikube")
    with pytest.raises(Missing, match="external, kind, native and none"):
        provide(Path("/anywhere"))


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "x" * 41])
def test_name_that_does_not_fit_into_a_path_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="cluster's name"):
        NativeCluster(name)
