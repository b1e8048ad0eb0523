"""Builders and templates: equal to the golden outputs of dask-kubernetes 2024.4.2, minus leaks."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from daskjob.classic import builders, models
from daskjob.classic.builders import clean_pod_template, make_pod_from_dict, make_pod_spec
from daskjob.classic.models import manifest_of
from tests.classic.golden import golden
from tests.cluster.cache import cache_folder, exclusive

CASES: list[dict[str, Any]] = [c for c in golden()["cases"] if c["function"] != "pods"]
CONTAINER = {"name": "a", "image": "i"}
POD = {"spec": {"containers": [CONTAINER]}}
#: Releases of the package ``kubernetes`` with generated classes of two kinds.
CLIENTS = ("34.1.0", "35.0.0", "36.0.3", "37.0.2")


def made(case: dict[str, Any]) -> Any:
    arguments = copy.deepcopy(case["arguments"])
    if case["function"] == "clean_pod_template":
        return clean_pod_template(make_pod_from_dict(arguments.pop("pod")), **arguments)
    if "template" in arguments:
        kind = case["function"].split("_")[1]
        arguments = (getattr(builders, f"make_{kind}_from_dict")(arguments["template"]),)
        return getattr(builders, case["function"])(*arguments)
    return getattr(builders, case["function"])(**arguments)


@pytest.mark.check(50)
@pytest.mark.parametrize("number", range(len(CASES)))
def test_builder_returns_what_dask_kubernetes_returned(number: int) -> None:
    case = CASES[number]
    if "error" in case:
        with pytest.raises(ValueError, match="must be one of"):
            made(case)
    else:
        assert manifest_of(made(case)) == case["result"]


@pytest.mark.check(50)
def test_no_result_shares_anything_with_another_or_with_an_argument() -> None:
    given = copy.deepcopy(POD)
    one, two = make_pod_spec("i"), make_pod_spec("i")
    one.metadata.labels["leaks"] = one.metadata.annotations["leaks"] = "yes"
    assert (two.metadata.labels, two.metadata.annotations) == ({}, {})
    assert make_pod_spec("i").metadata.labels == {}

    labels, config = {"a": "b"}, {"volumes": [{"name": "v", "emptyDir": {}}]}
    pod = make_pod_spec("i", labels=labels, extra_pod_config=config)
    pod.metadata.labels["c"] = "d"
    pod.spec.volumes.append(models.V1Volume(name="w"))
    assert (labels, config["volumes"]) == ({"a": "b"}, [{"name": "v", "emptyDir": {}}])

    unnamed = {"spec": {"containers": [{"image": "i"}]}}
    pod = make_pod_from_dict(unnamed)
    assert pod.spec.containers[0].name == "dask-0"
    assert unnamed == {"spec": {"containers": [{"image": "i"}]}}

    cleaned = clean_pod_template(make_pod_from_dict(given))
    cleaned.spec.containers[0].env.append({"name": "A", "value": "b"})
    assert given == POD


@pytest.mark.check(50)
def test_lists_within_merged_mappings_may_grow() -> None:
    terms: list[dict[str, Any]] = [{"matchFields": []}, {"matchExpressions": []}, {}]
    extra = {"dnsConfig": {"searches": ["a", "b"]}}
    pod = make_pod_spec("i", extra_pod_config=extra)
    builders._add_fields("PodSpec", found := manifest_of(pod.spec), {"dnsConfig": {"searches": []}})
    assert found["dnsConfig"] == {"searches": ["a", "b"]}
    selector = {"nodeSelectorTerms": terms}
    assert builders._merged({"nodeSelectorTerms": [{"a": 1}]}, selector) == {
        "nodeSelectorTerms": [{"a": 1, "matchFields": []}, *terms[1:]]
    }


@pytest.mark.check(53)
@pytest.mark.parametrize(
    ("template", "named"),
    [
        (POD, "from_dict"),
        ("worker-spec.yml", "from_yaml"),
        ({}, "from_dict"),
    ],
)
def test_template_of_the_wrong_type_names_the_right_function(template: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        clean_pod_template(template)


@pytest.mark.parametrize(
    "given", [{}, {"spec": {}}, {"spec": {"containers": []}}, [], None, "text"]
)
def test_template_without_containers_is_rejected(given: Any) -> None:
    with pytest.raises(ValueError, match=r"needs spec\.containers"):
        make_pod_from_dict(given)


def test_objects_work_like_those_of_the_client() -> None:
    pod = make_pod_from_dict({"metadata": {}, "spec": {"hostIPC": True, "containers": [CONTAINER]}})
    assert (pod.metadata.labels, pod.spec.host_ipc, pod.status) == (None, True, None)
    assert pod == copy.deepcopy(pod)
    assert pod.to_dict()["spec"]["containers"][0]["image_pull_policy"] is None
    assert pod.to_dict(serialize=True)["spec"]["hostIPC"] is True
    assert "image='i'" in repr(pod.spec.containers[0])
    with pytest.raises(AttributeError, match="V1PodSpec has no attribute 'tolerance'"):
        pod.spec.tolerance = []
    with pytest.raises(TypeError, match="V1EnvVar has no argument 'val'"):
        models.V1EnvVar(name="A", val="b")
    with pytest.raises(AttributeError, match="V1Nothing"):
        models.V1Nothing  # noqa: B018
    # Plurals of acronyms, reserved words.
    assert models.V1PodStatus.attribute_map["pod_ips"] == "podIPs"
    assert models.V1LifecycleHandler.attribute_map["_exec"] == "exec"


def test_fields_are_those_of_a_manifest_too() -> None:
    pod = make_pod_from_dict({"metadata": {}, "spec": {"hostIPC": True, "containers": [CONTAINER]}})
    pod["metadata"]["labels"] = {"a": "b"}
    pod["spec"]["nodeSelector"] = {"disktype": "ssd"}
    assert (pod.metadata.labels, pod.spec.node_selector) == ({"a": "b"}, {"disktype": "ssd"})
    assert pod["spec"]["hostIPC"] is True
    assert pod["spec"]["containers"][0]["image"] == "i"
    for name in ("host_ipc", "nodeselector", "labels"):
        with pytest.raises(KeyError, match=name):
            pod["spec"][name]
        with pytest.raises(KeyError, match=name):
            pod["spec"][name] = 1
    with pytest.raises(TypeError):
        iter(pod)  # type: ignore[call-overload]


# With the package of Kubernetes' client, and without it

WITH_CLIENT = """
import json, sys
sys.path[:0] = [{folder!r}]
from kubernetes import client
from daskjob.classic.builders import clean_pod_template, make_pod_from_dict, make_pod_spec
from daskjob.classic.models import manifest_of

