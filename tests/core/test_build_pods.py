"""The desired pods: runner, scheduler, workers (design §2.2, §3.1)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from daskjob.core.desired.runner import runner_pod
from daskjob.core.desired.scheduler import scheduler_pod
from daskjob.core.desired.workers import worker_pods
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from daskjob.core.spec.policy import Policy
from tests.core import manifests
from tests.core.manifests import IMAGE, cluster, container, group, pod, read_cluster, read_group

PLAIN = Platform(istio_excluded=False)
FILES = {"sums.py": "print(1)"}


def built_runner(
    manifest: Manifest,
    *,
    attempt: int = 0,
    platform: Platform = PLAIN,
    policy: Policy | None = None,
) -> Manifest:
    """The runner pod of a DaskJob."""
    manifest["metadata"].setdefault("uid", "job-uid")
    job = manifests.read_job(manifest)
    return runner_pod(job, policy or job.policy, attempt, platform)


def built_scheduler(
    manifest: Manifest, platform: Platform = PLAIN, token: str = "secret"
) -> Manifest:
    """The scheduler pod of a DaskCluster."""
    manifest["metadata"].setdefault("uid", "cluster-uid")
    return scheduler_pod(read_cluster(manifest), platform, token)


def built_worker(
    manifest: Manifest, of: Manifest | None = None, name: str = "w", platform: Platform = PLAIN
) -> Manifest:
    """A worker pod of a DaskWorkerGroup."""
    manifest["metadata"].setdefault("uid", "group-uid")
    [pod] = worker_pods(read_group(manifest), read_cluster(of or cluster()), [name], platform)
    return pod


def environment(pod: Manifest, index: int = 0) -> list[str]:
    """NAME=value of a container's variables, in their order."""
    return [f"{v['name']}={v.get('value')}" for v in pod["spec"]["containers"][index]["env"]]


def test_the_runner_pod() -> None:
    assert built_runner(manifests.job(attemptDeadlineSeconds=3600), attempt=1) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "sums-runner-1",
            "namespace": "default",
            "labels": {"dask.org/cluster-name": "sums", "dask.org/component": "job-runner"},
            "annotations": {
                "kubectl.kubernetes.io/default-container": "job",
                "kubernetes.dask.org/attempt": "1",
            },
            "ownerReferences": [
                {
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": "DaskJob",
                    "name": "sums",
                    "uid": "job-uid",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "containers": [
                {
                    "name": "job",
                    "image": IMAGE,
                    "args": ["python"],
                    "env": [
                        {
                            "name": "DASK_SCHEDULER_ADDRESS",
                            "value": "tcp://sums-scheduler.default.svc:8786",
                        },
                        {
                            "name": "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT",
                            "value": "600s",
                        },
                        {"name": "DASKJOB_NAME", "value": "sums"},
                        {"name": "DASKJOB_NAMESPACE", "value": "default"},
                        {"name": "DASKJOB_UID", "value": "job-uid"},
                        {"name": "DASKJOB_ATTEMPT", "value": "1"},
                        {"name": "DASKJOB_RESULT_FILE", "value": "/dev/termination-log"},
                    ],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 3600,
        },
    }


def test_the_scheduler_pod() -> None:
    found = built_scheduler(cluster())
    template = found["metadata"]["annotations"].pop("kubernetes.dask.org/template")
    assert len(template) == 16
    assert found == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "simple-scheduler",
            "namespace": "default",
            "labels": {"dask.org/cluster-name": "simple", "dask.org/component": "scheduler"},
            "annotations": {"kubectl.kubernetes.io/default-container": "scheduler"},
            "ownerReferences": [
                {
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": "DaskCluster",
                    "name": "simple",
                    "uid": "cluster-uid",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "containers": [{"name": "scheduler", "image": IMAGE, "args": ["dask", "scheduler"]}],
            "restartPolicy": "Always",
        },
    }


def test_the_worker_pod() -> None:
    found = built_worker(group(), name="simple-more-worker-0123456789")
    template = found["metadata"]["annotations"].pop("kubernetes.dask.org/template")
    assert len(template) == 16
    assert found == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "simple-more-worker-0123456789",
            "namespace": "default",
            "labels": {
                "dask.org/cluster-name": "simple",
                "dask.org/component": "worker",
                "dask.org/workergroup-name": "simple-more",
            },
            "annotations": {"kubectl.kubernetes.io/default-container": "worker"},
            "ownerReferences": [
                {
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": "DaskWorkerGroup",
                    "name": "simple-more",
                    "uid": "group-uid",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "image": IMAGE,
                    "args": ["dask", "worker"],
                    "env": [
                        {"name": "DASK_WORKER_NAME", "value": "simple-more-worker-0123456789"},
                        {
                            "name": "DASK_SCHEDULER_ADDRESS",
                            "value": "tcp://simple-scheduler.default.svc:8786",
                        },
                    ],
                }
            ],
            "restartPolicy": "Always",
        },
    }


