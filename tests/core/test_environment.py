"""Packages and code in a job's pods: one init container, the same in every role (design §5.7)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daskjob.core.desired.environment import environment_config_map, is_prepared
from daskjob.core.desired.job_objects import desired_objects
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from tests.core import manifests
from tests.core.manifests import cluster_spec, container, job, pod

PLATFORM = Platform(installer="print()", istio_excluded=False)
PACKAGES: Manifest = {"requirements": ["pandas==3.0.1"]}
ARCHIVE: Manifest = {"configMaps": ["code-0", "code-1"], "paths": ["src", "."]}


def built(manifest: Manifest, platform: Platform = PLATFORM) -> dict[str, Manifest]:
    """The objects of a job, by kind and name."""
    manifest["metadata"]["uid"] = "job-uid"
    objects = desired_objects(manifests.read_job(manifest), platform)
    return {f"{o['kind']} {o['metadata']['name']}": o for o in objects}


def pod_specs(manifest: Manifest, platform: Platform = PLATFORM) -> list[Manifest]:
    """The PodSpecs of a job's pods: runner, scheduler, workers."""
    objects = built(manifest, platform)
    return [found["spec"] for name, found in objects.items() if name.startswith("Pod ")]


def runner(platform: Platform = PLATFORM, **spec: Any) -> Manifest:
    """The PodSpec of the runner of a job."""
    return pod_specs(job(**spec), platform)[0]


def with_runner(given: Manifest, **spec: Any) -> Manifest:
    """The PodSpec of a runner whose container has these fields."""
    return runner(job={"spec": pod(container("job", **given))}, **spec)


def value_of(container: Manifest, name: str) -> str | None:
    """The value of a container's variable."""
    found = {v["name"]: v.get("value") for v in container.get("env", ())}
    return found.get(name)


def settings(**spec: Any) -> Manifest:
    """The settings that a job's pods get."""
    found = manifests.read_job(job(**spec))
    made = environment_config_map(found, PLATFORM)
    return dict(json.loads(made["data"]["settings.json"]))


