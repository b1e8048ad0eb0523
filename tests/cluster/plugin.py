"""Fixtures for tests on a real Kubernetes.

``kubernetes`` is the cluster of the whole run, ``namespace`` a new namespace of one test. After a
failed test, its objects and logs are collected before its namespace is deleted: in the folder
``DASKJOB_TEST_REPORTS``, by default ``.test-reports``. If ``DASKJOB_TEST_AUDIT`` is a folder, the
cluster's audit log is kept there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.cluster.access import Access, RequestRejected
from tests.cluster.audit import AuditLog, Request
from tests.cluster.fake_nodes import NAME_PREFIX
from tests.cluster.images import built, folder_recipe, image
from tests.cluster.providers import CHOICE_VARIABLE, Provider, provide, wanted

Manifest = dict[str, Any]

ROOT = Path(__file__).parents[2]
#: The project's kinds.
KINDS = ("daskjobs", "daskclusters", "daskworkergroups", "daskautoscalers")
#: The default time limit for the cluster's own work.
PATIENCE_SECONDS = 90.0
AUDIT_VARIABLE = "DASKJOB_TEST_AUDIT"
REPORT_KEY = pytest.StashKey[dict[str, pytest.TestReport]]()


class KubectlFailed(Exception):
    """kubectl did not exit with 0; the message has its output."""

    def __init__(self, arguments: Iterable[str], code: int, said: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)} exited with {code}: {said.strip()}")
        self.said = said


@dataclass(frozen=True)
class Kubernetes:
    """The cluster of a run, with an administrator's access to it."""

    provider: Provider
    #: References of the images that were loaded into the nodes, by the project's names.
    _images: dict[str, str] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.provider.kubeconfig

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of kubectl."""
        return [*self.provider.command, *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl; return its standard output.

        Raises
        ------
        KubectlFailed
            It did not exit with 0.
        """
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise KubectlFailed(arguments, done.returncode, done.stderr)
        return done.stdout

    @cached_property
    def access(self) -> Access:
        """The fixtures' access to the API server; users' actions go through kubectl."""
        return Access(self.provider.command)

    def close(self) -> None:
        """Stop everything that was started in addition to the cluster."""
        if "access" in self.__dict__:
            self.access.close()

    def image(self, name: str) -> str:
        """Load an image of the project into the nodes; return its reference."""
        if name not in self._images:
            self._images[name] = self.provider.load(image(name))
        return self._images[name]

    def code_image(self, folder: Path) -> str:
        """Load an image with the files of a folder; return its reference, for an image volume."""
        if self.provider.native is None:
            pytest.skip("the cluster must have image volumes")
        return self.provider.load(built(folder_recipe("code", folder)))


@dataclass(frozen=True)
class Kubectl:
    """kubectl as administrator, in the namespace of the test."""

    kubernetes: Kubernetes
    namespace: str

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it; return its output, or raise `KubectlFailed`."""
        return self.kubernetes.kubectl(f"--namespace={self.namespace}", *arguments, stdin=stdin)

    # Frequent requests, without a process for each

    def items(self, kind: str, **query: str) -> list[Manifest]:
        """Return the objects of a kind."""
        return self.kubernetes.access.items(kind, self.namespace, **query)

    def there(self, *kinds: str, **query: str) -> list[str]:
        """Return the names of all objects of these kinds, sorted, as of ``kubectl get -o name``."""
        return sorted(_named(item) for kind in kinds for item in self.items(kind, **query))

    def log(self, pod: str) -> str:
        """Return the log of a pod's only container."""
        return self.kubernetes.access.log(self.namespace, pod)

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests, as dictionaries."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "-f", "-", stdin=json.dumps(items))

    def wait_for(
        self,
        kind: str,
        name: str,
        true: Callable[[Manifest], object],
        *,
        seconds: float = PATIENCE_SECONDS,
    ) -> Manifest:
        """Return the object as soon as the condition is true; fail the test after a time limit."""
        last: Manifest | None = None
        for last in self.kubernetes.access.watched(kind, self.namespace, name, seconds):
            if true(last):
                return last
        seen = json.dumps(last, indent=1) if last else "it never existed"
        pytest.fail(f"{kind} {name} is not as wanted after {seconds:.0f} s; last seen: {seen}")


