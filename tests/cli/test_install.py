"""``daskjob install`` on a real cluster: install, run a job, upgrade, uninstall."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command import Daskjob, Done, finish
from tests.cli.kubeconfigs import kubeconfig_of
from tests.client.given import job
from tests.cluster.binaries import binary
from tests.cluster.plugin import Kubectl, KubectlFailed, Kubernetes
from tests.operator.jobs import python_job
from tests.printed import assert_printed
from tests.waiting import wait_until

CHART = Path(__file__).parents[2] / "operator-chart"
SUM = "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"
CRD = "customresourcedefinitions"


class Installer:
    """A user who installs into the namespace of the test."""

    def __init__(self, daskjob: Daskjob, kubernetes: Kubernetes, namespace: str) -> None:
        daskjob.variables["KUBECONFIG"] = str(kubernetes.kubeconfig)
        self.daskjob = daskjob
        self.kubernetes = kubernetes
        self.namespace = namespace

    @property
    def values(self) -> list[str]:
        """The image of the checkout, for this namespace only."""
        name, _, tag = self.kubernetes.image("operator").rpartition(":")
        return [
            *("--set", f"image.name={name},image.tag={tag}"),
            *("--set", f"watchNamespaces={{{self.namespace}}}"),
        ]

    def __call__(self, *words: object) -> Done:
        return self.daskjob("install", "-n", self.namespace, *words)

    def left(self, kubectl: Kubectl) -> list[str]:
        """Return the objects that an uninstallation removes."""
        kinds = "deployments,roles,rolebindings,serviceaccounts,configmaps,poddisruptionbudgets"
        found = kubectl("get", kinds, "-o", "name").split()
        return [name for name in found if "daskjob" in name]


@pytest.fixture
def installer(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> Iterator[Installer]:
    yield Installer(daskjob, with_crds, namespace)
    # Whatever became of them.
    with_crds.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CHART}/crds")


def test_install_run_a_job_upgrade_and_uninstall(installer: Installer, kubectl: Kubectl) -> None:
    done = installer(*installer.values, "--set", "podDisruptionBudget.enabled=true")
    assert done.code == 0, done.err
    assert f"Deployment {installer.namespace}/daskjob-daskjob-operator created\n" in done.text
    assert done.text.splitlines()[-1] == (
        f"daskjob 0.1.0 is installed in namespace {installer.namespace}; its operator watches "
        f"namespace {installer.namespace}"
    )
    assert "waiting for the operator: " in done.err

    file = installer.daskjob.manifest(
        python_job(installer.kubernetes.image("dask"), SUM, name="sums", dask=True)
    )
    ran = installer.daskjob("submit", "--wait", "-n", installer.namespace, "-f", file)
    assert ran.code == 0, ran.err
    assert_printed(ran.text, "3")

    again = installer()
    assert again.code == 0, again.err
    assert "the values of the installation are kept" in again.err
    assert len(again.text.splitlines()) == 1

    upgraded = installer(*installer.values, "--set", "podAnnotations.team=data", "--reset-values")
    assert upgraded.code == 0, upgraded.err
    changed = upgraded.text.splitlines()[:-1]
    assert changed == [
        f"Deployment {installer.namespace}/daskjob-daskjob-operator changed",
        f"PodDisruptionBudget {installer.namespace}/daskjob-daskjob-operator deleted: this version "
        "does not have it",
    ]

    removed = installer("--uninstall")
    assert removed.code == 0, removed.err
    assert installer.left(kubectl) == []
    assert f"namespace {installer.namespace} stays" in removed.err
    again = installer("--uninstall")
    assert again.code == 125
    assert f"has installed nothing in namespace {installer.namespace}" in again.err


def test_interrupted_installation_says_what_was_changed_and_what_to_do(
    installer: Installer, kubectl: Kubectl
) -> None:
    only = f"watchNamespaces={{{installer.namespace}}}"
    words = ("install", "-n", installer.namespace, "--set", "image.name=none", "--set", only)
    process = installer.daskjob.start(*words)
    assert process.stderr is not None
    assert b"waiting for the operator" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130
    number = len(done.text.splitlines())
    (line,) = done.messages
    changed = f"{number} objects were changed so far, as listed above"
    undo = f"daskjob install --uninstall -n {installer.namespace} removes it"
    assert line.startswith("daskjob: interrupted while waiting for the operator: ")
    assert line.endswith(f"; {changed}; {undo}")
    # The same command would wait for the same image.
    again = installer("--set", "image.name=none", "--set", only, "--set", "a=b", "--timeout", "3s")
    assert again.code == 125
    assert "completes it" not in again.err
    assert installer("--uninstall").code == 0
    assert installer.left(kubectl) == []


def test_crds_stay_while_there_are_jobs_and_are_upgraded(
    installer: Installer, kubectl: Kubectl
) -> None:
    # Those of earlier tests end with their namespaces, and would be counted.
    kinds = "daskjobs,daskclusters,daskworkergroups,daskautoscalers"
    wait_until(lambda: not kubectl("get", kinds, "-A", "-o", "name"), pause=0.5)
    name = "daskautoscalers.kubernetes.dask.org"
    kubectl("delete", CRD, name)
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/obsolete"
    patch = [{"op": "add", "path": path, "value": {"type": "string"}}]
    changed = "daskworkergroups.kubernetes.dask.org"
    kubectl("patch", CRD, changed, "--type=json", f"--patch={json.dumps(patch)}")
    kubectl("apply", "-f", "-", stdin=json.dumps(job("sums")))

    done = installer(*installer.values, "--no-wait")
    assert done.code == 0, done.err
    assert f"CustomResourceDefinition {name} created\n" in done.text
    assert f"CustomResourceDefinition {changed} upgraded\n" in done.text
    assert done.text.count("CustomResourceDefinition") == 2, done.text
    stored = json.loads(kubectl("get", CRD, changed, "-o", "json"))
    assert "obsolete" not in json.dumps(stored["spec"])

    removed = installer("--uninstall")
    assert removed.code == 0, removed.err
    assert "the CustomResourceDefinitions stay: 1 DaskJob" in removed.err
    assert "stay too, without an operator; --crds removes all of them" in removed.err
    assert len(kubectl.there("daskjobs")) == 1

    removed = installer("--uninstall", "--crds")
    assert removed.code == 0, removed.err
    assert name not in kubectl("get", CRD, "-o", "name")


def test_dry_run_prints_what_kubectl_accepts(installer: Installer, kubectl: Kubectl) -> None:
    shown = installer("--dry-run", "--skip-crds", *installer.values)
    assert shown.code == 0, shown.err
    kinds = [item["kind"] for item in yaml.safe_load_all(shown.text)]
    assert kinds == [
        *("Namespace", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "Deployment")
    ]
    assert installer.left(kubectl) == []
    applied = kubectl("apply", "--server-side", "-f", "-", stdin=shown.text)
    assert len(applied.splitlines()) == len(kinds)
    assert installer("--uninstall").code == 0
    assert installer.left(kubectl) == []


def test_what_helm_has_installed_is_left_to_it_unless_forced(
    installer: Installer, kubectl: Kubectl
) -> None:
    helm = [
        *(str(binary("helm")), f"--kubeconfig={installer.kubernetes.kubeconfig}"),
        f"--namespace={installer.namespace}",
    ]
    values = [*installer.values, "--set", "replicas=0"]
    command = [*helm, "install", "daskjob", str(CHART), "--skip-crds", *values]
    subprocess.run(command, check=True, capture_output=True)
    done = installer(*values)
    assert done.code == 125
    assert (
        f"belongs to Helm's release daskjob in namespace {installer.namespace}; to keep it Helm's: "
        f"helm upgrade daskjob operator-chart -n {installer.namespace}; to take it over: --force"
    ) in done.err
    done = installer("--uninstall")
    assert done.code == 125
    assert f"Helm installed it: helm uninstall daskjob -n {installer.namespace}" in done.err

    done = installer(*values, "--force")
    assert done.code == 0, done.err
    assert "Helm still knows its release daskjob" in done.err
    shown = json.loads(kubectl("get", "deployments,roles", "-o", "json"))["items"]
    assert "meta.helm.sh" not in json.dumps([item["metadata"].get("annotations") for item in shown])
    labels = {item["metadata"]["labels"]["app.kubernetes.io/managed-by"] for item in shown}
    assert labels == {"daskjob"}
    assert installer("--uninstall").code == 0


def test_second_operator_of_the_same_namespaces_is_rejected(
    installer: Installer, kubectl: Kubectl
) -> None:
    other: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "other", "labels": {"app.kubernetes.io/name": "daskjob-operator"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "o", "image": "o", "args": ["-n", "x"]}]},
            },
        },
    }
    args = other["spec"]["template"]["spec"]["containers"][0]["args"]
    for words, watched in (
        (["-n", installer.namespace], installer.namespace),
        (["--all-namespaces"], installer.namespace),
    ):
        args[:] = words
        kubectl("apply", "-f", "-", stdin=json.dumps(other))
        done = installer(*installer.values)
        assert done.code == 125
        assert f"other is an operator that watches {watched} too" in done.err
    args[:] = ["-n", "another"]
    kubectl("apply", "-f", "-", stdin=json.dumps(other))
    assert installer(*installer.values, "--no-wait").code == 0
    assert installer("--uninstall").code == 0


def test_missing_permissions_are_named_before_anything_is_changed(
    installer: Installer, kubectl: Kubectl, tmp_path: Path
) -> None:
    kubectl("create", "serviceaccount", "guest")
    path = kubeconfig_of(installer.kubernetes, installer.namespace, "guest", tmp_path)
    installer.daskjob.variables["KUBECONFIG"] = str(path)
    done = installer(*installer.values)
    assert done.code == 125
    assert done.err.startswith("daskjob: ")
    assert "permissions are missing to install daskjob; nothing was changed:" in done.err
    assert (
        f"  create roles: a Role in namespace {installer.namespace} grants it with the rule "
        "{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [create]}\n"
    ) in done.err
    assert installer.left(kubectl) == []

    # The right to create Roles is not the right to grant what the user does not have.
    kubectl("create", "rolebinding", "guest", "--clusterrole=edit",
            f"--serviceaccount={installer.namespace}:guest")  # fmt: skip
    rules = "--resource=roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io"
    kubectl("create", "role", "roles", rules, "--verb=get,create,patch")
    kubectl("create", "rolebinding", "roles", "--role=roles",
            f"--serviceaccount={installer.namespace}:guest")  # fmt: skip
    done = installer(*installer.values, "--skip-crds")
    assert done.code == 125
    assert "cannot be created by this user, who lacks some of the permissions" in done.err
    assert installer.left(kubectl) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--set", "image.nam=x"],
            125,
            "image.nam: 'x' is not allowed; there is no such value; did you mean 'name'?",
        ),
        (["--set", "replicas=many"], 125, "replicas: 'many' is not allowed; write an integer"),
        (["-f", "missing.yaml"], 125, "missing.yaml cannot be read: No such file"),
        (["--uninstall", "--set", "replicas=1"], 2, "it takes no values"),
        (["--crds"], 2, "--crds belongs to --uninstall"),
        (["--context", "nowhere"], 125, "nowhere"),
        (
            [
                "--set",
                "metrics.operator.enabled=true",
                "--set",
                "metrics.operator.podMonitor.enabled=true",
            ],
            125,
            "nothing was changed: install what has this kind",
        ),
        (
            ["--set", "rbac.cluster=false,kopfArgs={-n=a*}", "--reset-values"],
            125,
            "takes a ClusterRole: set rbac.cluster=true",
        ),
    ],
)
def test_mistake_is_one_message_before_anything_is_changed(
    installer: Installer, kubectl: Kubectl, words: list[str], code: int, message: str
) -> None:
    done = installer(*words)
    assert (done.code, done.text) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err
    with pytest.raises(KubectlFailed):
        kubectl("get", "configmap", "daskjob-install")
