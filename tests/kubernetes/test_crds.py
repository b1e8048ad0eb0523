"""The CRDs on a real API server: what it accepts, rejects, keeps and prints."""

from __future__ import annotations

import copy
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from daskjob.core import names
from daskjob.core.desired.cluster import job_cluster
from daskjob.core.desired.group import worker_group
from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest
from daskjob.core.names import Kind
from daskjob.core.observed import Platform
from daskjob.core.schema import crds as all_crds
from daskjob.core.spec import read_cluster, read_job
from daskjob.core.spec.job import IMMUTABLE
from daskjob.core.status import (
    autoscaler_status_from,
    cluster_status_from,
    group_status_from,
    job_status_from,
)
from tests.cluster.plugin import Kubectl, KubectlFailed, Kubernetes
from tests.core.manifests import DOCUMENTED, autoscaler, cluster, container, group, job, pod
from tests.core.specimens import (
    NAME_MESSAGE,
    NULL_ENUMS,
    RIGHT,
    WRONG,
    Wrong,
    flyte,
    full_job,
    sloppy_autoscaler,
    sloppy_cluster,
    sloppy_group,
    sloppy_job,
)
from tests.core.statuses import FULL, FULL_JOB
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
CRDS = sorted((ROOT / "operator-chart" / "crds").glob("*.yaml"))
FILES = [*sorted(DOCUMENTED.glob("*.yaml")), *sorted((ROOT / "examples").rglob("*.yaml"))]
#: How long an API server may take to serve a changed CRD.
PATIENCE_SECONDS = 30.0
READ = {
    Kind.JOB: job_status_from,
    Kind.CLUSTER: cluster_status_from,
    Kind.GROUP: group_status_from,
    Kind.AUTOSCALER: autoscaler_status_from,
}


@pytest.fixture(scope="module")
def crds(kubernetes: Kubernetes) -> Kubernetes:
    """The cluster, with our four kinds."""
    kubernetes.kubectl("apply", *files(CRDS))
    kubernetes.kubectl("wait", "--for=condition=Established", "--timeout=30s", *files(CRDS))
    return kubernetes


@pytest.fixture
def kubectl(crds: Kubernetes, namespace: str) -> Kubectl:
    """kubectl in the test's namespace, on a cluster that has our kinds."""
    return Kubectl(crds, namespace)


def files(paths: list[Path]) -> list[str]:
    """Arguments of kubectl for several files."""
    return [f"--filename={path}" for path in paths]


def here(manifest: Manifest) -> Manifest:
    """The manifest without its namespace: it goes where the test is."""
    plain = {k: v for k, v in manifest["metadata"].items() if k != "namespace"}
    return {**manifest, "metadata": plain}


def create(kubectl: Kubectl, manifest: Manifest, *options: str) -> Manifest:
    """Create an object; return it as the API server has it."""
    text = json.dumps(here(manifest))
    found = kubectl("create", "--output=json", *options, "--filename=-", stdin=text)
    return dict(json.loads(found))


def replace(kubectl: Kubectl, manifest: Manifest) -> Manifest:
    """Send an Update of an object, whole; return it as the API server has it."""
    text = json.dumps(here(manifest))
    found = kubectl("replace", "--output=json", "--filename=-", stdin=text)
    return dict(json.loads(found))


def get(kubectl: Kubectl, manifest: Manifest) -> Manifest:
    """The object as the API server has it."""
    what = (manifest["kind"], manifest["metadata"]["name"])
    return dict(json.loads(kubectl("get", *what, "--output=json")))


def patched(kubectl: Kubectl, manifest: Manifest, patch: Manifest, *options: str) -> Manifest:
    """Patch an object; return it as the API server has it."""
    what = [manifest["kind"], manifest["metadata"]["name"], "--type=merge", "--output=json"]
    return dict(json.loads(kubectl("patch", *what, f"--patch={json.dumps(patch)}", *options)))


