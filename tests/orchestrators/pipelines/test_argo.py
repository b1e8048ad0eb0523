"""The template of Argo Workflows on docs/howto/orchestrators.md fits Argo's own schema."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.cluster.plugin import Kubectl, KubectlFailed, Kubernetes
from tests.orchestrators.pipelines.argo import crd
from tests.orchestrators.pipelines.test_page import file
from tests.waiting import wait_until

TEMPLATE = file("argo-workflow.yaml")


@pytest.fixture(scope="module")
def with_argo(kubernetes: Kubernetes) -> Kubernetes:
    """The cluster, with the kind WorkflowTemplate; nothing runs its objects."""
    path = str(crd("workflowtemplates"))
    # Server-side: an annotation with this schema would be too long.
    kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
    return kubernetes


def create(kubectl: Kubectl, text: str) -> str:
    """Return the API server's answer to a template, whose every field it knows."""
    return kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)


def test_the_api_server_accepts_the_template(with_argo: Kubernetes, namespace: str) -> None:
    kubectl = Kubectl(with_argo, namespace)

    def accepted() -> str:
        try:
            return create(kubectl, TEMPLATE)
        except KubectlFailed as error:
            # A new CRD is served a moment later; kubectl finds no kind, or no path.
            if re.search("no matches for kind|could not find the requested resource", error.said):
                return ""
            raise

    assert "workflowtemplate.argoproj.io/daskjob created" in wait_until(accepted, pause=0.5)
    # The schema knows what it accepts.
    for old, new in (
        ("successCondition:", "succesCondition:"),
        ("setOwnerReference: true", "setOwnerReference: perhaps"),
        ("valueFrom: {jsonPath:", "valueFrom: {jsonpath:"),
        ("action: apply", "action: [apply]"),
    ):
        assert old in TEMPLATE
        with pytest.raises(KubectlFailed, match=r"unknown field|Invalid value|cannot unmarshal"):
            create(kubectl, TEMPLATE.replace(old, new))


def test_the_job_of_the_template_is_accepted_too(with_crds: Kubernetes, namespace: str) -> None:
    step = yaml.safe_load(TEMPLATE)["spec"]["templates"][0]
    text = step["resource"]["manifest"]
    for name, value in {
        "workflow.name": "nightly-x7k2p",
        "workflow.uid": "b1946ac9",
        "inputs.parameters.step": "sums",
        "inputs.parameters.date": "2026-01-31",
    }.items():
        text = text.replace("{{" + name + "}}", value)
    answer = create(Kubectl(with_crds, namespace), text)
    assert "daskjob.kubernetes.dask.org/nightly-x7k2p-sums created" in answer
