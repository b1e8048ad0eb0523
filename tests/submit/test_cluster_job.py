"""The DaskJob of a submission: pods, resources, security, mounts, variables, fields."""

from __future__ import annotations

import base64
import dataclasses
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.core.desired.job_objects import desired_objects
from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskJob, parse
from daskjob.core.spec.kubernetes_objects import object_mistakes, template_mistakes
from daskjob.submit.cluster_job.archive import packed
from daskjob.submit.cluster_job.code import Code
from daskjob.submit.cluster_job.image import (
    NoImage,
    Versions,
    default_image,
    differences,
    environment_versions,
    image_versions,
)
from daskjob.submit.cluster_job.job import job_name, manifest_job, script_job
from daskjob.submit.cluster_job.program import Program, Sent
from daskjob.submit.cluster_job.resources import dask_limit
from daskjob.submit.cluster_job.submission import apply_notes, script_submission
from daskjob.submit.cluster_job.variables import parse_env_file
from daskjob.submit.settings.merge import Merged, merged
from daskjob.submit.settings.sources import WrongSettings, default_layer, flags_layer
from tests.docs.documents import ROOT

PROGRAM = Program(("python", Sent("a.py"), "$HOME"), "a", Code({"a.py": "pass"}))
TREE = Program(("python", Sent("a.py")), "a", Code({"a.py": "import p.b", "p/b.py": ""}))
DOCUMENTED = sorted((ROOT / "tests/data/documented").glob("*job*.yaml"))


def settings(**given: object) -> Merged:
    flags = {key.replace("_", "-"): value for key, value in given.items()}
    return merged([default_layer(), flags_layer({"image": "dask:1", **flags})])


def script(program: Program = PROGRAM, **given: object) -> Manifest:
    return script_job(program, settings(**given).settings).manifest


def changed(manifest: Manifest, **given: object) -> Manifest:
    flags = {key.replace("_", "-"): value for key, value in given.items()}
    return manifest_job(manifest, merged([flags_layer(flags)]).settings).manifest


def simple() -> Manifest:
    found: Manifest = yaml.safe_load(
        """
        apiVersion: kubernetes.dask.org/v1
        kind: DaskJob
        metadata: {name: simple, labels: {a: b}}
        spec:
          job: {spec: {containers: [{name: job, image: old, args: [python, x.py]}]}}
          cluster:
            spec:
              scheduler:
                spec: {containers: [{name: scheduler, image: old, args: [dask-scheduler]}]}
              worker:
                replicas: 3
                spec:
                  containers:
                  - {name: side, image: other}
                  - name: worker
                    image: old
                    args: [dask-worker, --nthreads=4, --name, $(DASK_WORKER_NAME)]
                    env: [{name: A, value: "1"}, {name: B, value: "1"}]
                    volumeMounts: [{name: v, mountPath: /v}]
                  volumes: [{name: v, emptyDir: {}}]
        """
    )
    return found


def pods(manifest: Manifest) -> dict[str, Manifest]:
    """Return the PodSpecs by role, or by the name of the group."""
    cluster = manifest["spec"]["cluster"]["spec"]
    groups = {group["name"]: group["spec"] for group in cluster.get("workerGroups", ())}
    return {
        "runner": manifest["spec"]["job"]["spec"],
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
        **groups,
    }


def main(pod: Manifest) -> Manifest:
    names = ("job-runner", "job", "scheduler", "worker")
    found: Manifest = next(c for c in pod["containers"] if c["name"] in names)
    return found