def test_runner_with_packages() -> None:
    spec = with_runner(
        {
            "command": ["python", "sums.py"],
            "imagePullPolicy": "Always",
            "securityContext": {"readOnlyRootFilesystem": True},
            "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}},
            "volumeMounts": [{"name": "wheels", "mountPath": "/wheels", "subPath": "new"}],
            "envFrom": [{"secretRef": {"name": "all"}}],
            "env": [{"name": "PIP_INDEX_URL", "value": "u"}, {"name": "TOKEN", "value": "t"}],
        },
        environment={**PACKAGES, "secretName": "index-login"},
    )
    (init,) = spec["initContainers"]
    assert init == {
        "name": "daskjob-environment",
        "image": spec["containers"][0]["image"],
        "imagePullPolicy": "Always",
        "securityContext": {"readOnlyRootFilesystem": True},
        "command": [
            "python",
            "-u",
            "/daskjob/environment/in_pod.py",
            "/daskjob/environment/settings.json",
        ],
        "env": [{"name": "PIP_INDEX_URL", "value": "u"}],
        "resources": {"requests": {"cpu": "1"}},
        "volumeMounts": [
            {"name": "wheels", "mountPath": "/wheels", "subPath": "new", "readOnly": True},
            {"name": "daskjob-environment", "mountPath": "/daskjob/environment", "readOnly": True},
            {"name": "daskjob-packages", "mountPath": "/daskjob/packages"},
            {"name": "daskjob-login", "mountPath": "/daskjob/login", "readOnly": True},
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    assert spec["volumes"] == [
        {"name": "daskjob-environment", "configMap": {"name": "sums-environment"}},
        {"name": "daskjob-packages", "emptyDir": {}},
        {"name": "daskjob-login", "secret": {"secretName": "index-login"}},
    ]
    main = spec["containers"][0]
    assert value_of(main, "PYTHONPATH") == "/daskjob/packages"
    # The login is the init container's alone.
    assert [mount["mountPath"] for mount in main["volumeMounts"]] == [
        "/wheels",
        "/daskjob/packages",
    ]
    assert "workingDir" not in main


def test_config_map_has_the_program_and_its_settings() -> None:
    objects = built(job(environment=PACKAGES, code=ARCHIVE))
    found = objects["ConfigMap sums-environment"]
    assert found["immutable"] is True
    assert found["metadata"]["ownerReferences"][0]["uid"] == "job-uid"
    assert found["data"]["in_pod.py"] == "print()"
    assert json.loads(found["data"]["settings.json"]) == {
        "packages": "/daskjob/packages",
        "message": "/dev/termination-log",
        "requirements": ["pandas==3.0.1"],
        "code": {"folder": "/daskjob/code", "parts": ["/daskjob/parts/0", "/daskjob/parts/1"]},
    }


def test_settings_name_the_sources() -> None:
    assert settings(
        environment={
            "requiresPython": ">=3.11",
            "indexURLs": ["https://a.test/simple", "https://b.test/simple"],
            "findLinks": "/wheels",
            "secretName": "index-login",
        },
        code={"git": {"url": "https://c.test/app", "commit": "0a" * 20, "secretName": "key"}},
    ) == {
        "packages": "/daskjob/packages",
        "message": "/dev/termination-log",
        "requiresPython": ">=3.11",
        "indexURLs": ["https://a.test/simple", "https://b.test/simple"],
        "findLinks": "/wheels",
        "login": "/daskjob/login",
        "code": {
            "folder": "/daskjob/code",
            "git": {
                "url": "https://c.test/app",
                "commit": "0a" * 20,
                "login": "/daskjob/code-login",
            },
        },
    }


def test_every_role_gets_the_same() -> None:
    group = {"name": "gpu", "replicas": 1, "spec": pod(container("worker"))}
    spec = cluster_spec(replicas=1, workerGroups=[group])
    found = pod_specs(job(environment=PACKAGES, code=ARCHIVE, cluster={"spec": spec}))
    assert len(found) == 4
    for each in found:
        init, main = each["initContainers"][0], each["containers"][0]
        assert (init["name"], init["image"]) == ("daskjob-environment", main["image"])
        assert len(each["initContainers"]) == 1
        path = "/daskjob/code/src:/daskjob/code:/daskjob/packages"
        assert value_of(main, "PYTHONPATH") == path
        assert each["volumes"] == found[0]["volumes"]


def test_code_of_an_archive_is_unpacked_into_an_empty_folder() -> None:
    spec = runner(code=ARCHIVE)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["daskjob-code"] == {"name": "daskjob-code", "emptyDir": {}}
    assert volumes["daskjob-parts"]["projected"]["sources"] == [
        {"configMap": {"name": "code-0", "items": [{"key": "part", "path": "0"}]}},
        {"configMap": {"name": "code-1", "items": [{"key": "part", "path": "1"}]}},
    ]
    mounts = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert mounts == ["/daskjob/code"]


@pytest.mark.parametrize(
    ("code", "source", "sub_path"),
    [
        (
            {"persistentVolumeClaim": {"claimName": "apps", "subPath": "sums/v2"}},
            {"persistentVolumeClaim": {"claimName": "apps"}},
            {"subPath": "sums/v2"},
        ),
        ({"image": "h.test/code:1"}, {"image": {"reference": "h.test/code:1"}}, {}),
    ],
)
def test_code_on_a_volume_is_mounted_as_it_is(
    code: Manifest, source: Manifest, sub_path: Manifest
) -> None:
    objects = built(job(code=code))
    assert "ConfigMap sums-environment" not in objects
    for found in pod_specs(job(code=code)):
        assert "initContainers" not in found
        assert found["volumes"] == [{"name": "daskjob-code", **source}]
        (mount,) = found["containers"][0]["volumeMounts"]
        expected = {"name": "daskjob-code", "mountPath": "/daskjob/code", "readOnly": True}
        assert mount == {**expected, **sub_path}
        assert value_of(found["containers"][0], "PYTHONPATH") == "/daskjob/code"


def test_claim_with_code_that_a_pod_has_already_is_no_second_volume() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "apps", "readOnly": True}}
    template = {**pod(container("job")), "volumes": [volume]}
    code = {"persistentVolumeClaim": {"claimName": "apps", "subPath": "sums"}}
    spec = runner(job={"spec": template}, code=code, environment={"requirements": ["a==1"]})
    claims = [v["name"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert claims == ["data"]
    expected = {
        "name": "data",
        "mountPath": "/daskjob/code",
        "readOnly": True,
        "subPath": "sums",
    }
    for found in (spec["containers"][0], spec["initContainers"][0]):
        assert expected in found["volumeMounts"]


def test_runner_starts_in_the_code_unless_it_says_otherwise() -> None:
    assert runner(code=ARCHIVE)["containers"][0]["workingDir"] == "/daskjob/code"
    own = with_runner({"workingDir": "/data"}, code=ARCHIVE)
    assert own["containers"][0]["workingDir"] == "/data"


def test_job_without_packages_and_code_is_as_before() -> None:
    assert built(job()) == built(job(environment={}))
    for found in pod_specs(job()):
        assert "initContainers" not in found
        assert "volumes" not in found
    assert not is_prepared(manifests.read_job(job()), PLATFORM)


def test_machine_that_prepares_for_its_pods_changes_none() -> None:
    here = Platform(istio_excluded=False, pods_prepare=False)
    objects = built(job(environment=PACKAGES, code=ARCHIVE), here)
    assert objects == built(job(), here)


def test_own_init_containers_come_afterwards_in_their_order() -> None:
    own = [{"name": "first", "image": "i"}, {"name": "second", "image": "i"}]
    template = pod(container("job"), initContainers=own)
    spec = runner(environment=PACKAGES, job={"spec": template})
    order = [init["name"] for init in spec["initContainers"]]
    assert order == ["daskjob-environment", "first", "second"]


def test_sidecar_of_another_image_gets_no_packages() -> None:
    sidecar = container("log", image="h.test/log:1")
    template = pod(container("job"), sidecar)
    spec = runner(environment=PACKAGES, job={"spec": template})
    assert value_of(spec["containers"][1], "PYTHONPATH") is None
    assert "volumeMounts" not in spec["containers"][1]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"value": "/mine"}, "/daskjob/packages:/mine"),
        ({"value": ""}, "/daskjob/packages"),
        (
            {"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
            "/daskjob/packages:$(DASKJOB_OWN_PYTHONPATH)",
        ),
    ],
)
def test_own_python_path_stays_behind_ours(own: Manifest, expected: str) -> None:
    given = {"env": [{"name": "PYTHONPATH", **own}]}
    main = with_runner(given, environment=PACKAGES)["containers"][0]
    assert value_of(main, "PYTHONPATH") == expected
    names = [v["name"] for v in main["env"]]
    if "valueFrom" in own:
        assert names.index("DASKJOB_OWN_PYTHONPATH") < names.index("PYTHONPATH")


