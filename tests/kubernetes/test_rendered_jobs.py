"""Jobs of scripts on a real API server: the CRD and Pod Security "restricted" accept them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from daskjob.core.desired.job_objects import desired_objects
from daskjob.core.manifests import Manifest
from daskjob.core.names import Kind
from daskjob.core.spec import DaskJob, parse
from tests.cluster.plugin import Kubectl, KubectlFailed
from tests.submit.test_cluster_job import GIVEN, PROGRAM, TREE, script


@pytest.fixture
def restricted(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The namespace of the test, in which Pod Security enforces "restricted"."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", kubectl.namespace, label)
    kubectl("create", "serviceaccount", "s")
    kubectl("create", "-f", "-", stdin=json.dumps(PRIORITY))
    yield kubectl
    kubectl("delete", "priorityclass", "p")


PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "p"},
    "value": 1,
}


def items(*objects: Manifest) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


@pytest.mark.usefixtures("with_crds")
def test_api_server_accepts_the_jobs_and_their_pods(restricted: Kubectl) -> None:
    jobs = []
    for number, given in enumerate(GIVEN):
        for kind, program in (("files", PROGRAM), ("tree", TREE)):
            more = {key: value for key, value in given.items() if key != "namespace"}
            jobs.append(script(program, name=f"{kind}-{number}", **more))
    out = restricted("create", "--dry-run=server", "-o", "name", "-f", "-", stdin=items(*jobs))
    assert len(out.split()) == len(jobs)
    # By the operator's own builders: Pod Security judges pods, not DaskJobs.
    made = [item for job in jobs for item in desired_objects(parse(DaskJob, job))]
    pods = [_alone(item) for item in made if item["kind"] == "Pod"]
    out = restricted("create", "--dry-run=server", "-o", "name", "-f", "-", stdin=items(*pods))
    assert len(out.split()) == len(pods)
    wrong = _alone(pods[0])
    del wrong["spec"]["securityContext"]["runAsNonRoot"]
    with pytest.raises(KubectlFailed, match="violates PodSecurity"):
        restricted("create", "--dry-run=server", "-f", "-", stdin=items(wrong))


def _alone(pod: Manifest) -> Manifest:
    """Return a pod without the namespace and the owner that it has in its job."""
    copy: Manifest = json.loads(json.dumps(pod))
    name, labels = copy["metadata"]["name"], copy["metadata"].get("labels", {})
    copy["metadata"] = {"name": name, "labels": labels}
    return copy


@pytest.mark.usefixtures("with_crds")
def test_rendered_job_is_applied_and_unchanged_when_it_is_applied_again(
    restricted: Kubectl,
) -> None:
    job = items(script(TREE))
    assert "created" in restricted("apply", "-f", "-", stdin=job)
    assert "unchanged" in restricted("apply", "-f", "-", stdin=job)
    (found,) = restricted.items(Kind.JOB.plural)
    assert sorted(found["spec"]["job"]["files"]) == ["a.py", "p--b.py"]
