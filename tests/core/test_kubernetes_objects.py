"""What the API server rejects in the parts of a manifest that are Kubernetes' own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from daskjob.core.quantity import similar_quantity
from daskjob.core.spec import kubernetes_fields
from daskjob.core.spec.doubts import doubts
from daskjob.core.spec.kubernetes_objects import object_mistakes, template_mistakes
from tests.core.manifests import cluster, container, group, job, pod

ROOT = Path(__file__).parents[2]


def runner(**fields: Any) -> dict[str, Any]:
    """A job whose runner's container has these fields."""
    return job(runner=pod(container("job", "python", **fields)))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1GB", "'1G' or '1Gi'"),
        ("1.5GiB", "'1.5Gi'"),
        ("4 GB", "'4G' or '4Gi'"),
        ("4gi", "'4Gi'"),
        ("512mb", "'512M' or '512Mi'"),
        ("3 kB", "'3k' or '3Ki'"),
        ("1,5Gi", "'1.5Gi'"),
        ("two", "'2'"),
        ("2 cores", "'2'"),
        ("100 mcpu", "'100m'"),
        ("plenty", ""),
        ("50%", ""),
    ],
)
def test_quantity_that_was_meant_is_named(text: str, meant: str) -> None:
    assert similar_quantity(text) == meant
    (mistake,) = template_mistakes(runner(resources={"limits": {"memory": text}}))
    assert mistake.path == "spec.job.spec.containers[0].resources.limits.memory"
    assert meant in mistake.allowed


@pytest.mark.parametrize("right", ["1G", "1.5Gi", "500m", 2, 0.5, "2", "1e3", None])
def test_quantities_of_kubernetes_are_no_mistake(right: object) -> None:
    assert template_mistakes(runner(resources={"requests": {"memory": right}})) == []


@pytest.mark.parametrize(
    ("pod_fields", "path", "meant"),
    [
        ({"nodeselector": {"a": "b"}}, "nodeselector", "'nodeSelector'"),
        ({"toleration": []}, "toleration", "'tolerations'"),
        (
            {"volumes": [{"name": "a", "emptydir": {}}]},
            "volumes[0].emptydir",
            "'emptyDir'",
        ),
        (
            {"volumes": [{"name": "a", "configMap": {"names": "b"}}]},
            "volumes[0].configMap.names",
            "'name'",
        ),
        (
            {"affinity": {"nodeAffinity": {"preferredDuringScheduling": []}}},
            "affinity.nodeAffinity.preferredDuringScheduling",
            "preferredDuringSchedulingIgnoredDuringExecution",
        ),
    ],
)
def test_unknown_field_at_any_depth_is_named(
    pod_fields: dict[str, Any], path: str, meant: str
) -> None:
    (mistake,) = template_mistakes(job(runner=pod_fields))
    assert mistake.path == f"spec.job.spec.{path}"
    assert meant in mistake.allowed


@pytest.mark.parametrize(
    ("fields", "path", "meant"),
    [
        ({"arg": ["python"]}, "arg", "did you mean 'args'?"),
        ({"volumeMount": []}, "volumeMount", "did you mean 'volumeMounts'?"),
        ({"nodeSelector": {}}, "nodeSelector", "it is a field of the PodSpec"),
        ({"livenessProbe": {"httpGet": {"ports": 1}}}, "livenessProbe.httpGet.ports", "'port'"),
        ({"tty": "yes"}, "tty", "write true or false"),
        ({"workingDir": 3}, "workingDir", "write a string"),
        ({"ports": [{"name": "a"}]}, "ports[0].containerPort", "it is required"),
    ],
)
def test_wrong_field_of_a_container_is_named(fields: dict[str, Any], path: str, meant: str) -> None:
    (mistake,) = template_mistakes(runner(**fields))
    assert mistake.path == f"spec.job.spec.containers[0].{path}"
    assert meant in mistake.allowed