def with_status(kubectl: Kubectl, manifest: Manifest, status: Manifest) -> Manifest:
    """Write an object's status whole; return the object as the API server has it."""
    text = json.dumps({**get(kubectl, manifest), "status": status})
    options = ["--subresource=status", "--output=json", "--filename=-"]
    return dict(json.loads(kubectl("replace", *options, stdin=text)))


class Judge:
    """The API server, with dry-run requests."""

    def __init__(self, address: str) -> None:
        self.address = address

    def create(self, manifest: Manifest) -> str:
        """Return the error of creating an object; empty if it is accepted."""
        return self._asked(manifest, "POST", "application/json", "")

    def server_side_apply(self, manifest: Manifest) -> str:
        """Return the error of applying an object; empty if it is accepted."""
        name = f"/{manifest['metadata']['name']}"
        return self._asked(manifest, "PATCH", "application/apply-patch+yaml", name)

    def _asked(self, manifest: Manifest, method: str, content: str, name: str) -> str:
        options = "dryRun=All&fieldValidation=Strict&fieldManager=tests"
        where = f"/apis/{names.API_VERSION}/namespaces/default/{Kind(manifest['kind']).plural}"
        placed = {**manifest["metadata"], "namespace": "default"}
        request = urllib.request.Request(
            f"{self.address}{where}{name}?{options}",
            data=json.dumps({**manifest, "metadata": placed}).encode(),
            method=method,
            headers={"Content-Type": content},
        )
        try:
            with urllib.request.urlopen(request, timeout=30):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                return str(json.loads(error.read())["message"])


