"""The DaskJob of a flow run: its environment is in its Secret alone, and all else is kept."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import apply_values
from prefect.workers.base import BaseWorker

from daskjob.core.errors import Invalid
from daskjob.core.spec import DaskJob, parse
from daskjob.integrations.prefect import DaskJobFlow, DaskJobWorker, daskjob
from daskjob.integrations.prefect.worker_settings import DaskJobWorkerConfiguration


def configured(**values: Any) -> DaskJobWorkerConfiguration:
    """Return the configuration of a flow run, as a worker gets it from the pool's template."""
    template = DaskJobWorker.get_default_base_job_template()
    known = template["variables"]["properties"]
    default = {name: one["default"] for name, one in known.items() if one.get("default")}
    given = {**default, "image": "flows:1", **values}
    found = DaskJobWorkerConfiguration(**apply_values(template["job_configuration"], given))
    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="Odd Name!")
    found.prepare_for_flow_run(run)
    return found


@pytest.mark.parametrize(
    "env", [{"TEAM_KEY": "secret-1"}, {"A": "$(HOME) $x", "B": ""}, {"PASSWORD": "zwölf\n"}]
)
def test_the_environment_is_in_the_secret_alone(env: dict[str, str]) -> None:
    found = configured(env=env)
    [secret] = found.owned
    data = {key: base64.b64decode(text).decode() for key, text in secret["data"].items()}
    assert env.items() <= data.items()
    assert secret["metadata"]["name"] == "odd-name-env"
    shown = json.dumps(found.job_manifest)
    assert not [text for text in env.values() if text and json.dumps(text) in shown]
    parse(DaskJob, {**found.job_manifest, "metadata": {"name": "a", "namespace": "b"}})


def test_all_pods_have_it() -> None:
    spec = configured().job_manifest["spec"]
    source = [{"secretRef": {"name": "odd-name-env"}}]
    cluster = spec["cluster"]["spec"]
    for pod, expected in (
        (spec["job"], source),
        (cluster["worker"], source),
        (cluster["scheduler"], source),
    ):
        [container] = pod["spec"]["containers"]
        assert container.get("envFrom") == expected


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (None, ["prefect", "flow-run", "execute"]),
        ("python -m prefect flow-run execute", ["python", "-m", "prefect", "flow-run", "execute"]),
        ("sh -c 'echo $(HOME)'", ["sh", "-c", "echo $$(HOME)"]),
    ],
)
def test_the_command_runs_within_ours(command: str | None, words: list[str]) -> None:
    [container] = configured(command=command).job_manifest["spec"]["job"]["spec"]["containers"]
    assert container["command"][:2] == ["python", "-c"]
    assert container["command"][3:] == words


@pytest.mark.parametrize(
    ("resources", "added"),
    [({"limits": {"memory": "2Gi"}}, ["--memory-limit", "1920MiB"]), ({}, []), (None, [])],
)
def test_dask_uses_the_memory_of_its_workers(resources: Any, added: list[str]) -> None:
    worker = configured(worker_resources=resources).job_manifest["spec"]["cluster"]["spec"][
        "worker"
    ]
    [container] = worker["spec"]["containers"]
    assert container["args"] == ["dask", "worker", "--nthreads", "1", *added]


def test_labels_of_the_user_are_labels_and_those_of_prefect_annotations() -> None:
    found = configured(labels={"team": "blue", "prefect.io/flow-run-id": "mine"})
    assert found.own_labels == {"team": "blue"}
    assert set(found.annotations) >= {"prefect.io/flow-run-id", "prefect.io/flow-run-name"}
    assert "prefect.io" not in json.dumps(found.job_manifest)


@pytest.mark.parametrize("image", ["", None])
def test_a_pool_without_an_image_is_rejected(image: Any) -> None:
    with pytest.raises(Invalid, match="name an image"):
        configured(image=image)


def test_the_decorator_binds_a_flow_to_a_pool() -> None:
    @daskjob(work_pool="dask", n_workers=8)
    @flow
    def nightly() -> None: ...

    renamed = nightly.with_options(name="renamed")
    for bound in (nightly, renamed):
        assert isinstance(bound, DaskJobFlow)
        assert (bound.work_pool, bound.job_variables) == ("dask", {"n_workers": 8})
        assert issubclass(bound.worker_cls, DaskJobWorker)
    assert renamed.name == "renamed"


def test_workers_of_the_type_stay_what_they_are() -> None:
    # The class of calls has the same type, and is not for ``prefect worker start``.
    assert BaseWorker.get_worker_class_from_type("daskjob") is DaskJobWorker
