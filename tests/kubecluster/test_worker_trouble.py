"""Workers that crash or cannot start are reported in one line for each cause."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from daskjob.kubecluster.worker_trouble import Reported, Trouble
from tests.kubecluster.conftest import PATIENCE, SMALL, Place
from tests.waiting import wait_until

CODE = "worker pod mine-worker-{} exits with code {}{}. Check its command and its log."


def crash(pod: str = "a1", code: int = 1, restarts: str = "", group: str = "g") -> list[Trouble]:
    return [Trouble(group, "WorkersFailed", CODE.format(pod, code, restarts), 0, 2)]


def test_one_cause_is_reported_once_whichever_worker_has_it_and_how_often() -> None:
    reported = Reported()
    first = crash()
    assert reported.due(first, 0) == ([], 10)
    assert reported.due(crash("b2"), 4) == ([], 6)
    again = crash("b2", restarts=", restarted once")
    assert reported.due(again, 10) == (again, None)
    assert reported.due(crash("c3", restarts=", restarted 17 times"), 3600) == ([], None)
    assert reported.due([], 3601) == ([], None)
    assert reported.due(first, 3700) == ([], None)


def test_another_cause_and_another_group_are_reported_too() -> None:
    reported = Reported()
    assert reported.due(crash() + crash(group="h"), 0) == ([], 10)
    assert [one.group for one in reported.due(crash() + crash(group="h"), 11)[0]] == ["g", "h"]
    assert reported.due(crash(code=137), 20) == ([], 10)
    assert len(reported.due(crash(code=137), 30)[0]) == 1


def test_what_passes_is_not_reported_and_pods_without_a_node_get_longer() -> None:
    reported = Reported()
    reported.due(crash(), 0)
    assert reported.due([], 9) == ([], None)
    assert reported.due(crash(), 12) == ([], 10)
    pending = Trouble("big", "Unschedulable", "no node has room for pod x-worker-1", 1, 3)
    assert reported.due([pending], 20) == ([], 60)
    other = Trouble("big", "Unschedulable", "no node tolerates pod x-worker-2", 1, 3)
    assert reported.due([other], 80) == ([other], None)
    assert reported.due([pending], 99) == ([], None)


@pytest.mark.parametrize(
    ("group", "text"), [("default", "1 of 3 workers are"), ("g", "1 of 3 workers of group g are")]
)
def test_the_line_names_cluster_group_and_reason(group: str, text: str) -> None:
    trouble = Trouble(group, "ImagePull", "the image cannot be pulled.", 1, 3)
    assert trouble.text("mine") == f"cluster mine: {text} ready: the image cannot be pulled."


def pod(image: str, code: str) -> dict[str, Any]:
    worker = {"name": "worker", "image": image, "args": ["python", "-c", code], "resources": SMALL}
    return {"replicas": 2, "spec": {"containers": [worker]}}


@pytest.mark.check(40)
def test_crashing_workers_of_a_real_cluster_are_reported(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    image = place.kubernetes.image("dask")
    with place.cluster("troubled", n_workers=0) as cluster:
        cluster.quiet = False
        cluster.add_worker_group("crash", custom_spec=pod(image, "raise SystemExit('no model')"))
        cluster.add_worker_group("memory", custom_spec=pod(image, "bytearray(10 ** 9)"))
        cluster.add_worker_group("image", custom_spec=pod("registry.invalid/none:1", ""))
        with caplog.at_level(logging.WARNING, "daskjob"):
            wait_until(lambda: len(lines(caplog)) == 3, PATIENCE, shows=lambda: caplog.text)
    crashes, image_line, memory = lines(caplog)
    assert re.search(r"workers of group crash are ready: worker pod .* code 1\b", crashes)
    assert re.search(r"group image are ready: the image of container worker .* pulled", image_line)
    assert re.search(r"group memory are ready: .*out of memory.* Raise .*limits\.mem", memory)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return sorted(text for text in caplog.messages if text.startswith("cluster troubled: "))