@pytest.fixture(scope="module")
def judge(crds: Kubernetes) -> Iterator[Judge]:
    """Dry-run requests to the API server, a hundred times as fast as by kubectl."""
    command = crds.command("proxy", "--port=0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        _, _, address = proxy.stdout.readline().strip().rpartition(" ")
        yield Judge(f"http://{address}")
        proxy.terminate()


# Installing


def test_crds_are_established_and_structural(crds: Kubernetes) -> None:
    found = json.loads(crds.kubectl("get", "--output=json", *files(CRDS)))
    for crd in found["items"]:
        true = {c["type"] for c in crd["status"]["conditions"] if c["status"] == "True"}
        assert true == {"Established", "NamesAccepted"}, crd["metadata"]["name"]


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_crd_is_applied_again_and_again(crds: Kubernetes, path: Path) -> None:
    assert "unchanged" in crds.kubectl("apply", f"--filename={path}")
    crds.kubectl("apply", "--server-side", "--dry-run=server", f"--filename={path}")


def test_crd_fits_where_another_stands_and_judges_names_only_at_creation(
    kubernetes: Kubernetes, kubectl: Kubectl, request: pytest.FixtureRequest
) -> None:
    """dask-kubernetes accepted invalid names; such objects must stay deletable."""
    ours = of_another_group(next(c for c in all_crds() if c["spec"]["names"]["kind"] == "DaskJob"))
    request.addfinalizer(lambda: kubernetes.kubectl("delete", "crd", ours["metadata"]["name"]))
    theirs = copy.deepcopy(ours)
    schema = theirs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["x-kubernetes-validations"]
    schema["properties"]["spec"] = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    install(kubernetes, theirs)
    kind = ours["spec"]["names"]["kind"]
    old = {**job("2024-run"), "apiVersion": f"{ours['spec']['group']}/v1", "kind": kind}
    old["metadata"]["finalizers"] = ["kopf.zalando.org/KopfFinalizerMarker"]
    old["spec"]["cluster"]["spec"]["worker"]["replicas"] = -1
    create(kubectl, old)
    install(kubernetes, ours)

    new = {**old, "metadata": {"name": "2025-run"}}
    wait_until(lambda: rejected(lambda: create(kubectl, new)))
    patched(kubectl, old, {"metadata": {"labels": {"a": "b"}}})
    patched(kubectl, old, {"status": {"reason": "Old"}}, "--subresource=status")
    kubectl("delete", kind, "2024-run", "--wait=false")
    patched(kubectl, old, {"metadata": {"finalizers": None}})
    assert rejected(lambda: get(kubectl, old))


def of_another_group(crd: Manifest) -> Manifest:
    """The same CRD under another name in another API group, which no other test looks at."""
    renamed = {"kind": "EarlierJob", "plural": "earlierjobs"}
    spec = {**crd["spec"], "group": "before.dask.org", "names": renamed}
    name = f"{renamed['plural']}.{spec['group']}"
    return copy.deepcopy({**crd, "metadata": {"name": name}, "spec": spec})


def install(kubernetes: Kubernetes, crd: Manifest) -> None:
    """Apply a CRD and wait until it is there."""
    kubernetes.kubectl("apply", "--filename=-", stdin=json.dumps(crd))
    name = f"crd/{crd['metadata']['name']}"
    kubernetes.kubectl("wait", "--for=condition=Established", "--timeout=30s", name)


def rejected(send: Callable[[], object]) -> bool:
    """Return whether the API server rejects a request."""
    try:
        send()
    except KubectlFailed:
        return True
    return False


# Accepted objects


@pytest.fixture
def applied(crds: Kubernetes) -> Iterator[Callable[..., str]]:
    """Apply a file unchanged, in its own namespace; delete its objects after the test."""
    seen: list[Path] = []

    def apply(path: Path, *options: str) -> str:
        seen.append(path)
        return crds.kubectl("apply", f"--filename={path}", *options)

    yield apply
    for path in set(seen):
        crds.kubectl("delete", f"--filename={path}", "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_documented_manifests_and_examples_apply_unchanged_and_are_kept_as_they_are(
    crds: Kubernetes, applied: Callable[..., str], path: Path
) -> None:
    assert "created" in applied(path)
    assert "unchanged" in applied(path)
    applied(path, "--server-side")
    kept = json.loads(crds.kubectl("get", f"--filename={path}", "--output=json"))
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    if given["apiVersion"] == names.API_VERSION:
        assert kept["spec"] == given["spec"]


@pytest.mark.parametrize("title", RIGHT)
def test_right_manifest_is_accepted(judge: Judge, title: str) -> None:
    assert judge.create(RIGHT[title]) == ""
    assert judge.server_side_apply(RIGHT[title]) == ""


@pytest.mark.parametrize(
    "title",
    [
        title
        for title, found in RIGHT.items()
        if found["kind"] == Kind.JOB and found["spec"].get("cluster")
    ],
)
def test_objects_that_passes_create_for_a_right_job_are_accepted(judge: Judge, title: str) -> None:
    manifest = {**RIGHT[title], "metadata": {**RIGHT[title]["metadata"], "uid": "u"}}
    found = read_job(manifest, [])
    made = job_cluster(found, found.policy, 0, Platform())
    assert judge.create(made) == ""
    its_cluster = read_cluster({**made, "metadata": {**made["metadata"], "uid": "u"}}, [])
    for its_group in its_cluster.spec.all_groups:
        assert judge.create(worker_group(its_cluster, its_group)) == ""


@pytest.mark.parametrize(
    "manifest",
    [sloppy_job(), sloppy_cluster(), sloppy_group(), sloppy_autoscaler()],
    ids=lambda manifest: manifest["kind"],
)
@pytest.mark.parametrize("how", ["create", "apply", "apply --server-side"])
def test_sloppy_object_is_kept_and_may_be_changed(
    kubectl: Kubectl, manifest: Manifest, how: str
) -> None:
    text = json.dumps(here(manifest))
    kubectl(*how.split(), "--filename=-", stdin=text)
    kubectl("label", manifest["kind"], manifest["metadata"]["name"], "a=b")
    kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)
    kept = get(kubectl, manifest)
    replace(kubectl, kept)
    patched(kubectl, manifest, {"status": {"reason": "Sloppy"}}, "--subresource=status")


def test_sloppy_job_is_read_without_a_mistake_as_it_is_kept(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(here(sloppy_job())))
    errors: list[FieldError] = []
    found = read_job(get(kubectl, sloppy_job()), errors)
    assert errors == []
    assert found.policy == read_job(sloppy_job(), []).policy
    assert found.cluster is not None
    assert found.cluster.worker.replicas == 1
    assert not found.cluster.worker.replicas_given