# Metadata


def _runner_metadata(top: dict[str, str], below: dict[str, str]) -> Manifest:
    manifest = manifests.job()
    manifest["metadata"] |= {"labels": top, "annotations": top}
    manifest["spec"]["job"]["metadata"] = {"labels": below, "annotations": below}
    found: Manifest = built_runner(manifest)["metadata"]
    return found


def _scheduler_metadata(top: dict[str, str], below: dict[str, str]) -> Manifest:
    manifest = cluster()
    manifest["metadata"] |= {"labels": top, "annotations": top}
    manifest["spec"]["scheduler"]["metadata"] = {"labels": below, "annotations": below}
    found: Manifest = built_scheduler(manifest)["metadata"]
    return found


def _worker_metadata(top: dict[str, str], below: dict[str, str]) -> Manifest:
    manifest = group()
    manifest["metadata"] |= {"labels": top, "annotations": top}
    manifest["spec"]["worker"]["metadata"] = {"labels": below, "annotations": below}
    found: Manifest = built_worker(manifest)["metadata"]
    return found


Builder = Callable[[dict[str, str], dict[str, str]], Manifest]
BUILDERS = pytest.mark.parametrize(
    "built",
    [_runner_metadata, _scheduler_metadata, _worker_metadata],
    ids=["runner", "scheduler", "worker"],
)


@BUILDERS
def test_metadata_of_the_subresource_overrides_that_of_the_top_level(built: Builder) -> None:
    found = built({"team": "top", "only": "top"}, {"team": "below"})
    for kind in ("labels", "annotations"):
        assert found[kind]["team"] == "below"
        assert found[kind]["only"] == "top"


@BUILDERS
def test_our_base_labels_override_all_others(built: Builder) -> None:
    theirs = {"dask.org/component": "superworker", "dask.org/cluster-name": "other"}
    labels = built(theirs, theirs)["labels"]
    assert labels["dask.org/component"] in ("job-runner", "scheduler", "worker")
    assert labels["dask.org/cluster-name"] in ("sums", "simple")


@BUILDERS
@pytest.mark.parametrize(
    "key",
    [
        "kopf.zalando.org/last-handled-configuration",
        "kubectl.kubernetes.io/last-applied-configuration",
        "app.kubernetes.io/instance",
        "argocd.argoproj.io/tracking-id",
    ],
)
def test_tracking_metadata_of_the_parent_never_reaches_a_pod(built: Builder, key: str) -> None:
    found = built({key: "x"}, {})
    assert key not in found["labels"]
    assert key not in found["annotations"]


@BUILDERS
def test_a_default_container_of_the_top_level_is_not_the_pods(built: Builder) -> None:
    key = "kubectl.kubernetes.io/default-container"
    assert built({key: "mine"}, {})["annotations"][key] != "mine"