def _named(item: Manifest) -> str:
    kind, group = item["kind"].lower(), item["apiVersion"].rpartition("/")[0]
    return f"{kind}{'.' if group else ''}{group}/{item['metadata']['name']}"


class WaitFor(Protocol):
    """A function that waits with a watch."""

    def __call__(
        self,
        kind: str,
        name: str,
        true: Callable[[Manifest], object],
        *,
        seconds: float = PATIENCE_SECONDS,
    ) -> Manifest:
        """Return the object as soon as the condition is true; fail the test after a time limit."""
        ...


@dataclass
class Audited:
    """The requests during a block; complete when it has ended."""

    requests: list[Request] = field(default_factory=list)

    def of(self, user: str) -> list[Request]:
        """Return the requests of one user (or of a service account's full name)."""
        return [request for request in self.requests if request.user == user]


# The cluster of the run


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Kubernetes]:
    """The cluster, running from the first test that needs it to the end of the run."""
    if not wanted():
        pytest.skip(f"{CHOICE_VARIABLE}=none skips tests that need a cluster")
    provider = provide(ROOT)
    try:
        with closing(Kubernetes(provider)) as cluster:
            yield cluster
        _keep_audit_log(provider)
    finally:
        provider.stop()


def _keep_audit_log(provider: Provider) -> None:
    folder, log = os.environ.get(AUDIT_VARIABLE), provider.audit_log
    if folder and log is not None:
        shutil.copy(log, Path(folder) / f"{uuid.uuid4().hex}.log")


@pytest.fixture(scope="session")
def with_crds(kubernetes: Kubernetes) -> Kubernetes:
    """The cluster, with the project's CRDs."""
    folder = str(ROOT / "operator-chart" / "crds")
    # Server-side: CRDs that a user applied to their cluster may be of any version.
    kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", folder)
    served = ["--for=condition=Established", "--timeout=30s"]
    kubernetes.kubectl("wait", "--filename", folder, *served)
    _until_stored(kubernetes, time.monotonic() + PATIENCE_SECONDS)
    return kubernetes


def _until_stored(kubernetes: Kubernetes, give_up: float) -> None:
    """Wait until the kinds can be listed: they are "Established" before they have a storage."""
    while True:
        try:
            for kind in KINDS:
                kubernetes.access.get(f"/apis/kubernetes.dask.org/v1/{kind}")
        except RequestRejected:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        else:
            return


