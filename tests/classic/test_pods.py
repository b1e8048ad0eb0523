"""The objects of a cluster: as dask-kubernetes 2024.4.2 made them, unless that could not work."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from daskjob.classic import pods
from daskjob.classic.builders import make_pod_from_dict
from daskjob.classic.commands import modern_words
from daskjob.classic.lease import lease_variables
from daskjob.classic.leftovers import ended_schedulers
from daskjob.classic.models import manifest_of, object_of
from daskjob.classic.naming import cluster_name
from daskjob.core.manifests import ObjectRef
from daskjob.core.names import ANNOTATION_LEASE_DURATION, NAME_PATTERN
from tests.classic.golden import golden

GOLDEN = [case for case in golden()["cases"] if case["function"] == "pods"]
NAME, NAMESPACE, ADDRESS = "dask-jane-1", "team", "tcp://dask-jane-1.team:8786"
OWNER = ObjectRef("Pod", NAMESPACE, "the-scheduler", "uid-1")


def made(case: dict[str, Any]) -> dict[str, Any]:
    given = copy.deepcopy(case["arguments"])
    affinity = given.get("apply_default_affinity", "preferred")
    identity = pods.Identity(NAME, NAMESPACE, given.get("env", {}), affinity)
    worker = identity.template(make_pod_from_dict(given["pod"]), "worker")
    own = given.get("scheduler_pod_template")
    scheduler = manifest_of(make_pod_from_dict(own or given["pod"]))
    pods.scheduler_args(
        scheduler["spec"]["containers"][0], given.get("idle_timeout"), own_template=bool(own)
    )
    scheduler = identity.template(object_of("Pod", scheduler), "scheduler")
    return {
        "worker": pods.worker_pod(worker, ADDRESS, 0),
        "scheduler": pods.scheduler_pod(scheduler, {}),
    }


def today(pod: dict[str, Any]) -> dict[str, Any]:
    """A golden pod with today's commands."""
    found = copy.deepcopy(pod)
    container = found["spec"]["containers"][0]
    container["args"] = modern_words(container["args"])
    return found


@pytest.mark.check(50)
@pytest.mark.parametrize("component", ["worker", "scheduler"])
@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_pods_are_those_of_dask_kubernetes(
    number: int, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "jane")
    pod, theirs = made(GOLDEN[number])[component], today(GOLDEN[number]["result"][component])
    container = pod["spec"]["containers"][0]
    # What is new: a name, the end of a log in the status, the end of a worker without a scheduler.
    assert pod["metadata"].pop("name").startswith(f"{NAME}-{component}-")
    assert theirs["metadata"].pop("generateName") == NAME
    assert container.pop("terminationMessagePolicy") == "FallbackToLogsOnError"
    container["env"] = [one for one in container["env"] if one["name"] != "DASKJOB_POD"]
    if component == "worker":
        at = container["args"].index("--death-timeout")
        assert container["args"][at + 1] == "60"
        del container["args"][at : at + 2]
    assert {**theirs, "apiVersion": "v1", "kind": "Pod"} == pod


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (1.5, "1.5"), (True, "True"), ("x", "x")])
def test_variables_of_any_type_become_text(value: object, text: str) -> None:
    side = {"name": "side", "env": [{"name": "B", "value": value}, {"name": "C"}]}
    containers = [{"name": "w", "env": [{"name": "A", "value": value}]}, side]
    pod = make_pod_from_dict({"spec": {"containers": containers}})
    found = pods.Identity(NAME, NAMESPACE, {"D": value}).template(pod, "worker")
    first, second = (one["env"] for one in found["spec"]["containers"])
    assert first == [{"name": "A", "value": text}, {"name": "D", "value": text}]
    assert second == [{"name": "B", "value": text}, {"name": "C"}]


@pytest.mark.check(50)
def test_templates_of_service_and_budget_are_those_of_dask_kubernetes() -> None:
    theirs = golden()["templates"]
    assert theirs["scheduler-service-template"] == pods.SERVICE
    assert theirs["scheduler-pdb-template"] == pods.DISRUPTION_BUDGET


@pytest.mark.check(54)
def test_service_and_budget_select_the_scheduler_and_belong_to_it() -> None:
    identity = pods.Identity(NAME, NAMESPACE, {})
    like = {"metadata": {"labels": {"app": "dask"}}}
    template = copy.deepcopy(pods.SERVICE)
    service = pods.owned(pods.service(template, identity, "NodePort", like), [OWNER])
    budget = pods.owned(pods.disruption_budget(pods.DISRUPTION_BUDGET, identity, like), [OWNER])
    assert template == pods.SERVICE
    selector = {"dask.org/cluster-name": NAME, "dask.org/component": "scheduler"}
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == selector
    assert (service["spec"]["type"], budget["spec"]["minAvailable"]) == ("NodePort", 1)
    for one in (service, budget):
        assert (one["metadata"]["name"], one["metadata"]["labels"]) == (NAME, {"app": "dask"})
        assert one["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    # The type of a template counts before that of the configuration.
    typed = {"metadata": {"annotations": {"a": "b"}}, "spec": {"type": "LoadBalancer"}}
    service = pods.service(typed, identity, "ClusterIP", like)
    assert (service["spec"]["type"], service["metadata"]["annotations"]) == (
        "LoadBalancer",
        {"a": "b"},
    )


@pytest.mark.check(53)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dask-worker --nthreads 2 --no-bokeh", "dask worker --nthreads 2 --no-dashboard"),
        ("dask-scheduler --bokeh-port 1234", "dask scheduler --dashboard-address :1234"),
        ("tini -g -- dask-worker --bokeh-port=0", "tini -g -- dask worker --dashboard-address=:0"),
        ("dask worker --nprocs=4 --bokeh", "dask worker --nworkers=4 --dashboard"),
        (
            "dask-cuda-worker $(DASK_SCHEDULER_ADDRESS)",
            "dask-cuda-worker $(DASK_SCHEDULER_ADDRESS)",
        ),
        ("python -m distributed.cli.dask_worker", "python -m distributed.cli.dask_worker"),
    ],
)
def test_commands_are_todays(given: str, expected: str) -> None:
    assert modern_words(given.split()) == expected.split()