#: Combinations that make every part of the code write something.
GIVEN: list[dict[str, Any]] = [
    {},
    {"adapt": "2:10", "memory": "4GiB", "cpu": "0.5", "gpu": 1},
    {"threads": 4, "retries": 3, "deadline": "2h", "ttl": "1d", "token": "x", "namespace": "n"},
    {"env": ["A=$x"], "secrets": ["db:key=KEY", "all"], "mounts": ["pvc:data:/data:ro"]},
    {"mounts": ["pvc:a.b:/x", "pvc:a-b:/y", "secret:s:/s", "configmap:c:/c", "pvc:a.b:/z"]},
    {"labels": ["team=a"], "annotations": ["example.org/x=y"], "node_selector": ["pool=b"]},
    {"tolerations": ["spot:NoSchedule", "a=b"], "service_account": "s", "priority_class": "p"},
    {"image_pull_secrets": ["r"], "run_as_user": "image", "runner_gpu": 1, "runner_cpu": 4},
    {"groups": ["big:workers=1,memory=8Gi", "gpu:gpu=2,adapt=0:4,threads=3"], "workers": 0},
    {"worker_command": "dask cuda worker", "gpu": 4, "memory": "32Gi"},
    {"worker_command": "sh -c 'exec dask worker $A'", "scheduler_memory": "8Gi"},
    {"set": ["spec.stallAction=Fail", "spec.deletionPolicy.onFailure=Keep"]},
    {"set": ["spec.job.spec.containers[0].env[0].value=null", "metadata.labels[x.org/y]=z"]},
]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: " ".join(given) or "defaults")
@pytest.mark.parametrize("program", [PROGRAM, TREE], ids=["files", "tree"])
def test_job_is_valid_for_daskjob_and_for_kubernetes(
    program: Program, given: dict[str, Any]
) -> None:
    manifest = script(program, **given)
    job = parse(DaskJob, manifest)
    assert template_mistakes(manifest) == []
    assert object_mistakes("ObjectMeta", manifest["metadata"], "metadata") == []
    for made in desired_objects(job):
        if made["kind"] in ("Pod", "Service", "ConfigMap"):
            assert object_mistakes(made["kind"], made) == [], made


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: " ".join(given) or "defaults")
def test_pods_meet_the_standard_restricted(given: dict[str, Any]) -> None:
    for pod in pods(script(TREE, **given)).values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security.get("runAsUser", 1) != 0
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        kinds = {kind for volume in pod.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "persistentVolumeClaim"}
        names = [volume["name"] for volume in pod.get("volumes", ())]
        assert len(names) == len(set(names))


def test_words_of_the_command_are_literal() -> None:
    manifest = script(env=["A=$(B)"])
    assert main(pods(manifest)["runner"])["args"] == [*("python", "/daskjob/files/a.py", "$$HOME")]
    assert {"name": "A", "value": "$$(B)"} in main(pods(manifest)["worker"])["env"]


@pytest.mark.parametrize(
    ("given", "cpu", "threads"),
    [
        ({}, "1", "1"),
        ({"cpu": 4}, "4", "4"),
        ({"cpu": "500m"}, "500m", "1"),
        ({"cpu": 2.5}, "2500m", "3"),
        ({"threads": 8}, "8", "8"),
        ({"threads": 8, "cpu": 2}, "2", "8"),
    ],
)
def test_threads_are_the_cpus_unless_both_are_set(
    given: dict[str, Any], cpu: str, threads: str
) -> None:
    worker = main(pods(script(**given))["worker"])
    assert worker["resources"]["limits"]["cpu"] == cpu
    assert worker["resources"]["requests"]["cpu"] == cpu
    args = worker["args"]
    assert args[args.index("--nthreads") + 1] == threads


@pytest.mark.parametrize(
    ("memory", "workers", "limit"),
    [
        ("2Gi", 1, "1920MiB"),
        ("256Mi", 1, "128MiB"),
        ("4G", 1, "3865782272"),
        ("32Gi", 4, "8160MiB"),
    ],
)
def test_limit_of_dask_leaves_room_for_the_nanny(memory: str, workers: int, limit: str) -> None:
    assert dask_limit(memory, workers) == limit