def test_a_default_container_in_the_templates_own_metadata_is_kept() -> None:
    manifest = manifests.job(runner=pod(container("job"), container("mine")))
    annotations = {"kubectl.kubernetes.io/default-container": "mine"}
    manifest["spec"]["job"]["metadata"] = {"annotations": annotations}
    found = built_runner(manifest)
    assert found["metadata"]["annotations"] | annotations == found["metadata"]["annotations"]
    policies = [c.get("terminationMessagePolicy") for c in found["spec"]["containers"]]
    assert policies == [None, "FallbackToLogsOnError"]


@pytest.mark.parametrize("excluded", [True, False])
def test_the_istio_label_is_a_setting_of_the_platform(excluded: bool) -> None:
    platform = Platform(istio_excluded=excluded)
    for found in (
        built_runner(manifests.job(), platform=platform),
        built_scheduler(cluster(), platform),
        built_worker(group(), platform=platform),
    ):
        label = found["metadata"]["labels"].get("sidecar.istio.io/inject")
        assert label == ("false" if excluded else None)


# Environment


def test_our_variables_come_before_the_users_which_may_refer_to_them() -> None:
    own = [{"name": "OUT", "value": "s3://b/$(DASKJOB_ATTEMPT)"}]
    found = environment(built_runner(manifests.job(runner=pod(container("job", env=own)))))
    assert found[-1] == "OUT=s3://b/$(DASKJOB_ATTEMPT)"
    assert found.index("DASKJOB_ATTEMPT=0") < found.index(found[-1])


