"""All jobs of the cases at once, on one cluster with its operators; the answers of `why`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.core.explain import Explanation
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.jobs import Job, JobRef
from tests.cluster.access import RequestRejected
from tests.cluster.plugin import Kubernetes, fresh_namespace
from tests.operator.process import OperatorProcess
from tests.waiting import until, wait_until
from tests.why.cases import (
    CASES,
    REJECTED,
    SECRET_VALUE,
    TAINT,
    TAINTED,
    Case,
    has_scheduler,
    runs,
    uses_dask,
)
from tests.why.registry import registry_pod

Manifest = dict[str, Any]

PLACES = ("main", "quota", "secure", "unwatched", "restricted")
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
#: How long a job may take to its problem, and to its end.
SECONDS = 240.0
#: How long the jobs without a cluster wait for the others.
STAGE_SECONDS = 30.0


@dataclass
class Answers:
    """What `why` answers about one job, while it waits and after it failed."""

    case: Case
    namespace: str
    waiting: Explanation | None = None
    failed: Explanation | None = None
    #: The job after its end, as saved.
    saved: Manifest = field(default_factory=dict)
    #: The commands of the answers, after they were run.
    commands: list[subprocess.CompletedProcess[str]] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """A cluster with everything that the cases need."""

    kubernetes: Kubernetes
    folder: Path
    namespaces: dict[str, str]
    #: What waiting clients reported.
    notes: list[str] = field(default_factory=list)

    def post(self, path: str, body: Manifest) -> None:
        """Create an object."""
        self.kubernetes.access.request("POST", path, body=body)

    def path(self, place: str, kind: str) -> str:
        """Return the path of a kind in a namespace."""
        return self.kubernetes.access.path(kind, self.namespaces[place])


@contextmanager
def world(kubernetes: Kubernetes, folder: Path, node: pytest.Item) -> Iterator[World]:
    """Create namespaces with a quota, a level of Pod Security, and so on; remove all at the end."""
    with ExitStack() as stack:
        names = {place: stack.enter_context(fresh_namespace(kubernetes, node)) for place in PLACES}
        made = World(kubernetes, folder, names)
        stack.enter_context(_tainted_node(made))
        stack.enter_context(_admission_policy(made))
        _prepare(made)
        yield made


def _prepare(world: World) -> None:
    image = world.kubernetes.image("dask")
    world.post(world.path("main", "pods"), registry_pod(image))
    quota = {"metadata": {"name": "team"}, "spec": {"hard": {"requests.memory": "1Gi"}}}
    world.post(world.path("quota", "resourcequotas"), quota)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    world.kubernetes.kubectl(
        "label", "namespace", world.namespaces["secure"], *(f"{k}={v}" for k, v in labels.items())
    )
    taken = {"metadata": {"name": "name-taken-scheduler"}, "spec": {"ports": [{"port": 80}]}}
    world.post(world.path("main", "services"), taken)
    there = {"metadata": {"name": "there"}, "stringData": {"user": SECRET_VALUE}}
    world.post(world.path("main", "secrets"), there)
    select = {"matchExpressions": [{"key": "why", "operator": "In", "values": ["isolated"]}]}
    policy = {
        "metadata": {"name": "default-deny"},
        "spec": {"podSelector": select, "policyTypes": ["Egress"]},
    }
    world.post(world.path("main", "networkpolicies"), policy)
    wait_until(lambda: _ready(world, "registry"), 60, pause=0.2)


def _ready(world: World, name: str) -> bool:
    pod = world.kubernetes.access.find("pods", world.namespaces["main"], name) or {}
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextmanager
def _tainted_node(world: World) -> Iterator[None]:
    """A node that only the scheduler sees."""
    name = f"why-{uuid.uuid4().hex[:6]}"
    room = {"cpu": "8", "memory": "8Gi", "pods": "100"}
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "for tests"}
    node = {
        "metadata": {"name": name, "labels": TAINTED},
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": room, "capacity": room, "conditions": [ready]},
    }
    world.post("/api/v1/nodes", node)
    try:
        yield
    finally:
        world.kubernetes.access.request("DELETE", f"/api/v1/nodes/{name}")


@contextmanager
def _admission_policy(world: World) -> Iterator[None]:
    """A policy for pods with a label, in one namespace."""
    name, namespace = f"why-{uuid.uuid4().hex[:6]}", world.namespaces["main"]
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {**pods, "operations": ["CREATE"]}
    label, value = next(iter(REJECTED.items()))
    allowed = f"!has(object.metadata.labels) || !('{label}' in object.metadata.labels)"
    allowed += f" || object.metadata.labels['{label}'] != '{value}'"
    check = {"expression": allowed, "message": "pods need the label cost-center"}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
            "validations": [check],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    for kind, body in zip(kinds, (policy, binding), strict=True):
        world.post(f"{ADMISSION}/{kind}", body)
    try:
        wait_until(lambda: _is_denied(world), 30, pause=0.3)
        yield
    finally:
        for kind in reversed(kinds):
            world.kubernetes.access.request("DELETE", f"{ADMISSION}/{kind}/{name}")


def _is_denied(world: World) -> bool:
    pod = {
        "metadata": {"generateName": "try-", "labels": REJECTED},
        "spec": {"containers": [{"name": "c", "image": "none"}]},
    }
    try:
        world.kubernetes.access.request(
            "POST", world.path("main", "pods"), body=pod, query={"dryRun": "All"}
        )
    except RequestRejected as error:
        return "cost-center" in str(error)
    return False


def _restricted_kubeconfig(world: World) -> Path:
    """The access of an operator that may do everything but create pods."""
    namespace, access = world.namespaces["restricted"], world.kubernetes.access
    world.post(world.path("restricted", "serviceaccounts"), {"metadata": {"name": "operator"}})
    rules = [
        {"apiGroups": ["kubernetes.dask.org", "coordination.k8s.io"], "resources": ["*"]},
        {"apiGroups": [""], "resources": ["services", "configmaps", "events"]},
    ]
    rules = [{**rule, "verbs": ["*"]} for rule in rules]
    watch = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    role = {"metadata": {"name": "operator"}, "rules": [*rules, watch]}
    base = f"{RBAC}/namespaces/{namespace}"
    world.post(f"{base}/roles", role)
    binding = {
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
    }
    world.post(f"{base}/rolebindings", binding)
    path = f"{world.path('restricted', 'serviceaccounts')}/operator/token"
    answer = json.loads(access.request("POST", path, body={"spec": {}}))
    config = yaml.safe_load(world.kubernetes.kubeconfig.read_text())
    config["users"] = [{**config["users"][0], "user": {"token": answer["status"]["token"]}}]
    file = world.folder / "restricted.kubeconfig"
    file.write_text(json.dumps(config))
    return file


async def answers(world: World) -> dict[str, Answers]:
    """Run all jobs; return the answers while they wait, and after they have failed."""
    watched = ",".join(world.namespaces[place] for place in ("main", "quota", "secure"))
    operators = [
        OperatorProcess(world.kubernetes.kubeconfig, watched, world.folder / "operator.log"),
        OperatorProcess(
            _restricted_kubeconfig(world),
            world.namespaces["restricted"],
            world.folder / "restricted.log",
        ),
    ]
    async with AsyncExitStack() as stack:
        clients = {
            place: await stack.enter_async_context(
                AsyncJobClient(
                    name, kubeconfig=str(world.kubernetes.kubeconfig), notify=world.notes.append
                )
            )
            for place, name in world.namespaces.items()
        }
        for operator in operators:
            await operator.start()
            stack.push_async_callback(operator.stop)
        image = world.kubernetes.image("dask")
        asked = [_Asked(world, clients[case.place], case, image) for case in CASES]
        clusters = [one.begun for one in asked if uses_dask(one.manifest)]
        await asyncio.gather(*(one.run(clusters) for one in asked))
        return {one.answers.case.name: one.answers for one in asked}


async def _all(begun: Sequence[asyncio.Event]) -> None:
    """Wait until these jobs have begun, but not for too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STAGE_SECONDS):
            await asyncio.gather(*(one.wait() for one in begun))