@pytest.mark.parametrize(
    ("command", "listed"),
    [
        ({"args": ["python df.py"]}, "[python, df.py]"),
        ({"command": ["dask worker --nthreads 2"]}, '[dask, worker, --nthreads, "2"]'),
        ({"args": ["/usr/bin/python3 -m pkg.main"]}, "[/usr/bin/python3, -m, pkg.main]"),
        ({"args": "dask scheduler"}, "[dask, scheduler]"),
        ({"args": ["bash -c 'a b'"]}, '[bash, -c, "a b"]'),
    ],
)
def test_command_in_one_string_is_written_as_words(command: dict[str, Any], listed: str) -> None:
    spec = {"name": "job", **command}
    found = template_mistakes(job(runner=pod(spec)))
    assert any(listed in mistake.allowed for mistake in found)


@pytest.mark.parametrize(
    "words", [["/opt/my tools/run"], ["sh", "-c", "a b"], ["python", "my script.py"], ["tini"]]
)
def test_words_with_spaces_that_are_one_word_are_no_mistake(words: list[str]) -> None:
    assert template_mistakes(job(runner=pod({"name": "job", "args": words}))) == []


def test_every_pod_and_service_of_our_kinds_is_checked() -> None:
    wrong = {"resources": {"limits": {"cpu": "two"}}}
    worker = pod(container("worker", "dask-worker", **wrong))
    manifests = [
        job(cluster={"spec": cluster(worker={"spec": worker})["spec"]}),
        cluster(worker={"spec": worker}),
        cluster(workerGroups=[{"name": "big", "spec": worker}]),
        {**group(), "spec": {"cluster": "a", "worker": {"spec": worker}}},
    ]
    paths = [mistake.path for manifest in manifests for mistake in template_mistakes(manifest)]
    assert [path.partition(".spec.containers")[0] for path in paths] == [
        "spec.cluster.spec.worker",
        "spec.worker",
        "spec.workerGroups[0]",
        "spec.worker",
    ]
    service = cluster()
    service["spec"]["scheduler"]["service"] = {"port": []}
    assert [mistake.path for mistake in template_mistakes(service)] == [
        "spec.scheduler.service.port"
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "path"),
    [
        ("ConfigMap", {"data": {"a": 1}}, "data.a"),
        ("ConfigMap", {"datas": {}}, "datas"),
        ("Secret", {"data": {"a": "no base 64"}}, "data.a"),
        ("Secret", {"stringData": ["a"]}, "stringData"),
        (
            "Service",
            {"spec": {"ports": [{"targetPort": 1.5, "port": 1}]}},
            "spec.ports[0].targetPort",
        ),
        (
            "PersistentVolumeClaim",
            {"spec": {"resources": {"requests": {"storage": "1GB"}}}},
            "spec.resources.requests.storage",
        ),
    ],
)
def test_mistake_in_another_kind_is_named(kind: str, fields: dict[str, Any], path: str) -> None:
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, **fields}
    assert [mistake.path for mistake in object_mistakes(kind, manifest)] == [path]


@pytest.mark.parametrize(
    ("resources", "doubt"),
    [
        ({"limits": {"cpu": "500M"}}, "did you mean 500m?"),
        ({"limits": {"memory": "512m"}}, "did you mean 512Mi?"),
        ({"requests": {"memory": 4}}, "did you mean 4Mi or 4Gi?"),
    ],
)
def test_size_that_kubernetes_accepts_and_nobody_means_is_a_doubt(
    resources: dict[str, Any], doubt: str
) -> None:
    manifest = runner(resources=resources)
    assert template_mistakes(manifest) == []
    (found,) = [found for found in doubts(manifest) if "resources" in found]
    assert doubt in found


def test_container_without_a_command_is_a_doubt() -> None:
    (found,) = doubts(job(runner=pod({"name": "job", "image": "a"})))
    assert "neither command nor args" in found


def test_table_is_that_of_the_kubernetes_that_tests_run_on() -> None:
    pins = (ROOT / "tests/cluster/tools/go.mod").read_text()
    found = re.search(r"k8s\.io/kubernetes v([\d.]+)", pins)
    assert found
    assert found.group(1) == kubernetes_fields.VERSION, "run `make fields`"