@pytest.mark.check(53)
@pytest.mark.parametrize(
    ("container", "args"),
    [
        # As the first generation's page has it: no name, no address, the old option.
        (
            {"args": ["dask-worker", "--nthreads", "2", "--no-bokeh", "--death-timeout", "60"]},
            "dask worker --nthreads 2 --no-dashboard --death-timeout 60 --name 3",
        ),
        ({}, "dask worker --death-timeout 60 --name 3"),
        ({"command": ["dask-worker"]}, "--death-timeout 60 --name 3"),
        ({"args": ["dask-cuda-worker", "a"]}, "dask-cuda-worker a --name 3"),
    ],
)
def test_worker_is_named_and_ends_without_a_scheduler(container: dict[str, Any], args: str) -> None:
    pod = make_pod_from_dict({"spec": {"containers": [{"image": "i", **container}]}})
    template = pods.Identity(NAME, NAMESPACE, {}).template(pod, "worker")
    worker = pods.worker_pod(template, ADDRESS, 3)
    first = worker["spec"]["containers"][0]
    assert (first["name"], first["args"]) == ("dask-0", args.split())
    assert {"name": "DASK_SCHEDULER_ADDRESS", "value": ADDRESS} in first["env"]
    assert worker["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("container", "own", "expected"),
    [
        ({"args": ["dask-worker", "--nthreads", "2"]}, False, "dask scheduler"),
        ({"command": ["dask-worker"], "args": ["--nthreads", "2"]}, False, "dask scheduler"),
        ({"command": ["dask"], "args": ["worker", "--nthreads", "2"]}, False, "dask scheduler"),
        ({"command": ["tini", "--"], "args": ["dask-worker"]}, False, "dask scheduler"),
        ({"args": ["dask-scheduler", "--preload", "p"]}, True, "dask scheduler --preload p"),
        ({"args": ["x"]}, True, "dask scheduler"),
    ],
)
def test_scheduler_runs_a_scheduler(container: dict[str, Any], own: bool, expected: str) -> None:
    pods.scheduler_args(container, "10 minutes", own_template=own)
    found = [*container.get("command", []), *container["args"]]
    assert " ".join(found).removeprefix("tini -- ") == f"{expected} --idle-timeout 10 minutes"


@pytest.mark.check(56)
def test_lease_keeps_the_preloads_of_the_template() -> None:
    assert lease_variables({}, 0) == {}
    name = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
    for given, kept in (("['a.b', 'c']", ["a.b", "c"]), ("a.b", ["a.b"]), ("'x'", ["x"])):
        found = lease_variables({"env": [{"name": name, "value": given}]}, 60)
        # Dask reads it the same way.
        *others, ours = __import__("ast").literal_eval(found[name])
        assert others == kept
        assert "exec" in ours
        assert found["DASKJOB_LEASE_SECONDS"] == "60"


@pytest.mark.check(4)
@pytest.mark.parametrize("user", ["J.Doe", "root", "a_b", "1st", "ß", "x" * 80])
def test_every_login_gives_a_valid_name(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", user)
    for template in ("dask-{user}-{uuid}", "{user}", "{JUPYTERHUB_USER}-{uuid}"):
        found = cluster_name(template, {"JUPYTERHUB_USER": "Jo@x.org", "user": "no", "uuid": "no"})
        assert NAME_PATTERN.fullmatch(found), found
        assert len(f"{found}-scheduler-123456") <= 63


@pytest.mark.parametrize("template", ["{nothing}", "{", "{0}", "{user.x}"])
def test_wrong_name_template_is_reported(template: str) -> None:
    with pytest.raises(ValueError, match="name '"):
        cluster_name(template, {})


@pytest.mark.check(56)
@pytest.mark.parametrize("seconds", ["5m", "nan", "inf", "1e400", ""])
def test_a_malformed_lease_of_another_pod_stops_no_cluster(seconds: str) -> None:
    def ended(name: str, lease: str) -> dict[str, Any]:
        end = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z"}}
        return {
            "metadata": {
                "name": name,
                "uid": name,
                "annotations": {ANNOTATION_LEASE_DURATION: lease},
            },
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": end}]},
        }

    now = datetime(2026, 1, 2, tzinfo=UTC)
    found = ended_schedulers((ended("other", seconds), ended("left", "300")), now)
    assert [ref.name for ref in found] == ["left"]