theirs = client.V1Pod(
    metadata=client.V1ObjectMeta(labels={{"a": "b"}}, annotations={{"c": "d"}}),
    spec=client.V1PodSpec(
        restart_policy="Never",
        tolerations=[client.V1Toleration(key="k", operator="Exists")],
        containers=[client.V1Container(
            name="w", image="i", args=["dask-worker"],
            env=[client.V1EnvVar(name="A", value="b")],
            resources=client.V1ResourceRequirements(limits={{"cpu": "1"}}, requests={{}}),
            lifecycle=client.V1Lifecycle(pre_stop=client.V1LifecycleHandler(
                _exec=client.V1ExecAction(command=["true"])))
                if "_exec" in client.V1LifecycleHandler.attribute_map else None,
        )],
    ),
)
ours = clean_pod_template(theirs, "none")
# Objects of theirs in ours, and ours as a request of theirs.
ours.spec.containers.append(client.V1Container(name="side", image="j"))
serialize = client.ApiClient.sanitize_for_serialization
api = client.ApiClient()
taken = api.sanitize_for_serialization(theirs)
sent = api.sanitize_for_serialization(ours)
built = make_pod_spec("i", labels={{"a": "b"}}, cpu_limit=2)
assert api.sanitize_for_serialization(built) == manifest_of(built)
for version in set(client.V1Pod.attribute_map) & set(type(ours).attribute_map):
    assert client.V1Pod.attribute_map[version] == type(ours).attribute_map[version]
names = ("Container", "PodSpec", "EnvVar", "ObjectMeta", "PodStatus", "Service", "ServiceSpec")
for name in (*names, "PodDisruptionBudget", "PodDisruptionBudgetSpec", "LifecycleHandler"):
    from daskjob.classic import models
    mine = models.model(name).attribute_map
    other = getattr(client, "V1" + name).attribute_map
    assert all(other[key] == value for key, value in mine.items() if key in other), name
    lacking = set(mine) - set(other) - {{"pod_ips", "host_ips", "cluster_ips", "external_ips"}}
    assert not lacking - {{"_exec", "load_balancer_source_ranges"}}, (name, lacking)
print(json.dumps([taken, manifest_of(theirs), manifest_of(ours), sent]))
"""


@cache
def client_folder(version: str) -> Path:
    """A folder with the package ``kubernetes`` of this version, made once."""
    folder = cache_folder() / f"kubernetes-client-{version}"
    with exclusive("kubernetes-client"):
        if not folder.exists():
            new = folder.with_suffix(".new")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"]
            subprocess.run([*pip, "--target", str(new), f"kubernetes=={version}"], check=True)
            new.rename(folder)
    return folder


@pytest.mark.check(51)
@pytest.mark.parametrize("version", CLIENTS)
def test_pods_of_the_client_go_in_and_pods_like_them_come_out(version: str) -> None:
    code = WITH_CLIENT.format(folder=str(client_folder(version)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    taken, theirs, ours, sent = json.loads(done.stdout)
    assert taken == theirs
    assert sent == ours
    assert [c["name"] for c in sent["spec"]["containers"]] == ["w", "side"]
    assert [t["key"] for t in sent["spec"]["tolerations"]] == [
        *("k", "k8s.dask.org/dedicated", "k8s.dask.org_dedicated")
    ]


@pytest.mark.check(51)
def test_nothing_needs_the_package_of_the_client() -> None:
    code = """
import sys
for name in ("kubernetes", "kubernetes_asyncio", "kr8s"):
    sys.modules[name] = None
from daskjob.classic import make_pod_from_dict, make_pod_spec
assert make_pod_spec("i").spec.containers[0].image == "i"
assert make_pod_from_dict({"spec": {"containers": [{"image": "i"}]}}).spec.containers[0].name
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