@pytest.fixture
def namespace(kubernetes: Kubernetes, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a new namespace, deleted after the test with everything in it."""
    with fresh_namespace(kubernetes, request.node) as name:
        yield name


@contextmanager
def fresh_namespace(kubernetes: Kubernetes, node: pytest.Item) -> Iterator[str]:
    """Create a namespace for a test; after a failed test, collect its content; delete it."""
    plain = re.sub(r"[^a-z0-9]+", "-", node.name.removeprefix("test_").lower()).strip("-")
    name = f"t-{plain[:40].strip('-')}-{uuid.uuid4().hex[:6]}"
    access = kubernetes.access
    access.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    try:
        # Pods are rejected until the namespace has its service account.
        assert any(access.watched("serviceaccount", name, "default", seconds=30))
        yield name
    finally:
        if _failed(node):
            collect(kubernetes, name, node)
        access.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(kubernetes: Kubernetes, namespace: str) -> Kubectl:
    """kubectl in the test's namespace; another one is selected with ``--namespace``."""
    return Kubectl(kubernetes, namespace)


@pytest.fixture
def apply(kubectl: Kubectl) -> Callable[..., None]:
    """Apply manifests, as dictionaries, in the test's namespace."""
    return kubectl.apply


@pytest.fixture
def wait_for(kubectl: Kubectl) -> WaitFor:
    """Wait for an object of the test's namespace, with a watch."""
    return kubectl.wait_for


@pytest.fixture(scope="session")
def audit(kubernetes: Kubernetes) -> Callable[[], AbstractContextManager[Audited]]:
    """Count the requests to the API server during a ``with`` block."""
    path = kubernetes.provider.audit_log
    if path is None:
        pytest.skip(f"the audit log of {type(kubernetes.provider).__name__} cannot be read")
    log = AuditLog(path)

    @contextmanager
    def block() -> Iterator[Audited]:
        audited = Audited()
        position = log.end()
        begin = _mark(kubernetes, log, position)
        yield audited
        end = _mark(kubernetes, log, position)
        between = (r for r in log.since(position) if begin.received < r.received < end.received)
        audited.requests = list(between)

    return block


def _mark(kubernetes: Kubernetes, log: AuditLog, position: int) -> Request:
    """Send a request that can be identified in the log; return its entry."""
    mark = f"/version?mark={uuid.uuid4().hex}"
    kubernetes.access.request("GET", mark)
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        for request in reversed(log.since(position)):
            if request.uri == mark:
                return request
        time.sleep(0.02)
    raise AssertionError(f"the audit log {log.path} does not show a request that was answered")


@pytest.fixture(scope="session")
def fake_nodes(kubernetes: Kubernetes) -> Callable[[int], None]:
    """Add this many fake nodes (`tests.cluster.fake_nodes.fake_placement`)."""
    return kubernetes.provider.fake_nodes


# Failed and skipped tests


def _failed(node: pytest.Item) -> bool:
    return any(report.failed for report in node.stash.get(REPORT_KEY, {}).values())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Store the result of a test, for the teardown of its fixtures."""
    report = yield
    item.stash.setdefault(REPORT_KEY, {})[report.when] = report
    return report


def collect(kubernetes: Kubernetes, namespace: str, node: pytest.Item) -> None:
    """Write the content of a failed test's namespace to files, and report their folder."""
    reports = Path(os.environ.get("DASKJOB_TEST_REPORTS", ROOT / ".test-reports"))
    folder = reports / re.sub(r"[^\w.-]+", "-", node.nodeid)
    folder.mkdir(parents=True, exist_ok=True)

    def ask(*arguments: str) -> str:
        try:
            return kubernetes.kubectl(f"--namespace={namespace}", *arguments)
        except KubectlFailed as error:
            return str(error)

    kinds = ask("api-resources", "--api-group=kubernetes.dask.org", "--output=name").split()
    own = [kind for kind in kinds if kind.endswith("kubernetes.dask.org")]
    summary = ask("get", ",".join(["pods", "services", *own]), "--output=wide")
    events = ask("get", "events", "--sort-by=.lastTimestamp")
    (folder / "objects.yaml").write_text(
        ask("get", ",".join(["pods", "services", "configmaps", *own]), "--output=yaml")
    )
    (folder / "events.txt").write_text(events)
    (folder / "summary.txt").write_text(summary)
    for pod in kubernetes.access.items("pods", namespace):
        # Pods on fake nodes have no logs, and there may be a thousand.
        if not pod["spec"].get("nodeName", "").startswith(NAME_PREFIX):
            name = pod["metadata"]["name"]
            for previous in ("", "--previous"):
                options = ["--all-containers", "--prefix", *filter(None, [previous])]
                file = folder / f"{name}{previous.replace('--', '.')}.log"
                file.write_text(ask("logs", name, *options))
    text = f"everything, with logs, is in {folder}\n\n{summary}\n{events[-4000:]}"
    node.add_report_section("teardown", f"left in namespace {namespace}", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report that all tests that need a cluster were skipped."""
    if not wanted():
        terminalreporter.write_line(
            f"{CHOICE_VARIABLE}=none: tests that need a Kubernetes were skipped.", yellow=True
        )