class _Asked:
    """One job, from its submission to its end."""

    def __init__(self, world: World, client: AsyncJobClient, case: Case, image: str) -> None:
        self._world = world
        self._client = client
        self._case = case
        self.answers = Answers(case, world.namespaces[case.place])
        text = json.dumps(case.make(image)).replace("{namespace}", self.answers.namespace)
        self.manifest: Manifest = json.loads(text)
        #: Set once its runner runs, or the job has ended.
        self.begun = asyncio.Event()

    async def run(self, clusters: Sequence[asyncio.Event]) -> None:
        """Submit it, and ask why it waits, and why it failed.

        Jobs without a cluster of Dask have short deadlines: they begin when the others have had the
        CPU time for their start.
        """
        case, found = self._case, self.answers
        if self.begun not in clusters:
            await _all(clusters)
        ref = await self._client.submit(self.manifest)
        losing = asyncio.create_task(self._lose_schedulers(ref))
        try:
            async with asyncio.timeout(SECONDS):
                async for job in self._client.watch(ref):
                    status = job.status
                    if runs(job.manifest) or status.finished:
                        self.begun.set()
                    if found.waiting is None and not status.finished and case.waits(job.manifest):
                        await asyncio.sleep(case.after)
                        found.waiting = await self._why(ref)
                        if case.ends and case.deadline in self.manifest["spec"]:
                            await self._shorten_deadline(job)
                    if not case.ends and found.waiting is not None:
                        break
                    if status.finished:
                        found.failed = await self._why(ref)
                        found.saved = job.manifest
        except TimeoutError:
            # The test of this case shows what is missing.
            pass
        finally:
            losing.cancel()

    async def _shorten_deadline(self, job: Job) -> None:
        """Have the deadline be reached now: how long the start takes depends on the machine."""
        started = job.status.start_time or datetime.now(UTC)
        seconds = int((datetime.now(UTC) - started).total_seconds()) + 5
        patch = json.dumps({"spec": {self._case.deadline: seconds}})
        words = ("patch", "daskjob", job.name, f"--namespace={job.ref.namespace}", "--type=merge")
        await asyncio.to_thread(self._world.kubernetes.kubectl, *words, f"--patch={patch}")

    async def _lose_schedulers(self, ref: JobRef) -> None:
        """Delete the scheduler of one attempt after the other, each once it was ready."""
        path = f"{self._world.path('main', 'pods')}/{self._case.name}-scheduler"
        for attempt in range(self._case.scheduler_losses):

            async def is_ready(attempt: int = attempt) -> bool:
                job = await self._client.get(ref)
                return job.status.attempt == attempt and has_scheduler(job.manifest)

            await until(is_ready, SECONDS, self._case.name, pause=0.3)
            await asyncio.to_thread(self._world.kubernetes.access.request, "DELETE", path)

    async def _why(self, ref: JobRef) -> Explanation:
        """Ask, and run the command of the answer."""
        answer = await self._client.why(ref)
        if answer.command:
            done = await asyncio.to_thread(self._run, answer.command)
            self.answers.commands.append(done)
        return answer

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user does; one that creates something only tries it."""
        program, *words = shlex.split(command)
        programs = {
            "kubectl": self._world.kubernetes.command(),
            "daskjob": [sys.executable, "-m", "daskjob"],
        }
        tries = ["--dry-run=server"] if words[0] in ("create", "submit") else []
        return subprocess.run(
            [*programs[program], *words, *tries],
            env={**os.environ, "KUBECONFIG": str(self._world.kubernetes.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