def test_null_enums_are_accepted_except_by_server_side_apply(judge: Judge) -> None:
    """An enum of a CRD cannot be null; other requests drop nulls before validation."""
    assert judge.create(job(**NULL_ENUMS)) == ""
    assert "Unsupported value: null" in judge.server_side_apply(job(**NULL_ENUMS))


def test_fields_that_are_newer_than_the_crd_survive_in_pods_and_services(kubectl: Kubectl) -> None:
    newer = container("worker", ofTomorrow={"deep": [1, None]}, resizePolicy=[{"x": "y"}])
    manifest = full_job()
    spec = manifest["spec"]["cluster"]["spec"]
    manifest["spec"]["job"]["spec"] = pod(newer, ofTomorrow=True, schedulingGates=[{"name": "g"}])
    spec["worker"]["spec"] = pod(newer, ofTomorrow=1)
    spec["workerGroups"][0]["spec"] = pod(newer, ofTomorrow="x")
    spec["scheduler"]["spec"] = pod(newer, ofTomorrow=[])
    port = {"port": 8786, "ofTomorrow": True}
    spec["scheduler"]["service"] = {"ports": [port], "trafficDistribution": "PreferClose"}
    spec["scheduler"]["metadata"]["ofTomorrow"] = {"a": 1}
    assert create(kubectl, manifest)["spec"] == manifest["spec"]


def test_job_with_every_field_is_kept_unchanged(kubectl: Kubectl) -> None:
    assert create(kubectl, full_job())["spec"] == full_job()["spec"]


def test_absent_replicas_stay_absent_in_a_job_and_are_1_in_scaled_kinds(
    kubectl: Kubectl,
) -> None:
    manifest = job()
    del manifest["spec"]["cluster"]["spec"]["worker"]["replicas"]
    assert "replicas" not in create(kubectl, manifest)["spec"]["cluster"]["spec"]["worker"]
    bare = cluster()
    del bare["spec"]["worker"]["replicas"]
    assert create(kubectl, bare)["spec"]["worker"]["replicas"] == 1
    more = group()
    more["spec"]["worker"]["replicas"] = None
    assert create(kubectl, more)["spec"]["worker"]["replicas"] == 1


def test_generated_name_is_accepted_with_a_service_that_selects_another_cluster(
    kubectl: Kubectl,
) -> None:
    """As Argo's resource templates make it."""
    manifest = job()
    manifest["metadata"] = {"generateName": "dask-jobs-"}
    selector = {"dask.org/cluster-name": "another", "dask.org/component": "scheduler"}
    service = {"type": "ClusterIP", "selector": selector, "ports": [{"port": 8786}]}
    manifest["spec"]["cluster"]["spec"]["scheduler"]["service"] = service
    assert create(kubectl, manifest)["metadata"]["name"].startswith("dask-jobs-")


# Rejected objects


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.title)
def test_wrong_manifest_is_rejected_with_path_and_message(judge: Judge, wrong: Wrong) -> None:
    message = judge.create(wrong.manifest)
    assert wrong.message in message
    assert (wrong.server_path or wrong.path) in message


def test_invalid_generated_name_is_rejected(kubectl: Kubectl) -> None:
    manifest = job()
    manifest["metadata"] = {"generateName": "2024-"}
    with pytest.raises(KubectlFailed) as caught:
        create(kubectl, manifest)
    assert "metadata.name" in caught.value.said
    assert NAME_MESSAGE in caught.value.said


# Changes


def is_rejected(kubectl: Kubectl, manifest: Manifest, field: str, **spec: object) -> bool:
    """Return whether a change of a job's spec is rejected as one of an immutable field."""
    try:
        patched(kubectl, manifest, {"spec": spec}, "--dry-run=server")
    except KubectlFailed as error:
        return f"spec.{field}: Invalid value" in error.said and IMMUTABLE.message in error.said
    return False


