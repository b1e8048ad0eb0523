"""The manifests that users build and change: as of dask-kubernetes, but for known differences."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskjob.core.errors import DaskJobError
from daskjob.core.parsed import parsed_cluster
from daskjob.kubecluster.specs import (
    make_cluster_spec,
    make_scheduler_spec,
    make_worker_spec,
)
from tests.cluster.environments import DASK_KUBERNETES, environment

Manifest = dict[str, Any]

CALLS: dict[str, tuple[str, Manifest]] = {
    "the least": ("make_cluster_spec", {"name": "foo"}),
    "documented": (
        "make_cluster_spec",
        {
            "name": "foo",
            "n_workers": 2,
            "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "64Gi"}},
        },
    ),
    "everything": (
        "make_cluster_spec",
        {
            "name": "all-of-it",
            "image": "registry.test/dask:1",
            "n_workers": 0,
            "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": "500m"}},
            "env": {"A": "b", "EMPTY": ""},
            "worker_command": "dask-cuda-worker --nthreads 2",
            "scheduler_service_type": "LoadBalancer",
            "idle_timeout": 60,
            "jupyter": True,
        },
    ),
    "variables as Kubernetes has them": (
        "make_cluster_spec",
        {"name": "foo", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
    ),
    "a group": ("make_worker_spec", {}),
    "a command as a list": (
        "make_worker_spec",
        {"n_workers": 4, "worker_command": ["dask-worker", "--nworkers", "2"]},
    ),
    "a scheduler": ("make_scheduler_spec", {"cluster_name": "foo", "jupyter": True}),
    "a NodePort": (
        "make_scheduler_spec",
        {"cluster_name": "foo", "scheduler_service_type": "NodePort", "env": {"A": "b"}},
    ),
}

PROGRAM = """
import json, sys
from dask_kubernetes.operator.kubecluster import kubecluster
calls = json.load(sys.stdin)
json.dump([getattr(kubecluster, name)(**keywords) for name, keywords in calls], sys.stdout)
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """What dask-kubernetes returns for each call; its import writes to the home directory."""
    home = str(tmp_path_factory.mktemp("home"))
    done = subprocess.run(
        [environment(DASK_KUBERNETES) / "python", "-c", PROGRAM],
        input=json.dumps(list(CALLS.values())),
        env={**os.environ, "HOME": home, "DASK_CONFIG": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CALLS, json.loads(done.stdout), strict=True))


def without_known_differences(original: Manifest) -> Manifest:
    """Return a manifest of dask-kubernetes as daskjob has it.

    1. `dask-scheduler` and `dask-worker`, which distributed no longer has, are `dask scheduler` and
       `dask worker`.
    2. A null is what Kubernetes makes of it: an absent count, no variables, no resources.
    """
    found = copy.deepcopy(original)
    spec = found["spec"]
    parts = [spec[name] for name in ("scheduler", "worker") if name in spec] or [found]
    for part in parts:
        for container in part["spec"]["containers"]:
            command, *rest = container["args"]
            if command in ("dask-scheduler", "dask-worker"):
                container["args"] = [*command.split("-"), *rest]
            container["env"] = container["env"] or []
            container["resources"] = container["resources"] or {}
        if part.get("replicas", 0) is None:
            del part["replicas"]
    return found


BUILDERS = {
    builder.__name__: builder
    for builder in (make_cluster_spec, make_scheduler_spec, make_worker_spec)
}


@pytest.mark.check(8)
@pytest.mark.parametrize("call", CALLS)
def test_the_manifest_is_that_of_dask_kubernetes(call: str, upstream: dict[str, Manifest]) -> None:
    name, keywords = CALLS[call]
    builder: Any = BUILDERS[name]
    assert builder(**keywords) == without_known_differences(upstream[call])


def test_the_known_differences_are_needed(upstream: dict[str, Manifest]) -> None:
    [container] = upstream["the least"]["spec"]["worker"]["spec"]["containers"]
    assert (container["args"][0], container["env"]) == ("dask-worker", None)
    assert upstream["the least"]["spec"]["worker"]["replicas"] is None


@pytest.mark.parametrize("call", [call for call in CALLS if CALLS[call][0] == "make_cluster_spec"])
def test_a_cluster_has_no_mistakes(call: str) -> None:
    manifest = make_cluster_spec(**CALLS[call][1])
    manifest["metadata"]["namespace"] = "default"
    assert parsed_cluster(manifest)[1] == ()


