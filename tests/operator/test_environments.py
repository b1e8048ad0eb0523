"""Packages and code in pods of a real cluster, from an index that a pod of it serves.

All pods meet the Pod Security standard "restricted", with read-only root filesystems.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.plugin import Audited, Kubectl, KubectlFailed, Kubernetes, fresh_namespace
from tests.in_pod import git_server
from tests.in_pod.wheels import wheel
from tests.operator.installed import Operator
from tests.operator.jobs import condition, ended, job, python_job
from tests.printed import assert_printed
from tests.waiting import wait_until

Manifest = dict[str, Any]
Audit = Callable[[], AbstractContextManager[Audited]]

#: Serves wheels of a folder as an index; versions 2 only once /tmp/newer exists.
INDEX = """
import os
from http.server import HTTPServer, SimpleHTTPRequestHandler

class Index(SimpleHTTPRequestHandler):
    def do_GET(self):
        path = self.path.strip("/")
        if not path.startswith("simple"):
            return super().do_GET()
        name = path.partition("/")[2].replace("-", "_")
        files = [f for f in sorted(os.listdir(".")) if f.startswith(name + "-")]
        files = [f for f in files if "-2" not in f or os.path.exists("/tmp/newer")]
        page = "".join(f'<a href="/{f}">{f}</a>' for f in files).encode()
        self.send_response(200 if files else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

os.chdir("/files")
HTTPServer(("", 8000), Index).serve_forever()
"""
SECURE: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 4711,
    "seccompProfile": {"type": "RuntimeDefault"},
}
#: Where servers have their files.
FILES = "/files"
#: Where Dask writes.
TMP: Manifest = {"name": "tmp", "emptyDir": {}}


@dataclass(frozen=True)
class Place:
    """A restricted namespace with an index."""

    kubectl: Kubectl
    namespace: str
    image: str

    @property
    def index(self) -> str:
        """The index's URL."""
        return f"http://index.{self.namespace}.svc:8000/simple"

    def start(self, *manifests: Manifest) -> None:
        """Create jobs."""
        items = {"apiVersion": "v1", "kind": "List", "items": [secured(one) for one in manifests]}
        self.kubectl("create", "-f", "-", stdin=json.dumps(items))

    def found(self, name: str) -> Manifest:
        """A job."""
        return dict(json.loads(self.kubectl("get", "daskjob", name, "-o", "json")))

    def until(
        self, name: str, true: Callable[[Manifest], object], seconds: float = 300
    ) -> Manifest:
        """Wait for a job."""
        last: list[Manifest] = []

        def is_there() -> object:
            last[:] = [self.found(name)]
            return true(last[0])

        wait_until(is_there, seconds, lambda: json.dumps(last, indent=1), pause=0.5)
        return last[0]


def secured(manifest: Manifest) -> Manifest:
    """A job whose pods the standard "restricted" admits."""
    spec = manifest["spec"]
    cluster = spec["cluster"]["spec"]
    for pod in (spec["job"]["spec"], cluster["scheduler"]["spec"], cluster["worker"]["spec"]):
        pod["volumes"] = [*pod.get("volumes", ()), TMP]
        for each in pod["containers"]:
            each["securityContext"] = SECURE
            mounts = [{"name": "tmp", "mountPath": "/tmp"}]
            each["volumeMounts"] = [*each.get("volumeMounts", ()), *mounts]
            each["env"] = [*each.get("env", ()), {"name": "HOME", "value": "/tmp"}]
    return manifest


@pytest.fixture(scope="module")
def place(
    operator: Operator,  # noqa: ARG001 - it works on the jobs
    kubernetes: Kubernetes,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    """A restricted namespace with an index, for all tests here."""
    with fresh_namespace(kubernetes, request.node) as name:
        kubectl = Kubectl(kubernetes, name)
        level = "pod-security.kubernetes.io/enforce=restricted"
        kubernetes.kubectl("label", "namespace", name, level)
        made = Place(kubectl, name, kubernetes.image("dask"))
        wheels = tmp_path_factory.mktemp("wheels")
        wheel(wheels, "shapes", "1.0", ["colours>=1"])
        wheel(wheels, "shapes", "2.0", ["colours>=1"])
        wheel(wheels, "colours", "1.0")
        wheel(wheels, "old-dask-tool", "1.0", ["dask<2000"])
        wheel(wheels, "dask-tool", "1.0", ["dask>=2024", "distributed"])
        wheel(wheels, "toolz", "99.0")
        items = {"apiVersion": "v1", "kind": "List", "items": index_objects(made.image, wheels)}
        kubectl("create", "-f", "-", stdin=json.dumps(items))
        kubectl("wait", "pod/index", "--for=condition=Ready", "--timeout=120s")
        yield made


def index_objects(image: str, wheels: Path) -> list[Manifest]:
    """The pod that serves the wheels, with its ConfigMap and its Service."""
    files = {p.name: base64.b64encode(p.read_bytes()).decode() for p in wheels.iterdir()}
    return server_objects("index", image, files, ["python", "-c", INDEX])


def server_objects(
    name: str, image: str, files: dict[str, str], args: list[str], **container: Any
) -> list[Manifest]:
    """A pod that serves files at port 8000, with its ConfigMap and its Service."""
    server = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "securityContext": SECURE,
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "files", "mountPath": FILES},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        **container,
    }
    volumes = [{"name": "files", "configMap": {"name": f"files-of-{name}"}}, TMP]
    pod = {"terminationGracePeriodSeconds": 1, "containers": [server], "volumes": volumes}
    labels = {"app": name}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"files-of-{name}"},
            "binaryData": files,
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": pod,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 8000}]},
        },
    ]


