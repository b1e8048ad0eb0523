"""The commands of the documentation that need a cluster, with an operator that all pages share."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.command import Daskjob
from tests.cluster.binaries import binary
from tests.cluster.plugin import Kubernetes
from tests.docs.consoles import PAGES, Block, Command, Reader, blocks, pages_with, programs, typed
from tests.docs.documents import ROOT

#: Settings of all scripts: what a small cluster has room for, as a user's own configuration.
SMALL = {
    "DASK_DASKJOB__CPU": "100m",
    "DASK_DASKJOB__MEMORY": "400Mi",
    "DASK_DASKJOB__RUNNER_CPU": "100m",
    "DASK_DASKJOB__RUNNER_MEMORY": "400Mi",
    "DASK_DASKJOB__SCHEDULER_CPU": "100m",
    "DASK_DASKJOB__SCHEDULER_MEMORY": "400Mi",
}
#: The verbs of kubectl that accept --dry-run.
_CHANGES = {"apply", "create", "patch", "label", "annotate", "taint", "delete", "set", "scale"}


@pytest.fixture(scope="module")
def team(with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace with an operator."""
    name = f"t-docs-{uuid.uuid4().hex[:6]}"
    with_crds.kubectl("create", "namespace", name)
    try:
        with operator(with_crds, name, tmp_path_factory.mktemp("operator") / "log"):
            yield name
    finally:
        with_crds.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def operator(kubernetes: Kubernetes, namespace: str, log: Path) -> Iterator[None]:
    """Run an operator of a namespace."""
    environment = {key: value for key, value in os.environ.items() if key[:4] != "KUBE"}
    environment |= {"KUBECONFIG": str(kubernetes.kubeconfig), "DASKJOB_POD_UID": namespace}
    command = [sys.executable, "-m", "daskjob.controller", f"--namespace={namespace}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def reader(team: str, with_crds: Kubernetes, tmp_path: Path) -> Iterator[Reader]:
    """A reader whose team has this namespace."""
    user = Daskjob(tmp_path, {"KUBECONFIG": str(with_crds.kubeconfig)})
    kubectl = shlex.join(with_crds.command())
    environment = {
        **user.environment,
        **SMALL,
        "DASK_DASKJOB__IMAGE": with_crds.image("dask"),
        "PATH": programs(tmp_path / "bin", kubectl=kubectl, helm=str(binary("helm"))),
    }
    replaced = (
        (r"ghcr\.io/dask/dask:latest", with_crds.image("dask")),
        (r"(?<![\w./-])team(?![\w./-])", team),
        (r"replicas: \d+", "replicas: 1"),
    )
    yield Reader(user.work, environment, replaced)
    user.end()
    # The tables of the next page show its own jobs only.
    with_crds.kubectl("delete", "daskjobs", "-n", team, "--all")


@pytest.mark.parametrize("page", pages_with("run: cluster"))
def test_commands_for_a_cluster_do_what_the_page_shows(
    page: str, reader: Reader, team: str, with_crds: Kubernetes
) -> None:
    assert list(typed(reader, page, "run: cluster")) == []
    if page == "howto/sweep.md":
        # The page calls it twice.
        found = with_crds.kubectl("get", "daskjobs", f"--namespace={team}", "--output=name")
        assert len(re.findall("/integrate-", found)) == 2


@pytest.fixture(scope="module")
def kubeflow(with_crds: Kubernetes) -> None:
    """The one kind of Kubeflow that a page uses."""
    names = {"kind": "PodDefault", "plural": "poddefaults", "singular": "poddefault"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "poddefaults.kubeflow.org"},
        "spec": {
            "group": "kubeflow.org",
            "scope": "Namespaced",
            "names": names,
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    with_crds.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(crd))
    with_crds.kubectl("wait", "crd/poddefaults.kubeflow.org", "--for=condition=Established")


@pytest.mark.usefixtures("kubeflow")
def test_commands_that_need_the_outside_world_are_accepted_by_the_api_server(
    reader: Reader,
) -> None:
    wrong = []
    for page in PAGES:
        commands = []
        for block in blocks(page):
            if block.file:
                reader.write(block)
            elif block.how == "check: dry-run":
                commands += [dry(command) for command in block.commands()]
        done = reader.run(commands)
        wrong += [f"{page}: $ {ran.command.text}\n{ran.text}" for ran in done if ran.code]
    assert wrong == []


def test_examples_are_submitted_as_their_readme_shows(reader: Reader) -> None:
    """One runs; the minimal one runs in the page of the Python API, the sweep in its own."""
    text = (ROOT / "examples" / "README.md").read_text()
    (block,) = re.findall(r"```console\n(\$ daskjob submit.*?)```", text, re.DOTALL)
    commands = Block("examples/README.md", 1, "", "console", block).commands()
    census, *others = commands
    assert "census" in census.text
    assert len(others) == 4
    done = reader.run([census, *map(dry, others)])
    assert [ran.text for ran in done if ran.code] == []
    assert re.search(r"^self +\d+", done[0].text, re.MULTILINE)


def dry(command: Command) -> Command:
    """Return a command that changes nothing."""
    words = shlex.split(command.text.replace("\\\n", " "))
    if words[0] == "kubectl" and _CHANGES & set(words[1:]):
        return Command(f"{command.text} --dry-run=server", ())
    if words[:2] == ["daskjob", "submit"]:
        text = command.text.replace("daskjob submit", "daskjob submit --dry-run=server", 1)
        return Command(text.replace(" --wait", ""), ())
    assert words[:2] in (["daskjob", "validate"], ["daskjob", "render"]), command.text
    return command