def test_gpus_are_of_workers_and_runner_as_asked() -> None:
    found = pods(script(gpu=2, runner_gpu=1, gpu_resource="amd.com/gpu"))
    limits = {role: main(pod)["resources"]["limits"] for role, pod in found.items()}
    assert (limits["worker"]["amd.com/gpu"], limits["runner"]["amd.com/gpu"]) == ("2", "1")
    assert "amd.com/gpu" not in limits["scheduler"]
    cuda = main(pods(script(gpu=4, memory="32Gi", worker_command="dask cuda worker"))["worker"])
    assert cuda["args"] == [
        *("dask", "cuda", "worker", "--nthreads", "1", "--memory-limit", "8160MiB")
    ]


@pytest.mark.parametrize(
    ("given", "replicas", "bounds"),
    [
        ({}, 2, None),
        ({"workers": 0}, 0, None),
        ({"adapt": "2:10"}, 2, {"minimum": 2, "maximum": 10}),
        ({"adapt": "0:10"}, 0, {"minimum": 0, "maximum": 10}),
        ({"adapt": "0:10", "workers": 4}, 4, {"minimum": 0, "maximum": 10}),
    ],
)
def test_workers_are_a_number_or_follow_the_tasks(
    given: dict[str, Any], replicas: int, bounds: object
) -> None:
    worker = script(**given)["spec"]["cluster"]["spec"]["worker"]
    assert (worker["replicas"], worker.get("autoscaling")) == (replicas, bounds)


def test_group_is_as_the_default_group_but_for_its_settings() -> None:
    manifest = script(
        TREE,
        memory="4Gi",
        threads=2,
        env=["A=1"],
        node_selector=["pool=a"],
        groups=["big:memory=16Gi,node-selector=disk=ssd,workers=1", "gpu:cpu=8,adapt=0:3"],
    )
    found = pods(manifest)
    big, gpu, worker = (main(found[name]) for name in ("big", "gpu", "worker"))
    assert big["resources"]["limits"] == {"cpu": "2", "memory": "16Gi"}
    assert gpu["resources"]["limits"] == {"cpu": "8", "memory": "4Gi"}
    assert gpu["args"][gpu["args"].index("--nthreads") + 1] == "8"
    assert big["env"] == gpu["env"] == worker["env"]
    assert found["big"]["nodeSelector"] == {"pool": "a", "disk": "ssd"}
    assert found["gpu"]["nodeSelector"] == {"pool": "a"}
    groups = {group["name"]: group for group in manifest["spec"]["cluster"]["spec"]["workerGroups"]}
    assert groups["big"]["replicas"] == 1
    assert groups["gpu"]["autoscaling"] == {"minimum": 0, "maximum": 3}


def test_each_object_is_one_volume_however_it_is_named_and_often_mounted() -> None:
    mounts = ["pvc:a.b:/1", "pvc:a-b:/2", f"secret:{'x' * 100}:/3", "pvc:a.b:/4:ro"]
    pod = pods(script(mounts=mounts))["worker"]
    claims = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
    assert claims == [{"claimName": "a.b"}, {"claimName": "a-b"}, None]
    names = {volume["name"]: volume for volume in pod["volumes"]}
    assert all(len(name) <= 63 and "." not in name for name in names)
    used = {item["mountPath"]: names[item["name"]] for item in main(pod)["volumeMounts"]}
    assert used["/1"] is used["/4"]
    assert used["/1"] is not used["/2"]


def test_variables_and_secrets_are_of_script_and_workers_mounts_of_all() -> None:
    manifest = script(
        env=["A=1"], secrets=["db:key=KEY", "all"], mounts=["pvc:d:/d", "secret:s:/s"]
    )
    for role, pod in pods(manifest).items():
        container = main(pod)
        names = [variable["name"] for variable in container["env"]]
        expected = ["HOME", "USER"] if role == "scheduler" else ["HOME", "USER", "A", "KEY"]
        assert names == expected
        refs = [] if role == "scheduler" else [{"secretRef": {"name": "all"}}]
        assert container.get("envFrom", []) == refs
        assert [item["mountPath"] for item in container["volumeMounts"]] == ["/d", "/s"]
        assert "readOnly" not in container["volumeMounts"][0]
        assert container["volumeMounts"][1]["readOnly"] is True