ROLES = """
import json, os, shapes, app.parts
from distributed import Client
def version(dask_worker=None, dask_scheduler=None):
    import app.parts, shapes
    return [shapes.VERSION, shapes.__file__, app.parts.NAME]
with Client() as client:
    client.wait_for_workers(1)
    found = {"runner": version(), "scheduler": client.run_on_scheduler(version)}
    found["worker"] = list(client.run(version).values())[0]
found["folder"] = [os.getcwd(), sorted(os.listdir("."))]
print("data:", open("data.txt").read())
open(os.environ["DASKJOB_RESULT_FILE"], "w").write(json.dumps(found))
"""


def archive(**files: str) -> bytes:
    """A compressed archive; in names, ``__`` is a slash."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:xz") as made:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_py", ".py"))
            info.size = len(text.encode())
            made.addfile(info, io.BytesIO(text.encode()))
    return held.getvalue()


def parts(job: str, data: bytes) -> list[Manifest]:
    """ConfigMaps with the two halves of an archive."""
    halves = (data[: len(data) // 2], data[len(data) // 2 :])
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{job}-code-{number}"},
            "binaryData": {"part": base64.b64encode(half).decode()},
        }
        for number, half in enumerate(halves)
    ]


def test_three_roles_have_the_same_packages_and_code(
    place: Place, operator: Operator, audit: Audit
) -> None:
    data = archive(src__app__parts_py="NAME = 'part'", **{"data.txt": "of the job"})
    wanted = python_job(
        place.image,
        ROLES,
        name="roles",
        dask=True,
        environment={"requirements": ["shapes"], "indexURLs": [place.index]},
    )
    names = ["roles-code-0", "roles-code-1"]
    wanted["spec"]["code"] = {"configMaps": names, "paths": ["src", "."]}
    with audit() as audited:
        place.start(wanted)
        # After the job, as clients do; the pods wait for them.
        code = {"apiVersion": "v1", "kind": "List", "items": parts("roles", data)}
        place.kubectl("create", "-f", "-", stdin=json.dumps(code))
        status = place.until("roles", ended)["status"]
    assert status["jobStatus"] == "Successful", status
    expected = ["1.0", "/daskjob/packages/shapes.py", "part"]
    result = status["result"]
    assert [result[role] for role in ("runner", "scheduler", "worker")] == [expected] * 3
    assert result["folder"] == ["/daskjob/code", ["data.txt", "src"]]
    log = place.kubectl("logs", "roles-runner", "-c", "daskjob-environment")
    assert "unpacked 2 files" in log
    asked = [r for r in operator.asked(audited, place.namespace) if r.resource != "events"]
    made = [r for r in asked if r.resource == "configmaps"]
    assert [r.verb for r in made] == ["create"]
    # One worker, and one request more than a job without packages; how many times the status is
    # written depends on how long the pods take.
    others = [str(r) for r in asked if not r.resource.endswith("/status")]
    assert len(others) <= 1 + 6 + 1, others


IMAGE_ROLES = """
import json, os
import app.parts
from distributed import Client
def where(dask_worker=None, dask_scheduler=None):
    import app.parts
    return [app.parts.NAME, app.parts.__file__]