def test_files_are_behind_packages_and_code() -> None:
    template = {"spec": pod(container("job")), "files": {"a.py": ""}}
    main = runner(environment=PACKAGES, code=ARCHIVE, job=template)["containers"][0]
    path = "/daskjob/code/src:/daskjob/code:/daskjob/packages:/daskjob/files"
    assert value_of(main, "PYTHONPATH") == path


@pytest.mark.parametrize(
    ("command", "python"),
    [
        (["dask", "worker"], "python"),
        (["/opt/conda/bin/dask", "worker"], "/opt/conda/bin/python"),
        (["/opt/venv/bin/python3.12", "a.py"], "/opt/venv/bin/python3.12"),
        (["python3", "a.py"], "python3"),
        (["/usr/bin/tini", "--", "dask", "worker"], "python"),
        ([], "python"),
    ],
)
def test_python_is_that_of_the_main_container(command: list[str], python: str) -> None:
    (init,) = with_runner({"command": command}, environment=PACKAGES)["initContainers"]
    assert init["command"][0] == python


def test_mount_with_variables_is_left_out() -> None:
    mounts = [{"name": "logs", "mountPath": "/logs", "subPathExpr": "$(POD)"}]
    (init,) = with_runner({"volumeMounts": mounts}, environment=PACKAGES)["initContainers"]
    assert "/logs" not in [mount["mountPath"] for mount in init["volumeMounts"]]