def test_file_of_variables_is_a_secret_and_never_in_the_manifest() -> None:
    job = script_job(PROGRAM, settings().settings, {"PASSWORD": "hunter2"})
    assert job.env_secret is not None
    name = f"{job.manifest['metadata']['name']}-env"
    assert job.env_secret["metadata"]["name"] == name
    assert base64.b64decode(job.env_secret["data"]["PASSWORD"]) == b"hunter2"
    assert object_mistakes("Secret", job.env_secret) == []
    assert "hunter2" not in str(job.manifest)
    assert main(pods(job.manifest)["worker"])["envFrom"] == [{"secretRef": {"name": name}}]
    assert "envFrom" not in main(pods(job.manifest)["scheduler"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB = 2 \n", {"A": "1", "B": "2"}),
        ("# note\n\nexport A='1 # 2'\nB=1 # note\n", {"A": "1 # 2", "B": "1"}),
        ('A="x=y"  \nB=a#b\nC=\n', {"A": "x=y", "B": "a#b", "C": ""}),
        ("HERE\n", {"HERE": "yes"}),
        ("\ufeffA=1\r\nB=2", {"A": "1", "B": "2"}),
    ],
)
def test_file_of_variables_is_read_as_a_shell_does(text: str, found: dict[str, str]) -> None:
    assert parse_env_file(text, ".env", {"HERE": "yes"}) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nsecret words\n", ".env, line 2: write KEY=VALUE"),
        ("1A=secret", ".env, line 1: write KEY=VALUE"),
        ("A='secret\nB=1'", ".env, line 1: the closing ' is missing"),
        ("GONE", ".env, line 1: GONE is not set here; write GONE=VALUE"),
    ],
)
def test_mistake_in_a_file_of_variables_has_its_line_and_no_value(text: str, message: str) -> None:
    with pytest.raises(WrongSettings) as caught:
        parse_env_file(text, ".env", {})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


# Names


def test_name_is_the_same_for_the_same_token_or_content() -> None:
    first, again = script(), script()
    assert first == again
    assert first["metadata"]["name"] != script(memory="4Gi")["metadata"]["name"]
    one, other = script(token="t"), script(token="t", memory="4Gi")
    assert one["metadata"]["name"] == other["metadata"]["name"]
    assert one["spec"]["submissionID"] == "t"
    assert script(name="sums", token="t")["metadata"]["name"] == "sums"


@pytest.mark.parametrize("label", ["My Script", "2024_data", "ä", "x" * 80, "a-" * 30, ""])
def test_name_of_any_script_is_valid_with_40_characters_before_the_hash(label: str) -> None:
    from daskjob.core.names import is_valid_name

    name = job_name(label, token="t")
    assert is_valid_name(name)
    prefix, _, digits = name.rpartition("-")
    assert len(prefix) <= 40
    assert len(digits) == 12


# Images


@pytest.mark.parametrize(
    ("versions", "image"),
    [
        (Versions("3.11.7", "2026.8.0"), "ghcr.io/dask/dask:2026.8.0-py3.11"),
        (Versions("3.13", "2025.1.0"), "ghcr.io/dask/dask:2025.1.0-py3.13"),
    ],
)
def test_default_image_has_the_versions_of_the_environment(versions: Versions, image: str) -> None:
    assert default_image(versions) == image
    assert differences(image, dataclasses.replace(versions, distributed=versions.dask)) == []