@pytest.mark.check(8)
@pytest.mark.parametrize("given", [{"A": 3, "B": True, "C": 1.5}, {"A": None}, {"A": "1", "B": 2}])
def test_values_of_variables_are_text(given: Manifest) -> None:
    spec = make_cluster_spec("foo", env=given)["spec"]
    for part in ("scheduler", "worker"):
        [container] = spec[part]["spec"]["containers"]
        assert [variable["name"] for variable in container["env"]] == list(given)
        assert all(isinstance(variable["value"], str) for variable in container["env"])


def test_values_in_a_list_of_variables_are_text_and_the_list_stays_as_it_was() -> None:
    given: list[Manifest] = [{"name": "A", "value": 3}, {"name": "B", "valueFrom": {"x": {}}}]
    [container] = make_worker_spec(env=given)["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "3"}, {"name": "B", "valueFrom": {"x": {}}}]
    assert given[0]["value"] == 3


def test_what_a_user_changes_changes_nothing_else() -> None:
    resources, env = {"limits": {"cpu": 1}}, [{"name": "A", "value": "b"}]
    spec = make_cluster_spec("foo", resources=resources, env=env)["spec"]
    [worker], [scheduler] = (spec[p]["spec"]["containers"] for p in ("worker", "scheduler"))
    worker["resources"]["limits"]["cpu"] = 2
    worker["env"][0]["value"] = "c"
    worker["env"].append({"name": "D", "value": "e"})
    assert scheduler["resources"] == {"limits": {"cpu": 1}} == resources
    assert scheduler["env"] == [{"name": "A", "value": "b"}] == env
    scheduler["readinessProbe"]["httpGet"]["path"] = "/other"
    assert scheduler["livenessProbe"]["httpGet"]["path"] == "/health"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("dask-worker", ["dask", "worker"]),
        ("dask worker --nthreads  2", ["dask", "worker", "--nthreads", "2"]),
        (["dask-worker", "--name x"], ["dask", "worker", "--name x"]),
        ("dask-worker --preload 'a b.py'", ["dask", "worker", "--preload", "a b.py"]),
        ("dask cuda worker", ["dask", "cuda", "worker"]),
    ],
)
def test_a_worker_command_is_read_as_a_shell_does(command: Any, words: list[str]) -> None:
    [container] = make_worker_spec(worker_command=command)["spec"]["containers"]
    assert container["args"][: -len(["--name", "x", "--dashboard", "-a", "8788"])] == words


def test_the_documented_name_of_a_groups_cluster_is_accepted() -> None:
    assert make_worker_spec(cluster_name="foo", n_workers=2) == make_worker_spec(n_workers=2)


@pytest.mark.check(6)
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"resources": {"limit": {"cpu": 1}}}, ValueError, "unknown field 'limit'"),
        ({"resources": {"limits": {"memory": "4GB"}}}, ValueError, "limits.memory is '4GB'"),
        ({"resources": {"requests": "4Gi"}}, TypeError, "requests: '4Gi'"),
        ({"resources": "4Gi"}, TypeError, "resources is '4Gi'"),
        ({"env": "A=b"}, TypeError, "env is 'A=b'"),
        ({"env": ["A=b"]}, TypeError, "'A=b', which is no variable"),
        ({"env": {"A": {"valueFrom": {}}}}, TypeError, "variable A in env"),
        ({"worker_command": ""}, ValueError, "worker command is empty"),
        ({"worker_command": "dask worker '"}, ValueError, "No closing quotation"),
        ({"scheduler_service_type": "ExternalName"}, ValueError, "'ExternalName'; choose one of"),
    ],
)
def test_a_wrong_argument_is_named(arguments: Manifest, kind: type[Exception], words: str) -> None:
    with pytest.raises(DaskJobError) as raised:
        make_cluster_spec("foo", **arguments)
    assert isinstance(raised.value, kind)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_builders_need_only_the_standard_library_and_core(tmp_path: Path) -> None:
    program = "import sys, daskjob.kubecluster.specs; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"distributed", "dask", "kubernetes", "yaml", "aiohttp"} & set(done.stdout.split())
