"""Values from files and ``--set``, over the chart's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from daskjob.submit.installing.chart_values import WrongValues, all_values, merged, user_values
from daskjob.submit.installing.other_operators import watched_namespaces


@pytest.mark.parametrize(
    ("assignments", "values"),
    [
        (["image.tag=1.10"], {"image": {"tag": "1.10"}}),
        (["image.name=a,image.tag=b"], {"image": {"name": "a", "tag": "b"}}),
        (["replicas=2", "legacyCommands=false"], {"replicas": 2, "legacyCommands": False}),
        (["watchNamespaces={a, b}"], {"watchNamespaces": ["a", "b"]}),
        (["watchNamespaces={}"], {"watchNamespaces": []}),
        (["kopfArgs[0]=-v", "kopfArgs[1]=-n=a"], {"kopfArgs": ["-v", "-n=a"]}),
        (["imagePullSecrets[0].name=r"], {"imagePullSecrets": [{"name": "r"}]}),
        ([r"podAnnotations.a\.b/c=1"], {"podAnnotations": {"a.b/c": "1"}}),
        ([r"podAnnotations.a=1\,2"], {"podAnnotations": {"a": "1,2"}}),
        (['resources={"limits": {"cpu": 1}}'], {"resources": {"limits": {"cpu": 1}}}),
        (["securityContext.runAsUser=null"], {"securityContext": {"runAsUser": None}}),
        (["priorityClassName=high"], {"priorityClassName": "high"}),
        (["image.tag="], {"image": {"tag": ""}}),
    ],
)
def test_assignment_sets_a_value_of_the_type_of_the_schema(
    assignments: list[str], values: dict[str, Any]
) -> None:
    assert user_values([], assignments) == values


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("replicas", "--set replicas: write NAME=VALUE"),
        ("=2", "--set =2: write NAME=VALUE"),
        ("a..b=2", "write NAME=VALUE"),
        ("kopfArgs[3]=x", "set [0] first"),
        ("replicas=1,replicas.x=1", None),
    ],
)
def test_malformed_assignment_is_rejected(assignment: str, message: str | None) -> None:
    if message is None:
        assert user_values([], [assignment]) == {"replicas": {"x": 1}}
        return
    with pytest.raises(WrongValues, match=re.escape(message)):
        user_values([], [assignment])


def test_later_values_go_over_earlier_ones_and_null_removes_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("image: {name: mine, tag: '1'}\nreplicas: 3\nresources: {limits: {cpu: 1}}\n")
    second.write_text("image: {tag: '2'}\nsecurityContext: {runAsUser: null}\n")
    values = all_values(user_values([first, second], ["replicas=2"]))
    assert values["image"] == {"name": "mine", "tag": "2", "pullPolicy": "IfNotPresent"}
    assert values["replicas"] == 2
    assert "runAsUser" not in values["securityContext"]
    assert values["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("a: [", "is not valid YAML"),
        ("- a", "write one mapping of values"),
        ("a: 1\n---\nb: 2", "write one mapping of values"),
        (b"\xff\xfe\x00", "is not valid YAML"),
    ],
)
def test_unreadable_file_is_reported(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    file = tmp_path / "values.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WrongValues, match=message):
        user_values([file], [])


def test_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("# nothing\n")
    assert user_values([tmp_path / "values.yaml"], []) == {}


def test_merging_changes_neither_side() -> None:
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merged(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


@pytest.mark.parametrize(
    ("words", "namespaces"),
    [
        (["--all-namespaces"], set()),
        ([], set()),
        (["--namespace=a", "-n", "b,c", "-nd", "-n=e"], {"a", "b", "c", "d", "e"}),
        (["--namespace", "a"], {"a"}),
        (["--namespace=team-*"], set()),
        (["-n", "a", "-A"], set()),
    ],
)
def test_namespaces_that_an_operator_watches_are_read_as_it_does(
    words: list[str], namespaces: set[str]
) -> None:
    pod = {"spec": {"containers": [{"name": "o", "args": words}]}}
    assert watched_namespaces({"spec": {"template": pod}}) == namespaces