@pytest.mark.parametrize("dask", ["", "2026.8.0+3.gabc", "2026.8.0rc1", "2026.8.1.dev2"])
def test_without_a_release_of_dask_an_image_must_be_named(dask: str) -> None:
    with pytest.raises(NoImage, match="name one: --image IMAGE"):
        default_image(Versions("3.11.7", dask))


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("ghcr.io/dask/dask:2025.1.0-py3.12", ["Python 3.12", "dask 2025.1.0"]),
        ("mirror.example.org/proxy/dask/dask:2025.1.0", ["dask 2025.1.0", "distributed 2025.1.0"]),
        ("daskdev/dask:2026.8.0-py3.10", ["Python 3.10"]),
        ("ghcr.io/dask/dask:latest", []),
        ("example.org/team/image:2025.1.0", []),
    ],
)
def test_difference_of_versions_is_a_note_with_both(image: str, found: list[str]) -> None:
    here = Versions("3.11.7", "2026.8.0", "2026.8.0")
    notes = differences(image, here)
    for words in found:
        assert any(f"the image has {words}, this environment has" in note for note in notes)
    assert bool(notes) == bool(found)
    submission = script_submission(PROGRAM, settings(image=image), versions=here)
    assert len(submission.notes) == bool(found)


def test_other_distributed_than_dask_is_reported() -> None:
    here = Versions("3.11.7", "2026.8.0", "2026.7.1")
    image = default_image(here)
    assert differences(image, here) == [
        "the image has distributed 2026.8.0, this environment has 2026.7.1"
    ]
    assert image_versions("x") is None
    assert differences(image, Versions("3.11.7", "2026.8.0")) == []
    assert differences(image, Versions("3.11.7")) == []


def test_versions_are_of_the_active_environment(tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.12/site-packages"
    packages.mkdir(parents=True)
    assert environment_versions({"VIRTUAL_ENV": str(tmp_path)}).place == "this environment"
    for name in ("dask-2025.3.0", "distributed-2025.3.1", "dask_expr-1.0"):
        (packages / f"{name}.dist-info").mkdir()
    found = environment_versions({"VIRTUAL_ENV": str(tmp_path)})
    assert (found.python, found.dask, found.distributed) == ("3.12", "2025.3.0", "2025.3.1")
    own = environment_versions({})
    assert own.dask
    assert own.python.startswith("3.")


def test_packages_of_a_program_are_the_environment_of_the_job() -> None:
    program = replace(PROGRAM, environment={"requirements": ["tiny==1.0"]})
    job = script_job(program, settings().settings).manifest
    assert job["spec"]["environment"] == {"requirements": ["tiny==1.0"]}
    # Another lock is another job.
    other = replace(PROGRAM, environment={"requirements": ["tiny==2.0"]})
    jobs = [script_job(one, settings().settings).manifest for one in (program, other, PROGRAM)]
    assert len({job["metadata"]["name"] for job in jobs}) == 3


def test_manifest_that_kubectl_apply_cannot_take_is_a_note() -> None:
    here = Versions("3.11.7", "2026.8.0")
    large = Program(("python", Sent("a.py")), "a", Code({"a.py": "#" * 300_000}))
    assert apply_notes(script_submission(PROGRAM, settings(), versions=here)) == []
    (note,) = apply_notes(script_submission(large, settings(), versions=here))
    assert "only with --server-side" in note


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [("DB_PASSWORD", True), ("apiKey", True), ("HF_TOKEN", True), ("MODE", False), ("KEY", False)],
)
def test_variable_that_looks_like_a_secret_is_a_note_without_its_value(
    name: str, is_secret: bool
) -> None:
    here = Versions("3.11.7", "2026.8.0")
    notes = script_submission(PROGRAM, settings(env=[f"{name}=hunter2"]), versions=here).notes
    assert bool(notes) == is_secret
    assert not is_secret or f"{name}: the job's manifest shows the value" in notes[0]
    assert "hunter2" not in "".join(notes)