def test_submission_id_may_be_dropped_and_set_again(kubectl: Kubectl) -> None:
    manifest = job(submissionID="monday")
    create(kubectl, manifest)
    assert is_rejected(kubectl, manifest, "submissionID", submissionID="tuesday")
    assert (
        "submissionID" not in patched(kubectl, manifest, {"spec": {"submissionID": None}})["spec"]
    )
    patched(kubectl, manifest, {"spec": {"submissionID": "monday"}})


def test_managed_by_is_neither_added_nor_removed_nor_changed(kubectl: Kubectl) -> None:
    theirs = job("theirs", managedBy="another/controller")
    create(kubectl, theirs)
    for value in (None, "", "third/controller", names.MANAGED_BY):
        assert is_rejected(kubectl, theirs, "managedBy", managedBy=value), value
    assert not is_rejected(kubectl, theirs, "managedBy", suspend=True)


@pytest.mark.parametrize("own", [None, "", names.MANAGED_BY])
def test_managed_by_may_be_absent_or_daskjobs_own_but_no_other(
    kubectl: Kubectl, own: str | None
) -> None:
    ours = job("ours", managedBy=own)
    create(kubectl, ours)
    assert is_rejected(kubectl, ours, "managedBy", managedBy="another/controller")
    for value in (None, "", names.MANAGED_BY):
        assert not is_rejected(kubectl, ours, "managedBy", managedBy=value), value


def test_cluster_and_cluster_ref_are_not_swapped_and_the_reference_does_not_change(
    kubectl: Kubectl,
) -> None:
    ours, theirs = job("ours"), job("theirs", clusterRef={"name": "shared"})
    create(kubectl, ours)
    create(kubectl, theirs)
    swap = {"cluster": None, "clusterRef": {"name": "shared"}}
    assert is_rejected(kubectl, ours, "clusterRef", **swap)
    back = {"clusterRef": None, "cluster": ours["spec"]["cluster"]}
    assert is_rejected(kubectl, theirs, "clusterRef", **back)
    assert is_rejected(kubectl, theirs, "clusterRef", clusterRef={"name": "other"})
    assert not is_rejected(kubectl, theirs, "clusterRef", clusterRef={"name": "shared"})


@pytest.mark.parametrize("manifest", [cluster(), group("simple-default")], ids=["cluster", "group"])
def test_scaling_to_more_than_10_000_workers_is_rejected(
    kubectl: Kubectl, manifest: Manifest
) -> None:
    create(kubectl, manifest)
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    with pytest.raises(KubectlFailed) as caught:
        kubectl("scale", kind, name, "--replicas=2147483647")
    assert "spec.worker.replicas" in caught.value.said
    assert "should be less than or equal to 10000" in caught.value.said
    kubectl("scale", kind, name, "--replicas=10000")


def test_update_by_flytes_old_types_drops_our_fields_and_is_accepted(kubectl: Kubectl) -> None:
    created = create(kubectl, flyte())
    policy = {"ttlSecondsAfterFinished": 600, "backoffLimit": 2, "activeDeadlineSeconds": 60}
    ours = {**policy, "submissionID": "monday", "managedBy": names.MANAGED_BY, "suspend": False}
    rules = {"rules": [{"action": "Ignore", "onReasons": ["Evicted"]}]}
    cluster_spec = {
        "idleTimeout": 600,
        "workerGroups": [{"name": "gpu", "spec": pod(container("worker"))}],
    }
    waits = {"runnerStart": "AfterWorkers", "minAvailableWorkers": 3}
    more = {**ours, **waits, "failurePolicy": rules, "cluster": {"spec": cluster_spec}}
    patched(kubectl, created, {"spec": more})
    status = FULL_JOB.to_manifest()
    before = with_status(kubectl, created, status)

    typed = flyte()
    typed["metadata"] = {**before["metadata"], "finalizers": []}
    typed["status"] = {
        "clusterName": status["clusterName"],
        "endTime": None,
        "jobRunnerPodName": status["jobRunnerPodName"],
        "jobStatus": "Running",
        "startTime": status["startTime"],
    }
    after = replace(kubectl, typed)
    assert set(after["spec"]) == {"job", "cluster"}
    assert "finalizers" not in after["metadata"]
    assert after["status"] == status