with Client() as client:
    client.wait_for_workers(1)
    found = {"runner": where(), "scheduler": client.run_on_scheduler(where)}
    found["worker"] = list(client.run(where).values())[0]
    found["task"] = client.submit(app.parts.double, 21).result()
found["folder"] = [os.getcwd(), sorted(os.listdir("."))]
open(os.environ["DASKJOB_RESULT_FILE"], "w").write(json.dumps(found))
"""


def test_three_roles_have_the_code_of_an_image_and_a_missing_image_is_named(
    place: Place, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    package = tmp_path / "src" / "app"
    package.mkdir(parents=True)
    (package / "parts.py").write_text("NAME = 'part'\ndef double(n):\n    return 2 * n\n")
    (tmp_path / "data.txt").write_text("of the job")
    there = python_job(place.image, IMAGE_ROLES, name="mounted", dask=True)
    there["spec"]["code"] = {"image": kubernetes.code_image(tmp_path), "paths": ["src", "."]}
    missing = "daskjob.test/no-such-code:1"
    bounds: Manifest = {"startupDeadlineSeconds": 8, "backoffLimit": 0}
    lost = job(place.image, "true", name="unmounted", workers=0, **bounds)
    lost["spec"]["code"] = {"image": missing}
    place.start(there, lost)

    status = place.until("mounted", ended)["status"]
    assert status["jobStatus"] == "Successful", status
    result = status["result"]
    expected = ["part", "/daskjob/code/src/app/parts.py"]
    assert [result[role] for role in ("runner", "scheduler", "worker")] == [expected] * 3
    assert result["task"] == 42
    assert result["folder"] == ["/daskjob/code", ["data.txt", "src"]]

    status = place.until("unmounted", ended)["status"]
    assert status["reason"] == "StartupDeadlineExceeded", status
    assert "the image of the code in pod unmounted-runner cannot be pulled" in status["message"]
    assert f'image "{missing}"' in status["message"]


PRINTS = "import shapes, sys; print('shapes', shapes.VERSION); sys.exit({code})"


def test_second_attempt_installs_the_old_versions_although_the_index_has_newer_ones(
    place: Place,
) -> None:
    environment = {"requirements": ["shapes==1.0", "colours==1.0"], "indexURLs": [place.index]}
    retried = {"backoffLimit": 1, "backoff": {"initialSeconds": 5, "maxSeconds": 5}}
    code = PRINTS.format(code=3)
    place.start(
        python_job(place.image, code, name="again", workers=0, environment=environment, **retried)
    )
    place.until("again", lambda found: found.get("status", {}).get("attempts"))
    place.kubectl("exec", "index", "--", "touch", "/tmp/newer")
    try:
        status = place.until("again", ended)["status"]
    finally:
        place.kubectl("exec", "index", "--", "rm", "/tmp/newer")
    assert [attempt["exitCode"] for attempt in status["attempts"]] == [3, 3]
    for runner in ("again-runner", "again-runner-1"):
        assert place.kubectl("logs", runner).strip() == "shapes 1.0"


FAILURES: dict[str, tuple[Manifest, str]] = {
    "missing": (
        {"requirements": ["no-such-package==1.0"]},
        "no-such-package cannot be installed from http://index",
    ),
    "clash": ({"requirements": ["old-dask-tool==1.0"]}, "needs dask<2000, which clashes with dask"),
    "python": ({"requirements": ["shapes"], "requiresPython": ">=4"}, "the job requires >=4"),
    "hash": (
        {"requirements": [f"shapes==1.0 --hash=sha256:{'0' * 64}"]},
        "other content than its hash",
    ),
    "silent": (
        {"requirements": ["shapes"], "indexURLs": ["http://127.0.0.1:9/simple"]},
        "http://127.0.0.1:9/simple did not answer",
    ),
}


def test_each_failure_ends_the_job_before_its_code_starts_and_says_what_to_do(
    place: Place,
) -> None:
    for name, (environment, _) in FAILURES.items():
        wanted = {"indexURLs": [place.index], **environment}
        never: Manifest = {"backoffLimit": 0, "failurePolicy": {"maxIgnored": 0}}
        place.start(job(place.image, "true", name=name, workers=0, environment=wanted, **never))
    for name, (_, words) in FAILURES.items():
        found = place.until(name, ended)
        status = found["status"]
        assert (status["jobStatus"], status["reason"]) == ("Failed", "EnvironmentFailed"), status
        assert words in status["message"]
        assert status["exitCode"] == (75 if name == "silent" else 78)
        runner = json.loads(place.kubectl("get", "pod", f"{name}-runner", "-o", "json"))
        (main,) = runner["status"]["containerStatuses"]
        assert not main.get("containerID"), main


#: What a pod of the image `conda` has, seen in a role: paths are those of modules.
CONDA_ROLES = """
import json, os
from distributed import Client
def found(dask_worker=None, dask_scheduler=None):
    import sys, dask, distributed, toolz, dask_tool, shapes, app.parts
    modules = (dask, distributed, toolz, dask_tool, shapes, app.parts)
    return [sys.prefix, sys.base_prefix, *(m.__file__ for m in modules), app.parts.NAME]