def test_job_that_no_cluster_stores_with_its_files_has_them_in_a_config_map() -> None:
    here = Versions("3.11.7", "2026.8.0")
    files = {f"package/{'x' * 150}{n}.py": "#" * 700 for n in range(900)}
    large = Program(("python", Sent("a.py")), "a", Code(files, paths=("src", ".")))
    found = script_submission(large, settings(), versions=here)
    name = found.manifest["metadata"]["name"]
    (part,) = found.owned
    assert part["metadata"]["name"].startswith(f"{name}-code-")
    spec = found.manifest["spec"]
    assert spec["code"] == {"configMaps": [part["metadata"]["name"]], "paths": ["src", "."]}
    assert "files" not in spec["job"]
    runner = spec["job"]["spec"]["containers"][0]
    assert runner["args"] == ["python", "/daskjob/code/a.py"]
    assert "PYTHONPATH" not in [variable["name"] for variable in runner.get("env", ())]
    assert found.notes[-1].startswith("the code is sent in a ConfigMap of the job: 900 files with")
    assert found.question == ""


def test_job_with_an_archive_is_named_by_its_content_or_its_token() -> None:
    made = packed({"a.py": b"\xff"})
    names = set()
    for archive in (made, packed({"a.py": b"\xfe"}), made):
        program = Program(("python", Sent("a.py")), "a", Code(archive=archive))
        names.add(script_job(program, settings().settings).manifest["metadata"]["name"])
        with_token = script_job(program, settings(token="t").settings)
        (part,) = with_token.code
        name = with_token.manifest["metadata"]["name"]
        assert part["metadata"]["name"] == f"{name}-code-{archive.digest}-0"
    assert len(names) == 2


def test_more_than_2_mib_are_a_question_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskjob.submit.cluster_job.submission.ASK_BYTES", 4096)
    data = random.Random(1).randbytes(5000)
    program = Program(("python", Sent("a")), "a", Code(archive=packed({"a": data, "b": b""})))
    found = script_submission(program, settings(), versions=Versions("3.11.7", "2026.8.0"))
    assert found.question == (
        "the code has 2 files with 4 KiB, 5 KiB compressed: more than 4 KiB, which every pod of "
        "the job reads, and up to 8,192 KiB are possible; the largest: a 4 KiB, b 0 bytes"
    )


def test_code_of_another_place_is_named_and_nothing_is_sent() -> None:
    source = {"git": {"url": "https://example.org/x.git", "commit": "a" * 40}}
    code = Code(source=source, paths=("src", "."))
    found = script_job(Program(("python", Sent("train.py")), "train", code), settings().settings)
    assert found.owned == []
    assert found.manifest["spec"]["code"] == {**source, "paths": ["src", "."]}
    runner = found.manifest["spec"]["job"]["spec"]["containers"][0]
    assert runner["args"] == ["python", "/daskjob/code/train.py"]


# Manifests


def test_flags_change_a_manifest_and_nothing_else_in_it() -> None:
    manifest = simple()
    before = yaml.safe_dump(manifest)
    found = changed(
        manifest,
        image="new",
        workers=5,
        memory="4Gi",
        cpu=2,
        env=["A=2", "C=$3"],
        mounts=["pvc:d:/d"],
        labels=["x=y"],
        run_as_user="7",
        retries=2,
        deadline=60,
        namespace="n",
    )
    assert yaml.safe_dump(manifest) == before
    assert parse(DaskJob, found).meta.name == "simple"
    worker = main(pods(found)["worker"])
    assert worker["image"] == "new"
    assert worker["args"] == [
        *("dask-worker", "--nthreads=2", "--name", "$(DASK_WORKER_NAME)"),
        *("--memory-limit", "3968MiB"),
    ]
    assert worker["env"] == [
        *({"name": "A", "value": "2"}, {"name": "B", "value": "1"}, {"name": "C", "value": "$$3"}),
    ]
    assert pods(found)["worker"]["containers"][0]["image"] == "other"
    assert [m["mountPath"] for m in worker["volumeMounts"]] == ["/v", "/d"]
    assert found["metadata"] == {"name": "simple", "labels": {"a": "b", "x": "y"}, "namespace": "n"}
    assert "resources" not in main(pods(found)["runner"])
    assert "securityContext" not in main(pods(found)["runner"])
    assert pods(found)["runner"]["securityContext"] == {"runAsUser": 7}
    spec = found["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (2, 60)
    assert changed(simple()) == simple()


def test_number_of_workers_ends_the_bounds_of_a_manifest() -> None:
    manifest = changed(simple(), adapt="1:5")
    worker = manifest["spec"]["cluster"]["spec"]["worker"]
    assert worker["autoscaling"] == {"minimum": 1, "maximum": 5}
    worker = changed(manifest, workers=3)["spec"]["cluster"]["spec"]["worker"]
    assert (worker["replicas"], worker.get("autoscaling")) == (3, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mounts": ["pvc:d:/v"]}, "the worker has another volume at /v"),
        ({"files": ["a"]}, "--file is for a script"),
        ({"set": ["spec.x=1"]}, "spec has no field 'x'"),
    ],
)
def test_setting_that_does_not_fit_a_manifest_is_a_mistake(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongSettings, match=message):
        changed(simple(), **given)


