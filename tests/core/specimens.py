"""Right and wrong manifests: readers and API server agree about them.

Each wrong manifest comes with the same manifest corrected.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from daskjob.core import names
from daskjob.core.manifests import Manifest
from daskjob.core.spec import cluster as cluster_spec
from daskjob.core.spec import code, environment, failure_rules, policy
from daskjob.core.spec import group as group_spec
from daskjob.core.spec import job as job_spec
from tests.core.manifests import (
    DOCUMENTED,
    autoscaler,
    cluster,
    container,
    group,
    job,
    pod,
)
from tests.core.manifests import cluster_spec as a_cluster

ROOT = Path(__file__).parents[2]
NAME_MESSAGE = f"write a name of {names.NAME_RULE}"
POLICY_MESSAGE = "write one of Always, OnFailure, Never"


@dataclass(frozen=True)
class Wrong:
    """A manifest with one mistake."""

    title: str
    manifest: Manifest
    #: The path of the mistake; the API server's path too, unless ``server_path`` is set.
    path: str
    #: The API server's message; for a CEL rule, the rule's message.
    message: str
    #: The same manifest, corrected.
    right: Manifest
    server_path: str = ""


def flyte() -> Manifest:
    """A job as Flyte creates it: its Go types write null and ``{}`` for nothing."""
    found: Manifest = json.loads((ROOT / "tests/data/flyte/daskjob.json").read_text())
    return found


def newer_flyte() -> Manifest:
    """The same as newer versions of Flyte create it: ``dask worker``, not ``dask-worker``."""
    made = flyte()
    cluster = made["spec"]["cluster"]["spec"]
    for part in ("scheduler", "worker"):
        (container,) = cluster[part]["spec"]["containers"]
        first, *others = container["args"]
        container["args"] = [*first.split("-"), *others]
    return made


def with_field(field: str, value: object) -> Manifest:
    """A job with one field set."""
    manifest = job()
    manifest["spec"][field] = value
    return manifest


def with_runner(*containers: Manifest, **more: Any) -> Manifest:
    """A job with this PodSpec of its runner."""
    manifest = job()
    manifest["spec"]["job"]["spec"] = pod(*containers, **more)
    return manifest


def with_files(**files: Any) -> Manifest:
    """A job with files."""
    manifest = job()
    manifest["spec"]["job"]["files"] = {
        name.replace("_", "."): text for name, text in files.items()
    }
    return manifest


def with_rule(**rule: Any) -> Manifest:
    """A job with one failure rule."""
    return job(failurePolicy={"rules": [rule]})


def with_group(**more: Any) -> Manifest:
    """A cluster with one additional group."""
    return cluster(workerGroups=[a_group(**more)])


def a_group(**more: Any) -> Manifest:
    """An additional group of a cluster."""
    return {"name": "gpu", "replicas": 1, "spec": pod(container("worker")), **more}


def with_worker(**more: Any) -> Manifest:
    """A cluster with more fields in its default group."""
    manifest = cluster()
    manifest["spec"]["worker"].update(more)
    return manifest


def with_service(**service: Any) -> Manifest:
    """A cluster whose scheduler has this ServiceSpec."""
    manifest = cluster()
    manifest["spec"]["scheduler"]["service"] = service
    return manifest


def without(manifest: Manifest, *path: str) -> Manifest:
    """The manifest without one field."""
    manifest = copy.deepcopy(manifest)
    below = manifest
    for key in path[:-1]:
        below = below[key]
    del below[path[-1]]
    return manifest


def on(name: str, **spec: Any) -> Manifest:
    """A job on a cluster that exists."""
    return job(clusterRef={"name": name}, **spec)


def with_environment(**fields: Any) -> Manifest:
    """A job with packages."""
    return job(environment=fields)


def with_code(**fields: Any) -> Manifest:
    """A job with code."""
    return job(code=fields)


COUNTED: Manifest = {"action": "Count", "onExitCodes": {"operator": "In", "values": [3]}}
WAITING: Manifest = {"runnerStart": "AfterWorkers"}

WRONG = [
    # Names
    Wrong(
        "name with a digit first", job("2024-run"), "metadata.name", NAME_MESSAGE, job("run-2024")
    ),
    Wrong("name of 64", cluster("c" * 64), "metadata.name", NAME_MESSAGE, cluster("c" * 63)),
    Wrong("name with a dot", group("a.b"), "metadata.name", NAME_MESSAGE, group("a-b")),
    Wrong(
        "autoscaler's name with a dot",
        autoscaler("a.b"),
        "metadata.name",
        NAME_MESSAGE,
        autoscaler("a-b"),
    ),
    # Required fields
    Wrong("no job", without(job(), "spec", "job"), "spec.job", "Required value", job()),
    Wrong("no pod", without(job(), "spec", "job", "spec"), "spec.job.spec", "Required", job()),
    Wrong("no spec", without(cluster(), "spec"), "spec", "Required value", cluster()),
    Wrong(
        "no scheduler",
        without(cluster(), "spec", "scheduler"),
        "spec.scheduler",
        "Required value",
        cluster(),
    ),
    Wrong("no worker", without(cluster(), "spec", "worker"), "spec.worker", "Required", cluster()),
    Wrong(
        "a job's cluster without its spec",
        job(cluster={}),
        "spec.cluster.spec",
        "Required value",
        job(),
    ),
    Wrong("no cluster's name", group(cluster=""), "spec.cluster", "at least 1 chars", group()),
    Wrong(
        "group without workers",
        without(group(), "spec", "worker"),
        "spec.worker",
        "Required value",
        group(),
    ),
    Wrong(
        "autoscaler without a maximum",
        without(autoscaler(), "spec", "maximum"),
        "spec.maximum",
        "Required value",
        autoscaler(),
    ),
    # Pods
    Wrong("no container", with_runner(), "spec.job.spec.containers", "at least 1 items", job()),
    Wrong(
        "container without a name",
        with_runner({"image": "i"}),
        "spec.job.spec.containers[0].name",
        "Required value",
        with_runner({"image": "i", "name": "a"}),
    ),
    Wrong(
        "two containers of one name",
        with_runner(container("a"), container("a")),
        "spec.job.spec.containers[1].name",
        "Duplicate value",
        with_runner(container("a"), container("b")),
        server_path="spec.job.spec.containers[1]",
    ),
    Wrong(
        "command as one text",
        with_runner(container("a", command="python")),
        "spec.job.spec.containers[0].command",
        "must be of type array",
        with_runner(container("a", command=["python"])),
    ),
    Wrong(
        "number among the arguments",
        with_runner({"name": "a", "args": ["--top", 10]}),
        "spec.job.spec.containers[0].args",
        "must be of type string",
        with_runner({"name": "a", "args": ["--top", "10"]}),
    ),
    Wrong(
        "variable without a name",
        with_runner(container("a", env=[{"value": "3"}])),
        "spec.job.spec.containers[0].env[0].name",
        "Required value",
        with_runner(container("a", env=[{"name": "N", "value": "3"}])),
    ),
    Wrong(
        "number as a variable",
        with_runner(container("a", env=[{"name": "N", "value": 3}])),
        "spec.job.spec.containers[0].env[0].value",
        "must be of type string",
        with_runner(container("a", env=[{"name": "N", "value": "3"}])),
    ),
    Wrong(
        "unknown restart policy",
        with_runner(container("a"), restartPolicy="Sometimes"),
        "spec.job.spec.restartPolicy",
        POLICY_MESSAGE,
        with_runner(container("a"), restartPolicy="Never"),
    ),
    Wrong(
        "number as a label",
        job(job={"spec": pod(container("a")), "metadata": {"labels": {"year": 2024}}}),
        "spec.job.metadata.labels[year]",
        "must be of type string",
        job(job={"spec": pod(container("a")), "metadata": {"labels": {"year": "2024"}}}),
        server_path="spec.job.metadata.labels.year",
    ),
    # A job's files
    Wrong(
        "file in a folder",
        job(job={"spec": pod(container("a")), "files": {"sub/a.py": "x"}}),
        "spec.job.files[sub/a.py]",
        job_spec.PLAIN_NAMES.message,
        with_files(a_py="x"),
        server_path="spec.job.files",
    ),
    Wrong(
        "file of a number",
        with_files(a_py=3),
        "spec.job.files[a.py]",
        "must be of type string",
        with_files(a_py="3"),
        server_path="spec.job.files.a.py",
    ),
    Wrong(
        "files of more than 900 KiB",
        with_files(a_py="x" * job_spec.FILES_LIMIT),
        "spec.job.files",
        job_spec.SMALL_ENOUGH.message,
        with_files(a_py="x" * (job_spec.FILES_LIMIT - 4)),
    ),
    Wrong(
        "too many files",
        job(job={"spec": pod(container("a")), "files": {f"{n}.py": "" for n in range(1001)}}),
        "spec.job.files",
        "must have at most 1000 items",
        job(
            job={
                "spec": pod(container("a")),
                "files": {f"{n:0>250}.py": "x" * 650 for n in range(1000)},
            }
        ),
    ),
    # Where a job runs
    Wrong(
        "both cluster and clusterRef",
        on("simple", cluster={"spec": a_cluster()}),
        "spec.cluster",
        job_spec.EXACTLY_ONE.message,
        on("simple"),
    ),
    Wrong(
        "neither cluster nor clusterRef",
        job(cluster=None),
        "spec.cluster",
        job_spec.EXACTLY_ONE.message,
        job(),
    ),
    Wrong(
        "clusterRef without a name",
        job(clusterRef={}),
        "spec.clusterRef.name",
        "Required value",
        on("simple"),
    ),
    Wrong(
        "clusterRef with an invalid name",
        on("My.cluster"),
        "spec.clusterRef.name",
        NAME_MESSAGE,
        on("my-cluster"),
    ),
    Wrong(
        "fresh clusters with clusterRef",
        on("simple", failurePolicy={"restart": "Cluster"}),
        "spec.failurePolicy.restart",
        policy.ONLY_RUNNER.message,
        on("simple", failurePolicy={"restart": "Runner"}),
    ),
    Wrong(
        "deletion policy with clusterRef",
        on("simple", deletionPolicy={"onSuccess": "Keep"}),
        "spec.deletionPolicy",
        policy.NEVER_DELETED.message,
        job(deletionPolicy={"onSuccess": "Keep"}),
    ),
    # A job's policy
    Wrong(
        "negative backoff limit",
        job(backoffLimit=-1),
        "spec.backoffLimit",
        "greater than or equal to 0",
        job(backoffLimit=0),
    ),
    Wrong(
        "backoff limit of more than 32 bits",
        job(backoffLimit=2**31),
        "spec.backoffLimit",
        "less than or equal to 2147483647",
        job(backoffLimit=2**31 - 1),
    ),
    Wrong(
        "longest wait below the first",
        job(backoff={"initialSeconds": 20, "maxSeconds": 10}),
        "spec.backoff.maxSeconds",
        policy.LONGEST_IS_LONGER.message,
        job(backoff={"initialSeconds": 10, "maxSeconds": 20}),
    ),
    Wrong(
        "first wait above the longest, which is absent",
        job(backoff={"initialSeconds": 361}),
        "spec.backoff.maxSeconds",
        policy.LONGEST_IS_LONGER.message,
        job(backoff={"initialSeconds": 360}),
    ),
    Wrong(
        "longest wait below the first, which is absent",
        job(backoff={"maxSeconds": 9}),
        "spec.backoff.maxSeconds",
        policy.LONGEST_IS_LONGER.message,
        job(backoff={"maxSeconds": 10}),
    ),
    Wrong(
        "wait that shrinks",
        job(backoff={"factor": 0.5}),
        "spec.backoff.factor",
        "greater than or equal to 1",
        job(backoff={"factor": 1.5}),
    ),
    Wrong(
        "ttl of 0",
        job(ttlSecondsAfterFinished=0),
        "spec.ttlSecondsAfterFinished",
        "greater than or equal to 1",
        job(ttlSecondsAfterFinished=1),
    ),
    *(
        Wrong(
            f"{field} of 0",
            with_field(field, 0),
            f"spec.{field}",
            "greater than or equal to 1",
            with_field(field, 1),
        )
        for field in (
            "activeDeadlineSeconds",
            "attemptDeadlineSeconds",
            "startupDeadlineSeconds",
            "stallDeadlineSeconds",
        )
    ),
    Wrong(
        "deadline as text",
        job(activeDeadlineSeconds="60"),
        "spec.activeDeadlineSeconds",
        "must be of type integer",
        job(activeDeadlineSeconds=60),
    ),
    Wrong(
        "deadline with half seconds",
        job(attemptDeadlineSeconds=1.5),
        "spec.attemptDeadlineSeconds",
        "must be of type integer",
        job(attemptDeadlineSeconds=2),
    ),
    *(
        Wrong(
            f"unknown {field}",
            with_field(field, "No"),
            f"spec.{field}",
            "Unsupported value",
            with_field(field, word),
        )
        for field, word in [
            ("onSchedulerLoss", "Ignore"),
            ("stallAction", "Fail"),
            ("runnerStart", "AfterScheduler"),
        ]
    ),
    Wrong(
        "unknown deletion",
        job(deletionPolicy={"onFailure": "No"}),
        "spec.deletionPolicy.onFailure",
        "Unsupported value",
        job(deletionPolicy={"onFailure": "DeleteWorkers"}),
    ),
    Wrong(
        "minAvailableWorkers without runnerStart",
        job(minAvailableWorkers=2),
        "spec.minAvailableWorkers",
        policy.AFTER_WORKERS.message,
        job(minAvailableWorkers=2, **WAITING),
    ),
    Wrong(
        "minAvailableWorkers above the number of workers",
        job(minAvailableWorkers=3, **WAITING),
        "spec.minAvailableWorkers",
        job_spec.ENOUGH_WORKERS.message,
        job(
            minAvailableWorkers=3,
            cluster={"spec": a_cluster(replicas=2, workerGroups=[a_group(replicas=None)])},
            **WAITING,
        ),
    ),
    Wrong(
        "minAvailableWorkers above the default number of workers",
        job(minAvailableWorkers=2, cluster={"spec": a_cluster(replicas=None)}, **WAITING),
        "spec.minAvailableWorkers",
        job_spec.ENOUGH_WORKERS.message,
        job(
            minAvailableWorkers=2,
            cluster={
                "spec": a_cluster(workerGroups=[a_group(autoscaling={"maximum": 1})], replicas=None)
            },
            **WAITING,
        ),
    ),
    Wrong(
        "negative progress interval",
        job(progress={"intervalSeconds": -1}),
        "spec.progress.intervalSeconds",
        "greater than or equal to 0",
        job(progress={"intervalSeconds": 0}),
    ),
    Wrong(
        "suspend as text",
        job(suspend="true"),
        "spec.suspend",
        "must be of type boolean",
        job(suspend=True),
    ),
    Wrong(
        "cancel as text",
        job(cancel="true"),
        "spec.cancel",
        "must be of type boolean",
        job(cancel=False),
    ),
    Wrong(
        "number as a submission",
        job(submissionID=5),
        "spec.submissionID",
        "must be of type string",
        job(submissionID="5"),
    ),
    *(
        Wrong(
            f"{field} of 254 characters",
            with_field(field, "a" * 254),
            f"spec.{field}",
            "may not be more than 253",
            with_field(field, "a" * 253),
        )
        for field in ("submissionID", "managedBy")
    ),
    # Counts of workers
    Wrong(
        "more than 10,000 workers",
        cluster(**a_cluster(10_001)),
        "spec.worker.replicas",
        "less than or equal to 10000",
        cluster(**a_cluster(10_000)),
    ),
    Wrong(
        "more than 10,000 workers in a group",
        group(replicas=2**31 - 1),
        "spec.worker.replicas",
        "less than or equal to 10000",
        group(replicas=10_000),
    ),
    Wrong(
        "minimum of more than 10,000 workers",
        autoscaler(minimum=10_001, maximum=10_000),
        "spec.minimum",
        "less than or equal to 10000",
        autoscaler(minimum=10_000, maximum=10_000),
    ),
    Wrong(
        "maximum of more than 10,000 workers",
        autoscaler(maximum=10_001),
        "spec.maximum",
        "less than or equal to 10000",
        autoscaler(maximum=10_000),
    ),
    Wrong(
        "runner that waits for more than 10,000 workers",
        job(minAvailableWorkers=10_001, cluster={"spec": a_cluster(10_000)}, **WAITING),
        "spec.minAvailableWorkers",
        "less than or equal to 10000",
        job(minAvailableWorkers=10_000, cluster={"spec": a_cluster(10_000)}, **WAITING),
    ),
    # Failure rules
    Wrong(
        "rule without exit codes and reasons",
        with_rule(action="Ignore"),
        "spec.failurePolicy.rules[0]",
        failure_rules.ABOUT_SOMETHING.message,
        with_rule(action="Ignore", onReasons=["Evicted"]),
    ),
    Wrong(
        "rule without an action",
        with_rule(onReasons=["Evicted"]),
        "spec.failurePolicy.rules[0].action",
        "Required value",
        with_rule(action="Ignore", onReasons=["Evicted"]),
    ),
    Wrong(
        "rule about a final reason",
        with_rule(action="Ignore", onReasons=["Cancelled"]),
        "spec.failurePolicy.rules[0].onReasons",
        "Unsupported value",
        with_rule(action="FailJob", onReasons=["OOMKilled", "Stalled"]),
    ),
    Wrong(
        "rule about exit code 0",
        with_rule(action="Count", onExitCodes={"operator": "In", "values": [3, 0]}),
        "spec.failurePolicy.rules[0].onExitCodes.values",
        failure_rules.FAILURES_ONLY.message,
        with_rule(action="Count", onExitCodes={"operator": "NotIn", "values": [3, 0]}),
    ),
    Wrong(
        "rule about an impossible exit code",
        with_rule(action="Count", onExitCodes={"operator": "In", "values": [256]}),
        "spec.failurePolicy.rules[0].onExitCodes.values",
        "less than or equal to 255",
        with_rule(action="Count", onExitCodes={"operator": "In", "values": [255]}),
    ),
    Wrong(
        "rule about an empty list of codes",
        with_rule(action="Count", onExitCodes={"operator": "In", "values": []}),
        "spec.failurePolicy.rules[0].onExitCodes.values",
        "at least 1 items",
        with_rule(**COUNTED),
    ),
    Wrong(
        "rule about codes without an operator",
        with_rule(action="Count", onExitCodes={"values": [3]}),
        "spec.failurePolicy.rules[0].onExitCodes.operator",
        "Required value",
        with_rule(**COUNTED),
    ),
    Wrong(
        "rule about too many codes",
        with_rule(action="Count", onExitCodes={"operator": "NotIn", "values": [3] * 256}),
        "spec.failurePolicy.rules[0].onExitCodes.values",
        "at most 255 items",
        with_rule(action="Count", onExitCodes={"operator": "NotIn", "values": list(range(255))}),
    ),
    Wrong(
        "too many rules",
        job(failurePolicy={"rules": [COUNTED] * 21}),
        "spec.failurePolicy.rules",
        "at most 20 items",
        job(failurePolicy={"rules": [COUNTED] * 20}),
    ),
    Wrong(
        "rules that are not a list",
        job(failurePolicy={"rules": "none"}),
        "spec.failurePolicy.rules",
        "must be of type array",
        job(failurePolicy={"rules": [COUNTED]}),
    ),
    # Clusters
    Wrong(
        "negative replicas",
        with_worker(replicas=-1),
        "spec.worker.replicas",
        "greater than or equal to 0",
        with_worker(replicas=0),
    ),
    Wrong(
        "replicas as text",
        with_worker(replicas="2"),
        "spec.worker.replicas",
        "must be of type integer",
        with_worker(replicas=2),
    ),
    Wrong(
        "negative idle timeout",
        cluster(idleTimeout=-1),
        "spec.idleTimeout",
        "greater than or equal to 0",
        cluster(idleTimeout=600),
    ),
    Wrong(
        "service without the scheduler's port",
        with_service(ports=[{"name": "http-dashboard", "port": 8787}]),
        "spec.scheduler.service.ports",
        cluster_spec.REACHABLE.message,
        with_service(ports=[{"name": "tcp-comm", "port": 8786}]),
    ),
    Wrong(
        "service without ports",
        with_service(ports=[]),
        "spec.scheduler.service.ports",
        cluster_spec.REACHABLE.message,
        with_service(ports=None),
    ),
    Wrong(
        "too many ports",
        with_service(ports=[{"port": 8786 + n} for n in range(251)]),
        "spec.scheduler.service.ports",
        "at most 250 items",
        with_service(ports=[{"port": 9035 - n} for n in range(250)]),
    ),
    Wrong(
        "port as text",
        with_service(ports=[{"port": 8786}, {"port": "8787"}]),
        "spec.scheduler.service.ports[1].port",
        "must be of type integer",
        with_service(ports=[{"port": 8786}, {"port": 8787}]),
    ),
    Wrong(
        "group without a name",
        with_group(name=""),
        "spec.workerGroups[0].name",
        "at least 1 chars",
        with_group(),
    ),
    Wrong(
        "group with capitals",
        with_group(name="Big"),
        "spec.workerGroups[0].name",
        cluster_spec.GROUP_NAME.message,
        with_group(name="2-big"),
    ),
    Wrong(
        "group named default",
        with_group(name="default"),
        "spec.workerGroups[0].name",
        cluster_spec.GROUP_NAME.rules[1].message,
        with_group(name="defaults"),
    ),
    Wrong(
        "group named after the scheduler",
        with_group(name="my-scheduler"),
        "spec.workerGroups[0].name",
        cluster_spec.GROUP_NAME.rules[0].message,
        with_group(name="my-schedule"),
    ),
    Wrong(
        "two groups of one name",
        cluster(workerGroups=[a_group(), a_group()]),
        "spec.workerGroups[1].name",
        "Duplicate value",
        cluster(workerGroups=[a_group(), a_group(name="cpu")]),
        server_path="spec.workerGroups[1]",
    ),
    Wrong(
        "too many groups",
        cluster(workerGroups=[a_group(name=f"g{n}") for n in range(101)]),
        "spec.workerGroups",
        "at most 100 items",
        cluster(workerGroups=[a_group(name=f"g{n}") for n in range(100)]),
    ),
    # Bounds
    Wrong(
        "maximum below the minimum",
        with_worker(autoscaling={"minimum": 3, "maximum": 2}),
        "spec.worker.autoscaling.maximum",
        group_spec.BOUNDS.message,
        with_worker(autoscaling={"minimum": 2, "maximum": 2}),
    ),
    Wrong(
        "autoscaling without a maximum",
        with_worker(autoscaling={"minimum": 3}),
        "spec.worker.autoscaling.maximum",
        "Required value",
        with_worker(autoscaling={"maximum": 3}),
    ),
    Wrong(
        "autoscaling up to 0",
        with_worker(autoscaling={"maximum": 0}),
        "spec.worker.autoscaling.maximum",
        "greater than or equal to 1",
        with_worker(autoscaling={"maximum": 1}),
    ),
    Wrong(
        "autoscaler's maximum below its minimum",
        autoscaler(minimum=3, maximum=2),
        "spec.maximum",
        group_spec.BOUNDS.message,
        autoscaler(minimum=0, maximum=0),
    ),
    Wrong(
        "autoscaler that never asks",
        autoscaler(intervalSeconds=0),
        "spec.intervalSeconds",
        "greater than or equal to 1",
        autoscaler(intervalSeconds=1),
    ),
    Wrong(
        "autoscaler that never scales",
        autoscaler(maximumStep=0),
        "spec.maximumStep",
        "greater than or equal to 1",
        autoscaler(maximumStep=1),
    ),
    Wrong(
        "autoscaler of a cluster with an invalid name",
        autoscaler(cluster="My.cluster"),
        "spec.cluster",
        NAME_MESSAGE,
        autoscaler(cluster="my-cluster"),
    ),
    Wrong(
        "autoscaler of a group with an invalid name",
        autoscaler(workerGroup="My.group"),
        "spec.workerGroup",
        NAME_MESSAGE,
        autoscaler(workerGroup="my-group"),
    ),
    Wrong(
        "group of a cluster with an invalid name",
        group(cluster="My.cluster"),
        "spec.cluster",
        NAME_MESSAGE,
        group(cluster="my-cluster"),
    ),
    # Packages
    Wrong(
        "option among the requirements",
        with_environment(requirements=["pandas==3.0.1", "-r more.txt"]),
        "spec.environment.requirements[1]",
        environment.NO_OPTION.message,
        with_environment(requirements=["pandas==3.0.1", "numpy>=2; python_version < '3.14'"]),
    ),
    Wrong(
        "two lines as one requirement",
        with_environment(requirements=["pandas==3.0.1\nnumpy"]),
        "spec.environment.requirements[0]",
        environment.NO_OPTION.message,
        with_environment(requirements=["pandas==3.0.1 --hash=sha256:" + "a" * 64]),
    ),
    Wrong(
        "empty requirement",
        with_environment(requirements=[""]),
        "spec.environment.requirements[0]",
        environment.NO_OPTION.message,
        with_environment(requirements=[]),
    ),
    Wrong(
        "password in a requirement",
        with_environment(requirements=["tool @ https://me:pw@example.com/tool.whl"]),
        "spec.environment.requirements[0]",
        environment.NO_LOGIN.message,
        with_environment(requirements=["tool @ git+https://example.com/org/tool@v1"]),
    ),
    Wrong(
        "number as a requirement",
        with_environment(requirements=[3]),
        "spec.environment.requirements[0]",
        "must be of type string",
        with_environment(requirements=["3to2"]),
    ),
    Wrong(
        "requirement of more than 8192 characters",
        with_environment(requirements=["a" * (environment.LONGEST_REQUIREMENT + 1)]),
        "spec.environment.requirements[0]",
        "may not be more than 8192",
        with_environment(requirements=["a" * environment.LONGEST_REQUIREMENT]),
    ),
    Wrong(
        "more than 500 requirements",
        with_environment(requirements=[f"p{n}==1" for n in range(501)]),
        "spec.environment.requirements",
        "must have at most 500 items",
        with_environment(requirements=[f"p{n}==1" for n in range(500)]),
    ),
    Wrong(
        "requirements of more than 512 KiB",
        with_environment(requirements=["a" * 8192] * 65),
        "spec.environment.requirements",
        environment.SMALL_ENOUGH.message,
        with_environment(requirements=["a" * 8192] * 64),
    ),
    Wrong(
        "Python without a comparison",
        with_environment(requiresPython="3.11"),
        "spec.environment.requiresPython",
        environment.REQUIRES_PYTHON.message,
        with_environment(requiresPython=">=3.11, <3.14,!=3.12.*"),
    ),
    Wrong(
        "password in an index's URL",
        with_environment(indexURLs=["https://me:pw@example.com/simple"]),
        "spec.environment.indexURLs[0]",
        environment.INDEX_URL.message,
        with_environment(indexURLs=["https://example.com/simple", "http://mirror:8080"]),
    ),
    Wrong(
        "too many indexes",
        with_environment(indexURLs=["https://example.com/simple"] * 11),
        "spec.environment.indexURLs",
        "must have at most 10 items",
        with_environment(indexURLs=["https://example.com/simple"] * 10),
    ),
    Wrong(
        "relative folder of wheels",
        with_environment(findLinks="wheels"),
        "spec.environment.findLinks",
        environment.FIND_LINKS.message,
        with_environment(findLinks="/wheels"),
    ),
    Wrong(
        "password in a page of links",
        with_environment(findLinks="https://me:pw@example.com/wheels"),
        "spec.environment.findLinks",
        environment.FIND_LINKS.message,
        with_environment(findLinks="https://example.com/wheels/", secretName="index-login"),
    ),
    Wrong(
        "Secret with capitals",
        with_environment(secretName="Login"),
        "spec.environment.secretName",
        environment.OBJECT_NAME_MESSAGE,
        with_environment(secretName="index.login"),
    ),
    Wrong(
        "environment with clusterRef",
        on("simple", environment={"requirements": ["a"]}),
        "spec.environment",
        job_spec.OWN_PODS[0].message,
        with_environment(requirements=["a"]),
    ),
    # Code
    Wrong(
        "code without a source",
        with_code(paths=["src"]),
        "spec.code",
        code.EXACTLY_ONE_SOURCE.message,
        with_code(configMaps=["code-0"], paths=["src", ".", "lib/python"]),
    ),
    Wrong(
        "code from two sources",
        with_code(image="example.com/code:1", configMaps=["code-0"]),
        "spec.code",
        code.EXACTLY_ONE_SOURCE.message,
        with_code(image="example.com/code:1"),
    ),
    Wrong(
        "code of no ConfigMap",
        with_code(configMaps=[]),
        "spec.code.configMaps",
        code.NOT_EMPTY.message,
        with_code(configMaps=[f"code-{n}" for n in range(8)]),
    ),
    Wrong(
        "code of too many ConfigMaps",
        with_code(configMaps=[f"code-{n}" for n in range(9)]),
        "spec.code.configMaps",
        "must have at most 8 items",
        with_code(configMaps=["code"]),
    ),
    Wrong(
        "branch instead of a commit",
        with_code(git={"url": "https://example.com/org/app", "commit": "main"}),
        "spec.code.git.commit",
        code.COMMIT.message,
        with_code(git={"url": "https://example.com/org/app", "commit": "0a" * 20}),
    ),
    Wrong(
        "short hash of a commit",
        with_code(git={"url": "git@example.com:org/app.git", "commit": "0a" * 4}),
        "spec.code.git.commit",
        code.COMMIT.message,
        with_code(git={"url": "git@example.com:org/app.git", "commit": "0a" * 32}),
    ),
    Wrong(
        "password in a repository's URL",
        with_code(git={"url": "https://me:pw@example.com/org/app", "commit": "0a" * 20}),
        "spec.code.git.url",
        code.URL.message,
        with_code(
            git={
                "url": "ssh://git@example.com/org/app",
                "commit": "0a" * 20,
                "secretName": "deploy-key",
            }
        ),
    ),
    Wrong(
        "repository that is an option of git",
        with_code(git={"url": "--upload-pack=x", "commit": "0a" * 20}),
        "spec.code.git.url",
        code.URL.message,
        with_code(git={"url": "http://example.com/app", "commit": "0a" * 20}),
    ),
    Wrong(
        "git without a repository",
        with_code(git={"commit": "0a" * 20}),
        "spec.code.git.url",
        "Required value",
        with_code(git={"url": "https://example.com/org/app", "commit": "0a" * 20}),
    ),
    Wrong(
        "volume without a claim",
        with_code(persistentVolumeClaim={"subPath": "app"}),
        "spec.code.persistentVolumeClaim.claimName",
        "Required value",
        with_code(persistentVolumeClaim={"claimName": "code", "subPath": "app/v..2"}),
    ),
    Wrong(
        "folder outside of the volume",
        with_code(persistentVolumeClaim={"claimName": "code", "subPath": "app/../.."}),
        "spec.code.persistentVolumeClaim.subPath",
        code.INSIDE.message,
        with_code(persistentVolumeClaim={"claimName": "code"}),
    ),
    Wrong(
        "image with a space",
        with_code(image="example.com/code latest"),
        "spec.code.image",
        code.IMAGE.message,
        with_code(image="example.com/code:latest"),
    ),
    Wrong(
        "absolute path on PYTHONPATH",
        with_code(configMaps=["code"], paths=["/src"]),
        "spec.code.paths[0]",
        code.INSIDE.message,
        with_code(configMaps=["code"], paths=["src"]),
    ),
    Wrong(
        "path outside of the code",
        with_code(configMaps=["code"], paths=["src", "../lib"]),
        "spec.code.paths[1]",
        code.INSIDE.message,
        with_code(configMaps=["code"], paths=["src", "..lib"]),
    ),
    Wrong(
        "two folders as one path",
        with_code(configMaps=["code"], paths=["src:lib"]),
        "spec.code.paths[0]",
        code.INSIDE.message,
        with_code(configMaps=["code"], paths=["src", "lib"]),
    ),
    Wrong(
        "code with clusterRef",
        on("simple", code={"configMaps": ["code"]}),
        "spec.code",
        job_spec.OWN_PODS[1].message,
        with_code(configMaps=["code"]),
    ),
    # Unknown fields
    Wrong(
        "misspelt field",
        job(backofLimit=1),
        "spec.backofLimit",
        'unknown field "spec.backofLimit"',
        job(backoffLimit=1),
    ),
    Wrong(
        "misspelt field below a list",
        with_group(replica=1),
        "spec.workerGroups[0].replica",
        'unknown field "spec.workerGroups[0].replica"',
        with_group(replicas=1),
    ),
]

#: Absent fields as sloppy clients write them.
NULLS: Manifest = {
    "backoffLimit": None,
    "backoff": {"initialSeconds": None, "factor": None, "maxSeconds": None},
    "failurePolicy": {"rules": None, "maxIgnored": None},
    "activeDeadlineSeconds": None,
    "attemptDeadlineSeconds": None,
    "startupDeadlineSeconds": None,
    "stallDeadlineSeconds": None,
    "ttlSecondsAfterFinished": None,
    "deletionPolicy": None,
    "minAvailableWorkers": None,
    "progress": {"intervalSeconds": None},
    "suspend": None,
    "cancel": None,
    "submissionID": None,
    "managedBy": None,
    "clusterRef": None,
    "environment": {
        "requirements": None,
        "requiresPython": None,
        "indexURLs": None,
        "findLinks": None,
        "secretName": None,
    },
    "code": None,
}
#: Null enums count as absent, except in server-side apply: there an enum cannot be null.
NULL_ENUMS: Manifest = {"onSchedulerLoss": None, "stallAction": None, "runnerStart": None}


def sloppy_job() -> Manifest:
    """A job with every null, empty value and stray field that real clients write."""
    runner = {
        "name": "job-runner",
        "image": "i",
        "command": None,
        "args": None,
        "env": None,
        "resources": None,
        "imagePullSecrets": [{"name": "stray"}],
    }
    worker = {"name": "worker", "image": "i", "env": [{"name": "A", "value": None}], "ports": None}
    scheduler = {"name": "scheduler", "image": "i", "resources": {}}
    manifest = job(
        job={
            "spec": {"containers": [runner], "restartPolicy": None, "volumes": None},
            "metadata": None,
            "files": None,
        },
        cluster={
            "metadata": {"creationTimestamp": None, "labels": None, "annotations": None},
            "spec": {
                "idleTimeout": None,
                "worker": {
                    "replicas": None,
                    "metadata": {"creationTimestamp": None},
                    "spec": {"containers": [worker]},
                    "autoscaling": None,
                },
                "workerGroups": None,
                "scheduler": {
                    "spec": {"containers": [scheduler]},
                    "metadata": None,
                    "service": {"ports": None, "selector": {"dask.org/cluster-name": "another"}},
                },
            },
            "status": {},
        },
        **NULLS,
    )
    manifest["metadata"]["creationTimestamp"] = None
    manifest["status"] = {"jobStatus": "", "startTime": None, "endTime": None}
    return manifest


def sloppy_cluster() -> Manifest:
    """A cluster with nulls and empty values."""
    manifest = with_worker(replicas=None, metadata=None, autoscaling=None)
    manifest["spec"]["scheduler"]["service"] = None
    manifest["spec"].update(idleTimeout=None, workerGroups=None)
    manifest["metadata"]["creationTimestamp"] = None
    return {**manifest, "status": {}}


def sloppy_group() -> Manifest:
    """A group with nulls and empty values."""
    manifest = group()
    manifest["spec"]["worker"]["replicas"] = None
    return {**manifest, "status": {}}


def sloppy_autoscaler() -> Manifest:
    """An autoscaler with nulls."""
    more: Manifest = dict.fromkeys(
        ("workerGroup", "intervalSeconds", "maximumStep", "scaleUpDelaySeconds")
    )
    return autoscaler(minimum=None, **more)


def full_job() -> Manifest:
    """A job with every field set."""
    bounds = {"minimum": 1, "maximum": 5, "scaleDownDelaySeconds": 30}
    labelled = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    spec = a_cluster(
        replicas=2,
        idleTimeout=600,
        workerGroups=[a_group(metadata=labelled, autoscaling=bounds)],
    )
    spec["worker"].update(metadata=labelled, autoscaling=bounds)
    spec["scheduler"].update(
        metadata=labelled, service={"type": "NodePort", "ports": [{"port": 8786}]}
    )
    return job(
        "everything",
        job={
            "spec": pod(container("job-runner"), restartPolicy="Never"),
            "metadata": labelled,
            "files": {"a.py": "print()"},
            "restartPolicy": "OnFailure",
        },
        cluster={"metadata": labelled, "spec": spec},
        backoffLimit=3,
        backoff={"initialSeconds": 1, "factor": 1.5, "maxSeconds": 60},
        failurePolicy={
            "rules": [
                {
                    "name": "bad input",
                    "action": "FailJob",
                    "onExitCodes": {"operator": "In", "values": [3]},
                    "onReasons": ["ExitCode"],
                }
            ],
            "maxIgnored": 2,
            "restart": "Runner",
        },
        onSchedulerLoss="Ignore",
        activeDeadlineSeconds=3600,
        attemptDeadlineSeconds=600,
        startupDeadlineSeconds=300,
        stallDeadlineSeconds=120,
        stallAction="Fail",
        ttlSecondsAfterFinished=86400,
        deletionPolicy={"onSuccess": "Keep", "onFailure": "DeleteWorkers"},
        runnerStart="AfterWorkers",
        minAvailableWorkers=1,
        progress={"intervalSeconds": 10},
        suspend=False,
        cancel=False,
        submissionID="monday",
        managedBy=names.MANAGED_BY,
        environment={
            "requirements": ["pandas==3.0.1"],
            "requiresPython": ">=3.11",
            "indexURLs": ["https://example.com/simple"],
            "findLinks": "/wheels",
            "secretName": "index-login",
        },
        code={
            "git": {
                "url": "https://example.com/org/app",
                "commit": "0a" * 20,
                "secretName": "git-login",
            },
            "paths": ["src", "."],
        },
    )


def full_autoscaler() -> Manifest:
    """An autoscaler with every field set."""
    return autoscaler(
        workerGroup="simple-gpu",
        intervalSeconds=10,
        scaleDownDelaySeconds=120,
        scaleUpDelaySeconds=5,
        maximumStep=2,
    )


def documents(folder: Path, pattern: str) -> Iterator[tuple[str, Manifest]]:
    """The objects of our kinds in YAML files, by the files' names."""
    for path in sorted(folder.glob(pattern)):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] in list(names.Kind):
                yield path.relative_to(folder).as_posix(), document


RIGHT: dict[str, Manifest] = {
    **{f"documented {name}": found for name, found in documents(DOCUMENTED, "*.yaml")},
    **{f"example {name}": found for name, found in documents(ROOT / "examples", "**/*.yaml")},
    "Flyte's": flyte(),
    "Flyte's, newer": newer_flyte(),
    "every field of a job": full_job(),
    "every field of an autoscaler": full_autoscaler(),
    "sloppy job": sloppy_job(),
    "sloppy cluster": sloppy_cluster(),
    "sloppy group": sloppy_group(),
    "sloppy autoscaler": sloppy_autoscaler(),
    **{f"not: {wrong.title}": wrong.right for wrong in WRONG},
}
