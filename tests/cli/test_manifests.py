"""validate and render: the mistakes of manifests, and the objects that they create."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.command import Daskjob, job

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted(
    [*(ROOT / "tests/data/documented").glob("*.yaml"), *ROOT.glob("examples/*/*.yaml")]
)


def test_documented_manifests_and_examples_are_valid(user: Daskjob) -> None:
    files = [path for path in MANIFESTS if path.name not in ("cluster-spec.yaml",)]
    done = user("validate", *files)
    assert done.code == 0, done.err
    assert "DaskJob simple-job is valid" in done.text


def test_mistakes_of_every_file_are_reported_at_once(daskjob: Daskjob) -> None:
    first, second = job("pass", backoffLimit=-1), job("pass", name="B", stallAction="No")
    paths = [daskjob.manifest(first, "a.json"), daskjob.manifest(second, "b.json")]
    good = daskjob.manifest(job("pass"), "c.json")
    done = daskjob("validate", *paths, good, "missing.yaml")
    assert done.code == 125
    for words in ("backoffLimit", "metadata.name", "stallAction", "missing.yaml cannot be read"):
        assert words in done.err
    assert "c.json: DaskJob job is valid" in done.text


def test_misspelt_kind_of_ours_is_a_mistake(daskjob: Daskjob) -> None:
    wrong = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJobs", "metadata": {"name": "a"}}
    done = daskjob("validate", daskjob.manifest(wrong))
    assert done.code == 125
    assert "DaskJob, DaskCluster" in done.err


@pytest.mark.parametrize("kind", ["DaskCluster", "DaskWorkerGroup", "DaskAutoscaler"])
def test_misspelt_field_is_named(daskjob: Daskjob, kind: str) -> None:
    wrong = {"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "metadata": {"name": "a"}}
    done = daskjob("validate", daskjob.manifest(wrong))
    assert done.code == 125
    assert "spec" in done.err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "metadata: {name: a}", "kind: is missing"),
        ("a.yaml", "a: 1\n---\nkind: Service", "kind: is missing"),
        ("a.yaml", "kind: 3", "kind: 3 is not allowed"),
        ("a.yaml", "kind: daskjob", "write one of DaskJob, DaskCluster"),
        ("a.py", "print(1)", "a.py is a script, not a manifest. To run it: daskjob run a.py"),
        ("a.ipynb", "{}", "a.ipynb is a notebook, not a manifest"),
        ("a.yaml", "kind: List\nitems: 3", "document 1.items: 3 is not allowed"),
        ("a.yaml", "kind: List\nitems: [{kind: List, items: [4]}]", "items[0].items[0]: 4"),
        (
            "a.yaml",
            "kind: List\nitems:\n- {apiVersion: v1, kind: Secret, data: {a: b}}",
            "metadata.name: is missing",
        ),
        ("a.yaml", "kind: DaskJob\nspecs: 1", "did you mean 'spec'?"),
        ("a.yaml", "kind: DaskCluster\nmetadata: {name: a, label: {}}", "did you mean 'labels'?"),
        ("a.yaml", "apiVersion: v1\nkind: configmap", "did you mean 'ConfigMap'?"),
        ("a.yaml", "apiVersion: v1\nkind: Secrets", "did you mean 'Secret'?"),
        ("a.yaml", "kind: Deployment", "apiVersion: is missing"),
        ("a.yaml", "- a\n---\nkind: daskjob", "write one of DaskJob, DaskCluster"),
        ("a.yaml", "kind: ConfigMap\nmetadata: {name: a}", "apiVersion: is missing; write v1"),
        ("a.yaml", "kind: DaskJob\nmetadata:\n  name: {{ .Values.name }}", "file is a template"),
        ("a.yaml", "{{- if .Values.on }}\nkind: DaskJob\n{{- end }}", "The file is a template"),
        ("a.yaml", "kind: DaskJob\nmetadata:\n  name: {% n %}", "The file is a template"),
        ("a.yaml", "kind: DaskJob\nspec:\n\tjob: {}\n", "replace the tabs"),
        ("a.json", '{"kind": "DaskJob"', "a.json is not valid JSON"),
        (".", None, ". is a folder; name its files"),
        ("https://example.org/job.yaml", None, "https://example.org/job.yaml is a URL"),
        ("s3://bucket/job.yaml", None, "s3://bucket/job.yaml is a URL"),
    ],
)
def test_what_is_no_manifest_is_125_with_what_to_write(
    daskjob: Daskjob, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        daskjob.script(text, name)
    done = daskjob("validate", name)
    assert (done.code, "Traceback" in done.err) == (125, False)
    assert message in done.err


RIGHT = """\
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata:
  name: "job"
  labels: {}
spec:
  backoffLimit: 2
  job:
    spec:
      volumes: []
      containers:
        - name: job-runner
          args: [python, job.py]
          env: []
          volumeMounts: []
          imagePullPolicy: Never
  cluster:
    spec:
      worker: {replicas: 1, spec: {containers: [{name: worker, args: [dask, worker]}]}}
      scheduler: {spec: {containers: [{name: scheduler, args: [dask, scheduler]}]}}