def test_workers_with_an_unknown_command_keep_it() -> None:
    manifest = simple()
    main(pods(manifest)["worker"])["args"] = ["./start.sh"]
    assert main(pods(changed(manifest, workers=1))["worker"])["args"] == ["./start.sh"]
    with pytest.raises(WrongSettings, match=r"the workers run ./start.sh, not 'dask worker'"):
        changed(manifest, memory="4Gi")
    found = changed(manifest, memory="4Gi", worker_command="dask worker --preload x")
    assert main(pods(found)["worker"])["args"][:4] == ["dask", "worker", "--preload", "x"]


def test_job_on_an_existing_cluster_changes_its_runner_only() -> None:
    manifest = simple()
    del manifest["spec"]["cluster"]
    manifest["spec"]["clusterRef"] = {"name": "shared"}
    found = changed(manifest, image="new", env=["A=1"])
    assert found["spec"]["job"]["spec"]["containers"][0]["image"] == "new"
    with pytest.raises(WrongSettings, match=r"--workers, --memory: .*clusterRef"):
        changed(manifest, workers=3, memory="4Gi")


def test_name_and_token_name_a_manifest() -> None:
    manifest = simple()
    manifest["metadata"] = {"generateName": "sums-"}
    found = changed(manifest, token="t")
    assert found["metadata"]["name"] == job_name("sums", token="t")
    assert "generateName" not in found["metadata"]
    assert changed(manifest, name="other")["metadata"]["name"] == "other"


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.name)
def test_documented_manifests_take_flags(path: Path) -> None:
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    for manifest in documents:
        if manifest.get("kind") == "DaskJob":
            found = changed(
                manifest, memory="4Gi", threads=2, env=["A=1"], groups=["big:memory=8Gi"]
            )
            parse(DaskJob, found)
            assert template_mistakes(found) == []