def test_a_variable_of_the_user_is_never_overwritten_or_duplicated() -> None:
    own = [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://mine:1"}]
    found = environment(built_runner(manifests.job(runner=pod(container("job", env=own)))))
    assert [v for v in found if v.startswith("DASK_SCHEDULER")] == [
        "DASK_SCHEDULER_ADDRESS=tcp://mine:1"
    ]


def test_a_variable_from_a_secret_is_kept_as_it_is() -> None:
    own = [{"name": "DASKJOB_NAME", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    found = built_runner(manifests.job(runner=pod(container("job", env=own))))
    env = found["spec"]["containers"][0]["env"]
    assert [v for v in env if v["name"] == "DASKJOB_NAME"] == own


def test_every_container_of_runner_and_worker_gets_the_variables() -> None:
    two = pod(container("job"), container("sidecar", env=None))
    found = built_runner(manifests.job(runner=two))
    assert environment(found, 0) == environment(found, 1)
    manifest = group()
    manifest["spec"]["worker"]["spec"] = pod(container("worker"), container("sidecar"))
    worker = built_worker(manifest)
    assert environment(worker, 1)[0] == "DASK_WORKER_NAME=w"


def test_the_result_file_is_the_main_containers_termination_message_path() -> None:
    runner = pod(container("job", terminationMessagePath="/tmp/said"))
    found = environment(built_runner(manifests.job(runner=runner)))
    assert "DASKJOB_RESULT_FILE=/tmp/said" in found


def test_a_termination_message_policy_of_the_users_is_kept() -> None:
    runner = pod(container("job", terminationMessagePolicy="File"))
    found = built_runner(manifests.job(runner=runner))
    assert found["spec"]["containers"][0]["terminationMessagePolicy"] == "File"


@pytest.mark.parametrize(
    "words",
    [
        ["dask-scheduler", "--protocol", "tls"],
        ["dask-scheduler", "--protocol=tls"],
        ["dask-scheduler", "--tls-cert", "/c"],
        ["dask-scheduler", "--tls-ca-file=/c"],
    ],
    ids=" ".join,
)
def test_a_scheduler_that_speaks_tls_has_a_tls_address(words: list[str]) -> None:
    spec = manifests.cluster_spec()
    spec["scheduler"]["spec"] = pod(container("scheduler", *words))
    runner = built_runner(manifests.job(cluster={"spec": spec}))
    worker = built_worker(group(), cluster(**spec))
    address = "tls://{}-scheduler.default.svc:8786"
    assert f"DASK_SCHEDULER_ADDRESS={address.format('sums')}" in environment(runner)
    assert f"DASK_SCHEDULER_ADDRESS={address.format('simple')}" in environment(worker)


@pytest.mark.parametrize("words", [["--protocol", "tcp"], ["--protocol", "ucx", "tls"]])
def test_other_arguments_leave_the_address_at_tcp(words: list[str]) -> None:
    spec = manifests.cluster_spec()
    spec["scheduler"]["spec"] = pod(container("scheduler", "dask-scheduler", *words))
    found = environment(built_runner(manifests.job(cluster={"spec": spec})))
    assert found[0].startswith("DASK_SCHEDULER_ADDRESS=tcp://")


def test_a_clusters_name_of_63_characters_gives_the_services_real_name_as_address() -> None:
    long = "a" * 63
    address = environment(built_runner(manifests.job(name=long)))[0]
    host = address.removeprefix("DASK_SCHEDULER_ADDRESS=tcp://").partition(".")[0]
    assert len(host) == 63
    assert host.endswith("-scheduler")


def test_a_runner_on_another_cluster_gets_that_clusters_address_and_label() -> None:
    found = built_runner(manifests.job(clusterRef={"name": "shared"}))
    assert environment(found)[0] == (
        "DASK_SCHEDULER_ADDRESS=tcp://shared-scheduler.default.svc:8786"
    )
    assert found["metadata"]["labels"]["dask.org/cluster-name"] == "shared"


# Commands


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ({"args": ["dask-worker", "--x"]}, {"args": ["dask", "worker", "--x"]}),
        ({"args": ["dask-scheduler"]}, {"args": ["dask", "scheduler"]}),
        ({"command": ["dask-worker"]}, {"command": ["dask", "worker"]}),
        (
            {"command": ["dask-worker"], "args": ["dask-worker"]},
            {"command": ["dask", "worker"], "args": ["dask-worker"]},
        ),
        ({"command": ["tini"], "args": ["dask-worker"]}, None),
        ({"args": ["echo", "dask-worker"]}, None),
        ({"args": ["dask-cuda-worker"]}, None),
        ({"args": ["dask", "worker"]}, None),
    ],
)
def test_dask_worker_as_the_first_word_is_run_as_dask_worker(
    given: Manifest, run: Manifest | None
) -> None:
    manifest = group()
    words = {"command": None, **given}
    if "args" not in words:
        words["args"] = None
    manifest["spec"]["worker"]["spec"] = pod({"name": "worker", "image": "i", **words})
    found = built_worker(manifest)["spec"]["containers"][0]
    assert {k: found[k] for k in ("command", "args") if found[k]} == (run or given)


def test_legacy_commands_stay_if_the_platform_disables_the_rewrite() -> None:
    platform = replace(PLAIN, legacy_commands=False)
    found = built_worker(group(), platform=platform)["spec"]["containers"][0]
    assert found["args"] == ["dask-worker"]


# Deadlines and restarts


@pytest.mark.parametrize(
    ("own", "policy", "expected"),
    [(None, None, None), (10, None, 10), (None, 20, 20), (10, 20, 10), (20, 10, 10)],
)
def test_the_pods_deadline_is_the_smaller_of_the_users_and_the_attempts(
    own: int | None, policy: int | None, expected: int | None
) -> None:
    runner = {} if own is None else {"activeDeadlineSeconds": own}
    found = built_runner(
        manifests.job(runner=runner), policy=replace(Policy(), attempt_deadline_seconds=policy)
    )
    assert found["spec"].get("activeDeadlineSeconds") == expected


@pytest.mark.parametrize("given", ["OnFailure", "Never", "Always"])
def test_a_runner_pod_is_never_restarted_in_place(given: str) -> None:
    found = built_runner(manifests.job(runner={"restartPolicy": given}))
    assert found["spec"]["restartPolicy"] == "Never"


def test_the_users_restart_policy_of_scheduler_and_workers_is_kept() -> None:
    manifest, of = group(), cluster()
    manifest["spec"]["worker"]["spec"]["restartPolicy"] = "Never"
    of["spec"]["scheduler"]["spec"]["restartPolicy"] = "OnFailure"
    assert built_worker(manifest)["spec"]["restartPolicy"] == "Never"
    assert built_scheduler(of)["spec"]["restartPolicy"] == "OnFailure"


# Files


def test_files_are_mounted_read_only_in_every_container_and_put_on_the_python_path() -> None:
    manifest = manifests.job(runner=pod(container("job"), container("sidecar")))
    manifest["spec"]["job"]["files"] = FILES
    found = built_runner(manifest)
    assert found["spec"]["volumes"] == [
        {"name": "daskjob-files", "configMap": {"name": "sums-files"}}
    ]
    for index, each in enumerate(found["spec"]["containers"]):
        assert each["volumeMounts"] == [
            {"name": "daskjob-files", "mountPath": "/daskjob/files", "readOnly": True}
        ]
        assert "PYTHONPATH=/daskjob/files" in environment(found, index)


@pytest.mark.parametrize(
    ("own", "path"), [("/mine", "/mine:/daskjob/files"), ("", "/daskjob/files")]
)
def test_a_python_path_of_the_users_comes_before_the_files(own: str, path: str) -> None:
    env = [{"name": "PYTHONPATH", "value": own}]
    manifest = manifests.job(runner=pod(container("job", env=env)))
    manifest["spec"]["job"]["files"] = FILES
    assert f"PYTHONPATH={path}" in environment(built_runner(manifest))


def test_the_users_own_volumes_and_mounts_are_kept_next_to_the_files() -> None:
    mine = {"name": "mine", "emptyDir": {}}
    mount = {"name": "mine", "mountPath": "/mine"}
    manifest = manifests.job(runner=pod(container("job", volumeMounts=[mount]), volumes=[mine]))
    manifest["spec"]["job"]["files"] = FILES
    spec = built_runner(manifest)["spec"]
    assert spec["volumes"][0] == mine
    assert spec["containers"][0]["volumeMounts"][0] == mount


# The scheduler's agent

AGENT = replace(PLAIN, agent="answer = 42  # the agent's text")
PRELOAD = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"


def test_the_agent_and_its_token_are_environment_variables() -> None:
    env = {v.partition("=")[0]: v for v in environment(built_scheduler(cluster(), AGENT))}
    assert env["DASKJOB_AGENT_TOKEN"] == "DASKJOB_AGENT_TOKEN=secret"
    assert "exec(" in env[PRELOAD]
    assert "$" not in env[PRELOAD]
    assert '"name":"simple-default"' in env["DASKJOB_AGENT_GROUPS"]
    assert '"prefix":"simple-default-worker-"' in env["DASKJOB_AGENT_GROUPS"]


def test_a_preload_of_the_users_environment_is_kept_before_the_agent() -> None:
    manifest = cluster()
    own = [{"name": PRELOAD, "value": "mine.py"}]
    manifest["spec"]["scheduler"]["spec"] = pod(container("scheduler", env=own))
    found = [v for v in environment(built_scheduler(manifest, AGENT)) if v.startswith(PRELOAD)]
    assert found[0].startswith(f"{PRELOAD}=['mine.py', ")
    assert [v.partition("=")[0] for v in found] == [PRELOAD, f"{PRELOAD}_ARGV"]


@pytest.mark.parametrize("words", [["--preload", "mine.py"], ["--preload=mine.py"]], ids=" ".join)
def test_preloads_among_the_arguments_get_the_agent_appended(words: list[str]) -> None:
    manifest = cluster()
    manifest["spec"]["scheduler"]["spec"] = pod(container("scheduler", "dask-scheduler", *words))
    args = built_scheduler(manifest, AGENT)["spec"]["containers"][0]["args"]
    assert args[:-2] == ["dask", "scheduler", *words]
    assert args[-2] == "--preload"
    assert args[-1].startswith("exec(")


def test_without_preloads_among_them_the_arguments_stay() -> None:
    args = built_scheduler(cluster(), AGENT)["spec"]["containers"][0]["args"]
    assert args == ["dask", "scheduler"]


def test_a_sidecar_of_the_scheduler_gets_no_agent() -> None:
    manifest = cluster()
    manifest["spec"]["scheduler"]["spec"] = pod(container("proxy"), container("scheduler"))
    containers = built_scheduler(manifest, AGENT)["spec"]["containers"]
    assert "env" not in containers[0]
    assert containers[1]["env"]


def test_threads_and_resources_of_a_group_are_passed_to_the_agent() -> None:
    manifest = cluster()
    words = ("dask-worker", "--nthreads", "4", "--resources", "GPU=1,MEMORY=32e9")
    manifest["spec"]["worker"]["spec"] = pod(container("worker", *words))
    env = environment(built_scheduler(manifest, AGENT))
    groups = next(v for v in env if v.startswith("DASKJOB_AGENT_GROUPS"))
    assert '"nthreads":4' in groups
    assert '"resources":{"GPU":1.0,"MEMORY":32000000000.0}' in groups


# All pods

_FUTURE: dict[str, Any] = {
    "schedulingGates": [{"name": "g"}],
    "fieldOfKubernetes2030": {"deep": [1, {"x": None}]},
    "hostname": "h",
}


def test_unknown_pod_fields_pass_through_unchanged() -> None:
    odd = pod(container("job", resizePolicy=[{"x": 1}]), **_FUTURE)
    manifest, of = group(), cluster()
    manifest["spec"]["worker"]["spec"] = odd
    of["spec"]["scheduler"]["spec"] = odd
    for found in (
        built_runner(manifests.job(runner=odd)),
        built_worker(manifest),
        built_scheduler(of),
    ):
        assert {key: found["spec"][key] for key in _FUTURE} == _FUTURE
        assert found["spec"]["containers"][0]["resizePolicy"] == [{"x": 1}]


def test_no_builder_changes_its_arguments() -> None:
    job, of, workers = manifests.job(), cluster(), group()
    job["metadata"]["uid"] = of["metadata"]["uid"] = workers["metadata"]["uid"] = "uid"
    job["spec"]["job"]["files"] = FILES
    runner = job["spec"]["job"]["spec"]
    runner["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    runner["containers"][0]["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    runner["containers"][0]["env"] = [{"name": "PYTHONPATH", "value": "/m"}]
    workers["spec"]["worker"]["spec"] = pod(
        container("worker", "dask-worker", env=[{"name": "A", "value": "1"}])
    )
    of["spec"]["scheduler"]["spec"] = pod(container("scheduler", "dask-scheduler", "--preload=a"))
    before = copy.deepcopy((job, of, workers))
    built_runner(job)
    built_scheduler(of, AGENT)
    built_worker(workers, of)
    assert (job, of, workers) == before


def test_workers_of_a_group_differ_in_their_names_only() -> None:
    manifest = group()
    read = (read_group(manifest), read_cluster(cluster()))
    first, second = worker_pods(*read, ["w-1", "w-2"], PLAIN)
    assert [pod["metadata"]["name"] for pod in (first, second)] == ["w-1", "w-2"]
    assert environment(first)[0] == "DASK_WORKER_NAME=w-1"
    assert json.dumps(first).replace("w-1", "w-2") == json.dumps(second)


def test_building_twice_gives_the_same_object() -> None:
    assert built_runner(manifests.job()) == built_runner(manifests.job())
    assert built_scheduler(cluster(), AGENT) == built_scheduler(cluster(), AGENT)
    assert built_worker(group()) == built_worker(group())