def test_pod_templates_may_change_after_the_start(kubectl: Kubectl) -> None:
    manifest = full_job()
    create(kubectl, manifest)
    started = with_status(kubectl, manifest, FULL_JOB.to_manifest())
    spec = started["spec"]
    for template in (spec["job"], spec["cluster"]["spec"]["worker"]):
        template["spec"]["containers"] = [container("other", resources={}, env=[])]
    spec["job"]["files"] = {"b.py": ""}
    spec["cluster"]["spec"]["workerGroups"] = []
    changed = replace(kubectl, started)
    assert changed["metadata"]["generation"] == 2
    assert changed["status"] == started["status"]


def test_policy_that_a_running_job_follows_may_change(kubectl: Kubectl) -> None:
    manifest = full_job()
    create(kubectl, manifest)
    patched(kubectl, manifest, {"spec": {"suspend": True, "ttlSecondsAfterFinished": 5}})
    patched(kubectl, manifest, {"spec": {"suspend": None, "cancel": True}})
    patched(kubectl, manifest, {"spec": {"activeDeadlineSeconds": None, "backoffLimit": None}})


# Status


def made(kind: Kind) -> Manifest:
    """A manifest of a kind."""
    makers = {
        Kind.JOB: full_job,
        Kind.CLUSTER: cluster,
        Kind.GROUP: group,
        Kind.AUTOSCALER: autoscaler,
    }
    return makers[kind]()


@pytest.mark.parametrize("kind", FULL)
def test_full_status_is_kept_unchanged(kubectl: Kubectl, kind: Kind) -> None:
    manifest, status = made(kind), FULL[kind]
    create(kubectl, manifest)
    kept = with_status(kubectl, manifest, status.to_manifest())
    assert kept["status"] == status.to_manifest()
    assert READ[kind](kept["status"]) == status
    assert kept["metadata"]["generation"] == 1


@pytest.mark.parametrize("result", ["text", 3, 2.5, True, [1, None, {}], {}], ids=repr)
def test_result_may_be_any_json(kubectl: Kubectl, result: object) -> None:
    create(kubectl, job())
    assert with_status(kubectl, job(), {"result": result})["status"] == {"result": result}


def test_status_of_a_newer_operator_is_kept(kubectl: Kubectl) -> None:
    """Helm never upgrades a CRD, so that an operator may be newer than its CRD."""
    create(kubectl, job())
    status = {"ofTomorrow": [1], "progress": {"total": 3, "ofTomorrow": 4}}
    assert with_status(kubectl, job(), status)["status"] == status


@pytest.mark.parametrize(
    ("kind", "status"),
    [(Kind.JOB, {"jobStatus": "Cancelled"}), (Kind.CLUSTER, {"phase": "Ready"})],
)
def test_unknown_state_is_rejected(kubectl: Kubectl, kind: Kind, status: Manifest) -> None:
    create(kubectl, made(kind))
    with pytest.raises(KubectlFailed, match="Unsupported value"):
        with_status(kubectl, made(kind), status)


def test_status_is_written_through_its_subresource_only(kubectl: Kubectl) -> None:
    assert "status" not in create(kubectl, {**job(), "status": {"jobStatus": "Successful"}})
    assert "status" not in patched(kubectl, job(), {"status": {"jobStatus": "Failed"}})


def test_kubectl_waits_for_conditions_and_for_job_status(kubectl: Kubectl) -> None:
    create(kubectl, job())
    condition = {"type": "Complete", "status": "True", "reason": "Completed", "message": ""}
    with_status(kubectl, job(), {"jobStatus": "Successful", "conditions": [condition]})
    kubectl("wait", "--for=condition=Complete", "djb/sums", "--timeout=10s")
    kubectl("wait", "--for=jsonpath={.status.jobStatus}=Successful", "djb/sums", "--timeout=10s")


# Columns, names, scaling