with Client() as client:
    client.wait_for_workers(1)
    roles = {"runner": found(), "scheduler": client.run_on_scheduler(found)}
    roles["worker"] = list(client.run(found).values())[0]
    roles["task"] = client.submit(found).result()
open(os.environ["DASKJOB_RESULT_FILE"], "w").write(json.dumps(roles))
"""
#: A script that is in the repository only.
SCRIPT = """
from distributed import Client
import app.parts

def name():
    return app.parts.NAME

with Client() as client:
    print("here", name(), "there", client.submit(name).result())
"""
#: The commands of all processes of a container, each in a line.
COMMANDS = """
import pathlib
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    print(path.read_bytes().replace(b"\\0", b" ").decode())
"""
LOGIN = {"username": "reader", "password": "s3cr3t-of-git"}
WRONG_LOGIN = {"username": "reader", "password": "wr0ng-for-git"}


@dataclass(frozen=True)
class Repository:
    """A private repository in the cluster, and an image like conda's with uv and git."""

    place: Place
    image: str
    #: Hashes of commits; the first is not at the end of a branch.
    commits: list[str]

    @property
    def url(self) -> str:
        """The repository's URL."""
        return f"http://git.{self.place.namespace}.svc:8000/app.git"

    def code(self, commit: str = "", secret: str = "git-login") -> Manifest:
        """The code of a job, by default of the first commit."""
        git = {"url": self.url, "commit": commit or self.commits[0], "secretName": secret}
        return {"git": git, "paths": ["src", "."]}

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Let the server hold all requests meanwhile."""
        self.gate("shut")
        try:
            yield
        finally:
            self.gate("open")

    def gate(self, *steps: str) -> None:
        """Shut or open the server's gate, or wait for the next request that it holds."""
        paths = [f"http://127.0.0.1:8000/gate/{step}" for step in steps]
        ask = (
            "import sys, urllib.request as r; [r.urlopen(url, timeout=240) for url in sys.argv[1:]]"
        )
        self.place.kubectl("exec", "git", "--", "python", "-c", ask, *paths)