# Any field


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("spec.stallAction", "Fail", "Fail"),
        ("spec.onSchedulerLoss", "Ignore", "Ignore"),
        ("spec.suspend", "true", True),
        ("spec.backoff.factor", "1.5", 1.5),
        ("spec.backoff.factor", 2, 2),
        ("spec.backoff.initialSeconds", "5", 5),
        ("spec.job.files[a.txt]", "5", "5"),
        ("spec.managedBy", "12", "12"),
        ("spec.cluster.spec.idleTimeout", "60", 60),
        ("spec.cluster.spec.scheduler.service.type", "NodePort", "NodePort"),
        ("spec.cluster.spec.worker.spec.containers[0].imagePullPolicy", "Always", "Always"),
        ("spec.cluster.spec.worker.spec.containers[0].resources.limits.memory", "8Gi", "8Gi"),
        ("spec.cluster.spec.worker.spec.containers[0].args[1]", "worker", "worker"),
        ("spec.job.spec.containers[0].env[2].name", "X", "X"),
        ("spec.job.spec.hostAliases", "[{ip: 1.2.3.4}]", [{"ip": "1.2.3.4"}]),
        ("spec.job.spec.dnsConfig.options", "[]", []),
        ("spec.job.spec.terminationGracePeriodSeconds", "120", 120),
        ("spec.job.spec.nodeSelector[kubernetes.io/arch]", "arm64", "arm64"),
        ("spec.job.spec.containers[0].livenessProbe.httpGet.port", "80", 80),
        ("spec.job.spec.containers[0].livenessProbe.httpGet.port", "http", "http"),
        ("metadata.labels[example.org/a]", "1", "1"),
        ("metadata.annotations.b", "true", "true"),
        ("spec.job.metadata.labels.c", "d", "d"),
        ("spec.failurePolicy.rules[0].action", "Ignore", "Ignore"),
    ],
)
def test_any_field_is_set_with_its_own_type(path: str, text: object, value: object) -> None:
    found: Any = script(set={path: text})
    for name, key in re.findall(r"([^.\[\]]+)|\[([^\]]+)\]", path):
        step = name or key
        found = found[int(step)] if isinstance(found, list) else found[step]
    assert found == value
    assert type(found) is type(value)


def test_null_removes_a_field() -> None:
    manifest = script(set={"spec.job.spec.automountServiceAccountToken": "null"})
    assert "automountServiceAccountToken" not in pods(manifest)["runner"]
    again = script(set={"spec.job.spec.containers[0].env[0]": None})
    assert [v["name"] for v in main(pods(again)["runner"])["env"]] == ["USER"]


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("stallAction", "Fail", "did you mean spec.stallAction?"),
        ("status.phase", "x", "starts with spec. or metadata."),
        ("metadata.name", "x", "write --name NAME"),
        ("metadata[namespace]", "x", "write --namespace NAME"),
        ("spec.submissionID", "null", "write --token TOKEN"),
        ("spec", "x", "write a field of it, such as spec.stallAction"),
        ("spec..x", "x", "write a path such as"),
        ("spec.stallActon", "Fail", "spec has no field 'stallActon'; did you mean 'stallAction'?"),
        ("spec.stallAction", "fail", "'fail': did you mean 'Fail'?"),
        ("spec.stallAction.x", "1", "has no fields"),
        ("spec.suspend", "yes please", "write true or false"),
        ("spec.suspend", "1", "write true or false"),
        ("spec.backoffLimit", "many", "write a whole number"),
        ("spec.backoffLimit", "true", "write a whole number"),
        ("spec.backoffLimit", "1.5", "write a whole number"),
        ("spec.backoff", "5", "write a mapping, or set a field of it"),
        ("spec.job.spec.containers.image", "x", "it is a list; write an index, such as [0]"),
        ("spec.job.spec.containers[5].image", "x", "the list has 1 items; [1] adds"),
        ("spec.job.spec.containers[0].imag", "x", "did you mean 'image'?"),
        ("spec.job.spec.containers[0].command", "python", "write a list, such as [a, b]"),
        ("spec.job.spec.nodeSelektor", "x", "did you mean 'nodeSelector'?"),
        ("spec.job.spec.hostNetwork", "on?", "write true or false"),
        ("metadata.lables.a", "x", "did you mean 'labels'?"),
        ("spec.cluster.spec.workers.replicas", "3", "did you mean 'worker'?"),
        ("spec.job.spec.dnsConfig", "[", "is not YAML"),
    ],
)
def test_wrong_path_or_value_is_a_mistake_with_the_nearest_name(
    path: str, text: str, message: str
) -> None:
    with pytest.raises(WrongSettings) as caught:
        script(set={path: text})
    assert f"--set {path}: " in str(caught.value)
    assert message in str(caught.value)
