"""The spec of a DaskJob, and the report of every mistake in it (design §2.1, §3.1)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob, parse
from daskjob.core.spec import read_job as read
from daskjob.core.spec.failure_rules import Action, Operator
from tests.core.manifests import cluster_spec, container, documented, job, pod, read_job


def mistakes(manifest: Manifest) -> list[FieldError]:
    """The mistakes that are reported to a user."""
    with pytest.raises(Invalid) as caught:
        parse(DaskJob, manifest)
    return list(caught.value.errors)


def only_mistake(manifest: Manifest) -> FieldError:
    """The one mistake of a manifest."""
    found = mistakes(manifest)
    assert len(found) == 1, [str(m) for m in found]
    return found[0]


def test_the_documented_job_parses_without_a_mistake() -> None:
    found = parse(DaskJob, documented("job"))
    assert found.meta.name == "simple-job"
    assert found.main_container == "job"
    assert found.cluster is not None
    assert found.cluster.desired_workers == 2
    assert found.policy.backoff_limit == 6


def test_parsing_does_not_change_the_manifest() -> None:
    manifest = documented("job")
    before = copy.deepcopy(manifest)
    parse(DaskJob, manifest)
    assert manifest == before


FLYTE: Manifest = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskJob",
    "metadata": {"name": "f3a", "namespace": "default", "creationTimestamp": None},
    "spec": {
        "job": {
            "spec": {
                "containers": [{"name": "job-runner", "image": "i", "resources": {}, "env": None}],
                "restartPolicy": "Never",
            }
        },
        "cluster": {
            "metadata": {"creationTimestamp": None},
            "spec": {
                "worker": {
                    "replicas": 1,
                    "spec": {"containers": [{"name": "worker", "image": "i", "args": None}]},
                },
                "scheduler": {
                    "spec": {"containers": [{"name": "scheduler", "image": "i"}]},
                    "service": {"ports": None, "selector": None},
                },
            },
            "status": {},
        },
    },
    "status": {"jobStatus": "", "startTime": None, "endTime": None, "clusterName": ""},
}


def test_flytes_nulls_and_empty_status_are_accepted_also_from_a_file() -> None:
    assert parse(DaskJob, FLYTE).main_container == "job-runner"


def test_null_replicas_mean_the_documented_default_of_1() -> None:
    manifest = job()
    manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] = None
    found = read_job(manifest)
    assert found.cluster is not None
    assert found.cluster.worker.replicas == 1
    assert not found.cluster.worker.replicas_given


def test_a_manifest_with_ten_mistakes_gives_exactly_ten_messages() -> None:
    manifest = job(
        name="2024-run",
        backoffLimit=-1,
        ttlSecondsAfterFinished=0,
        runnerStart="Later",
        suspend="yes",
        failurePolicy={"rules": [{"action": "Retry", "onExitCodes": {"operator": "In"}}]},
        tlsSecondsAfterFinished=5,
    )
    manifest["spec"]["job"]["spec"]["containers"][0]["args"] = ["python", 3]
    manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] = "two"
    # The wrong action hides the missing values: nine mistakes so far.
    manifest["spec"]["submissionID"] = 5
    found = {m.path: m for m in mistakes(manifest)}
    assert sorted(found) == [
        "metadata.name",
        "spec.backoffLimit",
        "spec.cluster.spec.worker.replicas",
        "spec.failurePolicy.rules[0].action",
        "spec.job.spec.containers[0].args",
        "spec.runnerStart",
        "spec.submissionID",
        "spec.suspend",
        "spec.tlsSecondsAfterFinished",
        "spec.ttlSecondsAfterFinished",
    ]
    assert len(mistakes(manifest)) == 10
    assert found["spec.backoffLimit"].value == -1
    assert found["spec.backoffLimit"].allowed == "write an integer of at least 0"
    assert found["spec.runnerStart"].value == "Later"
    assert found["spec.runnerStart"].allowed == (
        "write one of AtOnce, AfterScheduler, AfterWorkers"
    )
    assert all(m.allowed for m in found.values())


_RULE_A = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}


@pytest.mark.parametrize(
    ("spec", "path", "allowed"),
    [
        ({"clusterRef": {"name": "c"}, "cluster": {"spec": cluster_spec()}}, "cluster", "exactly"),
        ({"cluster": None}, "cluster", "exactly one of cluster and clusterRef"),
        ({"clusterRef": {}}, "clusterRef.name", "name of a DaskCluster"),
        (
            {"clusterRef": {"name": "c"}, "failurePolicy": {"restart": "Cluster"}},
            "failurePolicy.restart",
            "write Runner",
        ),
        (
            {"clusterRef": {"name": "c"}, "deletionPolicy": {"onSuccess": "Keep"}},
            "deletionPolicy",
            "never deleted",
        ),
        ({"minAvailableWorkers": 2}, "minAvailableWorkers", "runnerStart: AfterWorkers"),
        (
            {"minAvailableWorkers": 3, "runnerStart": "AfterWorkers"},
            "minAvailableWorkers",
            "at most the number of workers in the cluster, 2",
        ),
        (
            {"minAvailableWorkers": 0, "runnerStart": "AfterWorkers"},
            "minAvailableWorkers",
            "from 1 to 10000",
        ),
        (
            {"backoff": {"initialSeconds": 20, "maxSeconds": 10}},
            "backoff.maxSeconds",
            "at least initialSeconds, 20",
        ),
        ({"backoff": {"factor": 0.5}}, "backoff.factor", "at least 1"),
        ({"backoff": {"factor": float("nan")}}, "backoff.factor", "at least 1"),
        ({"ttlSecondsAfterFinished": 0}, "ttlSecondsAfterFinished", "at least 1"),
        ({"activeDeadlineSeconds": 0}, "activeDeadlineSeconds", "at least 1"),
        ({"attemptDeadlineSeconds": 1.5}, "attemptDeadlineSeconds", "an integer"),
        ({"startupDeadlineSeconds": True}, "startupDeadlineSeconds", "an integer"),
        ({"stallDeadlineSeconds": "60"}, "stallDeadlineSeconds", "an integer"),
        ({"stallAction": "Kill"}, "stallAction", "Report, Fail"),
        ({"onSchedulerLoss": "Retry"}, "onSchedulerLoss", "Fail, Ignore"),
        ({"deletionPolicy": {"onFailure": "No"}}, "deletionPolicy.onFailure", "DeleteCluster"),
        ({"backoffLimit": 2**31}, "backoffLimit", "an integer"),
        ({"cancel": "true"}, "cancel", "true or false"),
        ({"progress": {"intervalSeconds": -1}}, "progress.intervalSeconds", "at least 0"),
        ({"failurePolicy": {"maxIgnored": -1}}, "failurePolicy.maxIgnored", "at least 0"),
        (
            {"failurePolicy": {"rules": [{"action": "Ignore"}]}},
            "failurePolicy.rules[0]",
            "onExitCodes, onReasons, or both",
        ),
        (
            {"failurePolicy": {"rules": [{"onReasons": ["Evicted"]}]}},
            "failurePolicy.rules[0].action",
            "FailJob, Ignore, Count",
        ),
        (
            {"failurePolicy": {"rules": [{"action": "Ignore", "onReasons": ["Cancelled"]}]}},
            "failurePolicy.rules[0].onReasons",
            "write a list of ExitCode, OOMKilled",
        ),
        (
            {
                "failurePolicy": {
                    "rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [0]}}]
                }
            },
            "failurePolicy.rules[0].onExitCodes.values",
            "from 1 to 255",
        ),
        (
            {"failurePolicy": {"rules": [{"action": "Count", "onExitCodes": {"values": [1]}}]}},
            "failurePolicy.rules[0].onExitCodes.operator",
            "In or NotIn",
        ),
        ({"failurePolicy": {"rules": _RULE_A}}, "failurePolicy.rules", "write a list"),
    ],
)
def test_an_invalid_value_is_rejected_with_what_to_write_instead(
    spec: dict[str, Any], path: str, allowed: str
) -> None:
    mistake = only_mistake(job(**spec))
    assert mistake.path == f"spec.{path}"
    assert allowed in mistake.allowed


@pytest.mark.parametrize(
    ("files", "path", "allowed"),
    [
        ({"a.py": "x" * 900 * 1024}, "files", "921600 characters in total"),
        ({"a.py": "é" * 600 * 1024}, "files", "1048576 bytes in total"),
        ({"sub/a.py": "x"}, "files[sub/a.py]", "plain file name"),
        ({"..": "x"}, "files[..]", "plain file name"),
        ({"a.py": 3}, "files[a.py]", "quote it"),
    ],
    ids=["large", "many bytes", "folder", "parent", "number"],
)
def test_files_are_flat_texts_of_900_kib_in_total(
    files: dict[str, Any], path: str, allowed: str
) -> None:
    manifest = job()
    manifest["spec"]["job"]["files"] = files
    mistake = only_mistake(manifest)
    assert mistake.path == f"spec.job.{path}"
    assert allowed in mistake.allowed


@pytest.mark.parametrize(
    ("containers", "path", "allowed"),
    [
        ([], "containers", "at least one container"),
        ([{"image": "i"}], "containers[0].name", "a name for the container"),
        ([container("a"), container("a")], "containers[1].name", "no other container"),
        ([container("a", command="python")], "containers[0].command", "list of strings"),
        (
            [container("a", env=[{"name": "N", "value": 3}])],
            "containers[0].env[0].value",
            "quote it",
        ),
        ([container("a", env=[{"value": "3"}])], "containers[0].env[0].name", "variable's name"),
    ],
    ids=["none", "unnamed", "twice", "text command", "number in env", "env without name"],
)
def test_fields_of_a_pod_that_daskjob_relies_on_are_checked(
    containers: list[Manifest], path: str, allowed: str
) -> None:
    manifest = job()
    manifest["spec"]["job"]["spec"] = {"containers": containers}
    mistake = only_mistake(manifest)
    assert mistake.path == f"spec.job.spec.{path}"
    assert allowed in mistake.allowed


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("x" * 64, "1 to 63 characters"),
        ("2024-run", "starting with a letter"),
        ("", "write a name"),
    ],
    ids=["64", "digit first", "none"],
)
def test_an_invalid_name_is_rejected(name: str, allowed: str) -> None:
    assert allowed in only_mistake(job(name=name)).allowed


def test_generate_name_replaces_a_name() -> None:
    manifest = job()
    manifest["metadata"] = {"generateName": "run-"}
    assert parse(DaskJob, manifest).meta.name == ""


def _with(field: str) -> Manifest:
    manifest = job()
    manifest["spec"][field] = 3
    return manifest


@pytest.mark.parametrize(
    ("known", "typo"),
    [("backoffLimit", "backofLimit"), ("clusterRef", "clusteRef"), ("suspend", "suspended")],
)
def test_an_unknown_field_of_a_file_is_reported_with_the_most_similar_one(
    known: str, typo: str
) -> None:
    mistake = only_mistake(_with(typo))
    assert mistake.path == f"spec.{typo}"
    assert f"did you mean {known!r}?" in mistake.allowed


def test_an_unknown_field_unlike_any_other_is_reported_with_the_known_ones() -> None:
    allowed = only_mistake(job(zzz=1)).allowed
    assert "did you mean" not in allowed
    assert "backoffLimit" in allowed


@pytest.mark.parametrize(
    "where", [("job",), ("cluster",), ("cluster", "spec"), ("cluster", "spec", "worker")]
)
def test_unknown_fields_are_found_at_every_level_of_a_file(where: tuple[str, ...]) -> None:
    manifest = job()
    below = manifest["spec"]
    for key in where:
        below = below[key]
    below["zzz"] = 1
    assert only_mistake(manifest).path == ".".join(("spec", *where, "zzz"))


def test_an_unknown_field_of_an_object_in_a_cluster_is_no_mistake() -> None:
    errors: list[FieldError] = []
    read(job(ofANewerDaskjob=3), errors)
    assert errors == []


@pytest.mark.parametrize("field", ["kind", "apiVersion"])
def test_a_manifest_of_another_kind_or_version_is_rejected(field: str) -> None:
    assert only_mistake({**job(), field: "Pod"}).path == field


@pytest.mark.parametrize(
    ("missing", "allowed"),
    [("job", "the runner's pod"), ("cluster", "exactly one of")],
)
def test_a_missing_required_part_is_a_mistake(missing: str, allowed: str) -> None:
    manifest = job()
    del manifest["spec"][missing]
    mistake = only_mistake(manifest)
    assert mistake.path == f"spec.{missing}"
    assert "is missing" in str(mistake) or "None" in str(mistake)
    assert allowed in mistake.allowed


@pytest.mark.parametrize("missing", ["scheduler", "worker"])
def test_a_cluster_of_a_job_needs_scheduler_and_workers(missing: str) -> None:
    spec = cluster_spec()
    del spec[missing]
    assert only_mistake(job(cluster={"spec": spec})).path == f"spec.cluster.spec.{missing}"


def test_with_autoscaling_min_available_workers_may_exceed_the_initial_replicas() -> None:
    spec = cluster_spec()
    spec["worker"]["autoscaling"] = {"minimum": 1, "maximum": 10}
    parse(DaskJob, job(cluster={"spec": spec}, runnerStart="AfterWorkers", minAvailableWorkers=5))


def test_a_failure_policy_is_read_in_its_order() -> None:
    policy = parse(
        DaskJob,
        job(
            failurePolicy={
                "rules": [
                    {"name": "bad input", **_RULE_A},
                    {"action": "Ignore", "onReasons": ["Evicted", "NodeLost"]},
                    {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [0, 3]}},
                ],
                "maxIgnored": 2,
            }
        ),
    ).policy
    assert [(r.name, r.action, r.exit_codes) for r in policy.rules] == [
        ("bad input", Action.FAIL_JOB, (3,)),
        ("", Action.IGNORE, ()),
        ("", Action.COUNT, (0, 3)),
    ]
    assert policy.rules[2].operator is Operator.NOT_IN
    assert policy.max_ignored == 2


def test_unknown_pod_fields_are_kept_and_no_mistake() -> None:
    spec = pod(container("job", resizePolicy=[{"x": 1}]), schedulingGates=[{"name": "g"}])
    manifest = job()
    manifest["spec"]["job"]["spec"] = spec
    assert parse(DaskJob, manifest).runner.spec == spec


def test_the_fingerprint_of_a_template_does_not_follow_its_replicas() -> None:
    more = job(cluster={"spec": cluster_spec(replicas=9)})
    assert read_job(more).template_hash == read_job(job()).template_hash


@pytest.mark.parametrize(
    "changed",
    [
        job(runner={"hostNetwork": True}),
        job(cluster={"spec": cluster_spec(idleTimeout=3)}),
        job(clusterRef={"name": "c"}),
    ],
    ids=["runner", "cluster", "clusterRef"],
)
def test_the_fingerprint_of_a_template_follows_everything_else(changed: Manifest) -> None:
    assert read_job(changed).template_hash != read_job(job()).template_hash