@pytest.fixture(scope="module")
def repository(
    place: Place, kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Repository:
    """A git server that asks for a login."""
    image = kubernetes.image("conda")
    folder = tmp_path_factory.mktemp("git") / "app"
    old = {
        "src/app/parts.py": "NAME = 'old'\n",
        "roles.py": CONDA_ROLES,
        "scripts/name.py": SCRIPT,
    }
    commits = git_server.repository(folder, old, {"src/app/parts.py": "NAME = 'new'\n"})
    bundle = folder.parent / "app.bundle"
    subprocess.run(["git", "-C", folder, "bundle", "create", "-q", bundle, "main"], check=True)
    files = {"app.bundle": bundle, "server.py": Path(git_server.__file__)}
    data = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
    clone = f"git clone --quiet --bare {FILES}/app.bundle /tmp/served/app.git"
    args = ["sh", "-c", f"{clone} && exec python {FILES}/server.py /tmp/served 8000"]
    env = [
        {
            "name": key.upper(),
            "valueFrom": {"secretKeyRef": {"name": "git-login", "key": key}},
        }
        for key in LOGIN
    ]
    secrets = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/basic-auth",
            "metadata": {"name": name},
            "stringData": login,
        }
        for name, login in (("git-login", LOGIN), ("wrong-login", WRONG_LOGIN))
    ]
    objects = [*secrets, *server_objects("git", image, data, args, env=env)]
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    place.kubectl("create", "-f", "-", stdin=json.dumps(items))
    place.kubectl("wait", "pod/git", "--for=condition=Ready", "--timeout=120s")
    return Repository(place, image, commits)


def test_conda_image_gets_packages_by_uv_and_code_by_git_with_a_login(
    place: Place, repository: Repository
) -> None:
    requirements = ["shapes", "toolz", "dask-tool"]
    wanted = job(
        repository.image,
        "python",
        "roles.py",
        name="conda",
        dask=True,
        environment={"requirements": requirements, "indexURLs": [place.index]},
        code=repository.code(),
    )
    with repository.shut():
        place.start(wanted)
        # The runner, the scheduler and the worker.
        repository.gate("held", "held", "held")
        pods = place.kubectl(
            "get", "pods", "-l", "dask.org/cluster-name=conda", "-o", "name"
        ).split()
        assert len(pods) == 3
        for pod in pods:
            init = (pod, "-c", "daskjob-environment")
            commands = place.kubectl("exec", *init, "--", "python", "-c", COMMANDS)
            assert "/git-remote-http origin http://git." in commands
            assert LOGIN["password"] not in commands
            log = place.kubectl("logs", *init)
            # The words of uv, and what was not in the image.
            assert "environment at: /opt/conda" in log
            assert "daskjob: installed colours==1.0, dask-tool==1.0, shapes==1.0\n" in log
    status = place.until("conda", ended)["status"]
    assert status["jobStatus"] == "Successful", status
    result = status["result"]
    assert set(result) == {"runner", "scheduler", "worker", "task"}
    for role, found in result.items():
        prefix, base_prefix, *modules, name = found
        assert (prefix, base_prefix, name) == ("/opt/conda", "/opt/conda", "old"), role
        images, others = modules[:3], modules[3:]
        assert all(path.startswith("/opt/conda/lib/python3.") for path in images), images
        assert others == [
            "/daskjob/packages/dask_tool.py",
            "/daskjob/packages/shapes.py",
            "/daskjob/code/src/app/parts.py",
        ]
    assert_unseen(place, LOGIN["password"])