"""
#: Changes of a right manifest, each with the message about it.
MISTAKES = [
    ('"job"', '"${NAME}"', "metadata.name: '${NAME}' is not allowed; fill in the template first"),
    ('"job"', "7", "has 1 mistake:\n  metadata.name: 7 is not allowed; write a string"),
    ("labels: {}", "labels: {a: 7}", "has 1 mistake:\n  metadata.labels[a]: 7"),
    ("backoffLimit: 2", 'backoffLimit: "2"', "'2' is not allowed; write an integer"),
    ("backoffLimit", "backofflimit", "did you mean 'backoffLimit'?"),
    ("  cluster:\n    spec:", "  cluster:\n  spec:", "is it indented far enough?"),
    ("    spec:\n      vol", "    sepc:\n      vol", "spec.job.sepc: "),
    ("env: []", "env: {A: x}", "env: {'A': 'x'} is not allowed; write a list: [{name: A, value"),
    ("env: []", "env: [A=x]", "env[0]: 'A=x' is not allowed; write {name: A, value: ...}"),
    ("env: []", "env: [{A: x}]", "env[0].A: 'x' is not allowed; write {name: A, value: ...}"),
    ("env: []", "env: [{name: A, value: x, valueFrom: {}}]", "write either value or valueFrom"),
    ("volumes: []", "volumes: [{name: Data, emptyDir: {}}]", "volumes[0].name: 'Data'"),
    ("Mounts: []", "Mounts: [{name: data, mountPath: /x}]", "the pod has no such volume"),
    ("Never", "never", "write one of Always, IfNotPresent, Never"),
]


def test_mistakes_are_named_with_what_to_write(daskjob: Daskjob) -> None:
    for number, (right, wrong, _) in enumerate(MISTAKES):
        assert right in RIGHT
        daskjob.script(RIGHT.replace(right, wrong, 1), f"{number}.yaml")
    daskjob.script(RIGHT, "right.yaml")
    marked = b"\xef\xbb\xbf" + RIGHT.replace("\n", "\r\n").encode()
    (daskjob.work / "marked.yaml").write_bytes(marked)
    names = [f"{number}.yaml" for number in range(len(MISTAKES))]
    done = daskjob("validate", *names, "right.yaml", "marked.yaml")
    assert done.code == 125
    assert done.text == ("right.yaml: DaskJob job is valid\nmarked.yaml: DaskJob job is valid\n")
    for number, (_, _, message) in enumerate(MISTAKES):
        about = done.err.partition(f"{number}.yaml: ")[2].partition(".yaml: ")[0]
        assert message in about, about


def test_every_mistake_in_pods_is_reported_and_run_rejects_those_that_matter(
    daskjob: Daskjob,
) -> None:
    wrong = job("print('ran')", workers=0, worker={"args": ["dask worker"]})
    runner = wrong["spec"]["job"]["spec"]
    runner["containers"][0]["resources"] = {"limits": {"memory": "4 GB", "cpu": "two"}}
    runner["containers"][0]["imagePullPolicies"] = "Always"
    path = daskjob.manifest(wrong)
    done = daskjob("validate", path)
    assert done.code == 125
    for message in ("'4G' or '4Gi'", "did you mean '2'?", "[dask, worker]", "'imagePullPolicy'"):
        assert message in done.err
    assert daskjob("run", path).code == 125
    # Kubernetes drops an unknown field, and a newer one may know it.
    del runner["containers"][0]["resources"]
    wrong["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"][0]["args"] = ["dask", "worker"]
    again = daskjob("run", daskjob.manifest(wrong))
    assert (again.code, again.text) == (0, "ran\n")
    assert "imagePullPolicies" in again.err


def test_render_prints_every_object_of_a_job(daskjob: Daskjob) -> None:
    manifest = job("pass", name="sums", workers=2)
    manifest["spec"]["job"]["files"] = {"a.py": "pass"}
    done = daskjob("render", daskjob.manifest(manifest))
    assert done.code == 0, done.err
    found = [(item["kind"], item["metadata"]["name"]) for item in yaml.safe_load_all(done.text)]
    assert found[:5] == [
        ("ConfigMap", "sums-files"),
        ("Pod", "sums-runner"),
        ("DaskCluster", "sums"),
        ("Pod", "sums-scheduler"),
        ("Service", "sums-scheduler"),
    ]
    workers = [name for kind, name in found[5:] if kind == "Pod"]
    assert len(workers) == 2
    assert all(name.startswith("sums-default-worker-") for name in workers)


def test_rendered_script_is_a_valid_job_that_runs(daskjob: Daskjob) -> None:
    script = daskjob.script("import sys\nprint(sys.argv[1:])")
    done = daskjob("render", script, "--limit", "$(HOME)")
    assert done.code == 0, done.err
    manifest = yaml.safe_load(done.text)
    assert manifest["kind"] == "DaskJob"
    again = daskjob.run(daskjob.manifest(manifest))
    assert (again.code, again.text) == (0, "['--limit', '$(HOME)']\n"), again.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RIGHT.replace("backoffLimit: 2", "backoffLimit: -1"), "backoffLimit"),
        (RIGHT.replace("env: []", "env: [{name: A, value: x, valueFrom: {}}]"), "either value or"),
        (RIGHT.replace("Policy: Never", "Policy: never"), "write one of Always, IfNotPresent"),
        ("a: 1\n", "kind: is missing"),
        ("# nothing\n", "job.yaml is empty"),
        ("kind: DaskJob\nmetadata: {name: {{ name }}}\n", "The file is a template"),
    ],
)
def test_render_of_a_wrong_manifest_is_125(daskjob: Daskjob, text: str, message: str) -> None:
    done = daskjob("render", daskjob.script(text, "job.yaml"))
    assert (done.code, done.out) == (125, b"")
    assert message in done.err


def test_render_takes_a_manifest_alone_and_reports_unknown_fields(daskjob: Daskjob) -> None:
    text = RIGHT.replace("env: []", "newerField: 1")
    done = daskjob("render", daskjob.script(text, "job.yaml"))
    assert done.code == 0
    assert "newerField: 1" in done.text
    assert "unknown in" in done.err
    assert daskjob("render", "job.yaml", "--limit").code == 2