def table(kubectl: Kubectl, *what: str) -> dict[str, str]:
    """The one row that kubectl prints, by column, without the age, which changes."""
    header, row = kubectl("get", *what).splitlines()
    starts = [header.index(word) for word in header.split()]
    ends = [*starts[1:], None]
    columns = {
        header[start:end].strip(): row[start:end].strip()
        for start, end in zip(starts, ends, strict=True)
    }
    assert columns.pop("AGE")
    return columns


@pytest.mark.parametrize(
    ("kind", "what", "columns"),
    [
        (
            Kind.JOB,
            ("djb",),
            {
                "NAME": "everything",
                "STATUS": "Running",
                "REASON": "ExitCode",
                "PROGRESS": "4/10",
                "WORKERS": "2/3",
                "ATTEMPTS": "2",
            },
        ),
        (
            Kind.JOB,
            ("daskjob", "--output=wide"),
            {
                "NAME": "everything",
                "STATUS": "Running",
                "REASON": "ExitCode",
                "PROGRESS": "4/10",
                "WORKERS": "2/3",
                "ATTEMPTS": "2",
                "CLUSTER": "sums",
                "RUNNER": "sums-runner-1",
                "EXIT": "3",
            },
        ),
        *(
            (
                Kind.CLUSTER,
                (name,),
                {"NAME": "simple", "WORKERS": "2", "READY": "2", "STATUS": "Running"},
            )
            for name in ("dsk", "daskcluster", "daskclusters")
        ),
        (
            Kind.GROUP,
            ("daskworkers",),
            {"NAME": "simple-more", "CLUSTER": "simple", "WORKERS": "2", "READY": "2"},
        ),
        (
            Kind.AUTOSCALER,
            ("daskautoscaler",),
            {
                "NAME": "simple",
                "CLUSTER": "simple",
                "MINIMUM": "1",
                "MAXIMUM": "10",
                "DESIRED": "3",
            },
        ),
    ],
)
def test_kubectl_prints_the_columns_under_every_name(
    kubectl: Kubectl, kind: Kind, what: tuple[str, ...], columns: dict[str, str]
) -> None:
    create(kubectl, made(kind))
    with_status(kubectl, made(kind), FULL[kind].to_manifest())
    assert table(kubectl, *what) == columns


def test_category_lists_all_four_kinds(kubectl: Kubectl) -> None:
    for kind in Kind:
        create(kubectl, made(kind))
    found = kubectl("get", "dask", "--output=name").split()
    assert sorted(found) == [
        "daskautoscaler.kubernetes.dask.org/simple",
        "daskcluster.kubernetes.dask.org/simple",
        "daskjob.kubernetes.dask.org/everything",
        "daskworkergroup.kubernetes.dask.org/simple-more",
    ]


@pytest.mark.parametrize("kind", [Kind.CLUSTER, Kind.GROUP])
def test_kubectl_scales_clusters_and_groups(kubectl: Kubectl, kind: Kind) -> None:
    manifest = made(kind)
    name, plural = manifest["metadata"]["name"], kind.plural
    create(kubectl, manifest)
    kubectl("scale", kind.lower(), name, "--replicas=7")
    assert get(kubectl, manifest)["spec"]["worker"]["replicas"] == 7
    namespace = with_status(kubectl, manifest, FULL[kind].to_manifest())["metadata"]["namespace"]
    path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{plural}/{name}/scale"
    scale = json.loads(kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 7}
    assert scale["status"] == {"replicas": 3, "selector": "a=b"}


def test_kubectl_explains_every_field(crds: Kubernetes) -> None:
    """The descriptions of a CRD are published with a delay."""
    wait_until(lambda: not rejected(lambda: crds.kubectl("explain", "djb.spec.backoffLimit")))
    text = " ".join(crds.kubectl("explain", "djb.spec.backoffLimit").split())
    assert "Number of retries before the job fails. Defaults to 6" in text


def test_age_is_the_time_since_the_creation(kubectl: Kubectl) -> None:
    created = create(kubectl, job())["metadata"]["creationTimestamp"]
    since = datetime.now(UTC) - datetime.fromisoformat(created)
    assert since.total_seconds() < PATIENCE_SECONDS
    assert kubectl("get", "djb", "--no-headers").split()[-1].endswith("s")