def test_script_of_a_private_repository_is_submitted_by_its_commit(
    place: Place, repository: Repository
) -> None:
    code = ("--code", f"git+{repository.url}@{repository.commits[0]}", "--code-secret", "git-login")
    words = ("-n", place.namespace, "--workers", "1", "--image", repository.image)
    submit = [sys.executable, "-m", "daskjob", "submit", "--wait", *words, *code, "scripts/name.py"]
    done = subprocess.run(
        submit,
        env={**os.environ, "KUBECONFIG": str(place.kubectl.kubernetes.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_printed(done.stdout, "here old there old")


def test_failures_of_uv_and_git_say_what_to_do_and_pip_replaces_uv(
    place: Place, repository: Repository
) -> None:
    def environment(*requirements: str) -> Manifest:
        return {"environment": {"requirements": requirements, "indexURLs": [place.index]}}

    wrong, image = "0a" * 20, repository.image
    jobs: dict[str, tuple[str, Manifest, str]] = {
        "no-package": (
            image,
            environment("no-such-package"),
            "no-such-package cannot be installed",
        ),
        "uv-clash": (image, environment("old-dask-tool"), "the requirements clash with dask 20"),
        "no-commit": (image, {"code": repository.code(wrong)}, f"has no commit {wrong}. Push it"),
        "bad-login": (
            image,
            {"code": repository.code(secret="wrong-login")},
            "svc:8000/app.git rejects the login. Correct the Secret that code.git.secretName names",
        ),
        "no-git": (place.image, {"code": repository.code()}, "the image has no git. Use an image"),
    }
    no_uv = python_job(
        image, PRINTS.format(code=0), name="no-uv", workers=0, **environment("shapes", "toolz")
    )
    # uv is in a folder of its own.
    path = {"name": "PATH", "value": "/opt/conda/bin:/usr/bin:/bin"}
    no_uv["spec"]["job"]["spec"]["containers"][0]["env"] = [path]
    place.start(
        no_uv,
        *(
            job(used, "true", name=name, workers=0, backoffLimit=0, **spec)
            for name, (used, spec, _) in jobs.items()
        ),
    )
    for name, (_, _, words) in jobs.items():
        status = place.until(name, ended)["status"]
        assert (status["jobStatus"], status["reason"]) == ("Failed", "EnvironmentFailed"), status
        assert words in status["message"].splitlines()[0]
        assert status["exitCode"] == 78
    status = place.until("no-uv", ended)["status"]
    assert status["jobStatus"] == "Successful", status
    log = place.kubectl("logs", "no-uv-runner", "-c", "daskjob-environment")
    # The words of pip, which the image has for new environments only.
    assert "Requirement already satisfied: toolz in /opt/conda/lib/python3." in log
    assert_unseen(place, LOGIN["password"], WRONG_LOGIN["password"])


def assert_unseen(place: Place, *secrets: str) -> None:
    """Assert that no object but the Secrets has a text, nor any log of a pod's containers."""
    kinds = "daskjobs,daskclusters,pods,configmaps,events"
    seen = place.kubectl("get", kinds, "-o", "json")
    for pod in place.kubectl("get", "pods", "-o", "name").split():
        try:
            seen += place.kubectl("logs", pod, "--all-containers", "--ignore-errors")
        except KubectlFailed as error:
            # The pods of a cluster go with it, and their logs.
            if "NotFound" not in error.said:
                raise
    for secret in secrets:
        assert secret not in seen


def test_workers_that_cannot_be_prepared_are_named_and_do_not_crash_for_ever(
    place: Place,
) -> None:
    # The variables of the containers configure pip; those of the workers allow no index.
    wanted = job(
        place.image,
        "sleep",
        "3600",
        name="lame",
        workers=2,
        backoffLimit=0,
        environment={"requirements": ["shapes"]},
    )
    spec = wanted["spec"]
    cluster = spec["cluster"]["spec"]
    found = [{"name": "PIP_INDEX_URL", "value": place.index}]
    trusted = [*found, {"name": "PIP_TRUSTED_HOST", "value": f"index.{place.namespace}.svc"}]
    for pod in (spec["job"]["spec"], cluster["scheduler"]["spec"]):
        pod["containers"][0]["env"] = trusted
    none = [{"name": "PIP_NO_INDEX", "value": "1"}]
    cluster["worker"]["spec"]["containers"][0]["env"] = none
    place.start(wanted)
    status = place.until("lame", ended)["status"]
    assert status["reason"] == "EnvironmentFailed"
    assert "lame-default-worker-" in status["message"]


def test_20_workers_at_once_all_get_the_package(place: Place) -> None:
    waits = "import shapes, time; time.sleep(3600)"
    wanted = python_job(
        place.image,
        PRINTS.format(code=0),
        name="crowd",
        workers=20,
        runnerStart="AfterWorkers",
        environment={"requirements": ["shapes==1.0"], "indexURLs": [place.index]},
    )
    cluster = wanted["spec"]["cluster"]["spec"]
    for part in ("scheduler", "worker"):
        cluster[part]["spec"]["containers"][0]["args"] = ["python", "-c", waits]
    place.start(wanted)
    done = place.until("crowd", ended, seconds=600)
    assert done["status"]["jobStatus"] == "Successful", done["status"]
    assert condition(done, "WorkersReady").get("reason") in (None, "AllReady")
    assert place.kubectl("logs", "crowd-runner").strip() == "shapes 1.0"
