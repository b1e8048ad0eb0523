"""How long a run waits for the last tasks of its script, by the answers of a scheduler's agent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from daskjob.backends.agent_answers import NoAnswer
from daskjob.backends.local import last_tasks
from daskjob.backends.local.last_tasks import (
    EndedScript,
    LastTasks,
    Wait,
    until_finished,
    with_finished,
)

NOTHING: dict[str, Any] = {}
LOST = None


class ScriptedAgent:
    """An agent with an answer per request; the last one stays. ``None`` is none."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def get(self, route: str) -> dict[str, Any]:
        assert route == "unfinished"
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise NoAnswer("scripted")
        return answer


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_tasks, "FINISH_SECONDS", 0.3)
    monkeypatch.setattr(last_tasks, "PATIENCE_SECONDS", 0.6)
    monkeypatch.setattr(last_tasks, "CLIENTS_SECONDS", 0.1)
    monkeypatch.setattr(last_tasks, "UNREPORTED_SECONDS", 0.0)


def waited(
    agent: ScriptedAgent, *, succeeded: bool = True, seconds: float = 0.0
) -> tuple[float, list[int]]:
    """Return the seconds of a wait, and what it reported."""
    reported: list[Wait] = []
    began = time.monotonic()
    script = EndedScript(succeeded, seconds, lambda: False, reported.append)
    asyncio.run(until_finished(agent, script))
    return time.monotonic() - began, [wait.promised for wait in reported]


@pytest.mark.parametrize(
    "answer",
    [NOTHING, {"dropped": 3}, {"stale": 2}, {"processing": "two", "promised": -1, "clients": None}],
)
def test_nothing_to_wait_for_costs_one_request(answer: dict[str, Any]) -> None:
    agent = ScriptedAgent(answer)
    assert waited(agent)[1] == []
    assert agent.asked == 1


@pytest.mark.parametrize(
    "answer", [{"processing": 1}, {"abandoned": 2}, {"dropped": 1, "stale": 1}]
)
@pytest.mark.parametrize("succeeded", [True, False])
def test_running_tasks_have_their_time_and_not_more(
    answer: dict[str, Any], *, succeeded: bool
) -> None:
    seconds, reported = waited(ScriptedAgent(answer), succeeded=succeeded)
    assert 0.3 <= seconds < 3
    assert set(reported) == {0}
    agent = ScriptedAgent(answer, answer, NOTHING)
    waited(agent, succeeded=succeeded)
    assert agent.asked == 3


def test_promised_tasks_are_waited_for_while_tasks_finish() -> None:
    answers = [{"promised": 2, "processing": 1, "finished": number // 4} for number in range(40)]
    seconds, reported = waited(ScriptedAgent(*answers, NOTHING))
    assert seconds > 1
    assert set(reported) == {2}


@pytest.mark.parametrize("processing", [0, 2])
def test_promised_tasks_that_do_not_finish_are_given_up(processing: int) -> None:
    agent = ScriptedAgent({"promised": 2, "processing": processing, "finished": 7})
    seconds, _ = waited(agent)
    assert 0.6 <= seconds < 3


def test_a_script_that_ran_longer_has_tasks_that_may_take_longer() -> None:
    agent = ScriptedAgent({"promised": 1, "processing": 1})
    seconds, _ = waited(agent, seconds=1.2)
    assert 1.2 <= seconds < 4


def test_promised_tasks_of_a_failed_script_are_not_waited_for() -> None:
    agent = ScriptedAgent({"promised": 4})
    waited(agent, succeeded=False)
    assert agent.asked == 1


def test_clients_that_stay_delay_the_end_by_a_bounded_time() -> None:
    seconds, _ = waited(ScriptedAgent({"clients": 1}))
    assert 0.1 <= seconds < 3


@pytest.mark.parametrize("answers", [[LOST], [{"promised": 1, "processing": 1}, LOST]])
def test_a_scheduler_that_is_gone_is_given_up(answers: list[dict[str, Any] | None]) -> None:
    seconds, _ = waited(ScriptedAgent(*answers))
    assert seconds < 3


@pytest.mark.parametrize(
    ("answers", "must_end", "expected"),
    [
        ([{"promised": 3}], True, LastTasks(dropped=3)),
        ([{"promised": 2, "processing": 1}, LOST], False, LastTasks(dropped=2)),
        ([{"promised": 2}], False, LastTasks(given_up=2)),
        ([{"abandoned": 2}, {"abandoned": 1}], False, LastTasks(finished=1)),
        ([{"abandoned": 2}, NOTHING], False, LastTasks(finished=2)),
    ],
)
def test_what_became_of_the_last_tasks(
    answers: list[dict[str, Any] | None], expected: LastTasks, *, must_end: bool
) -> None:
    script = EndedScript(True, 0.0, lambda: must_end, lambda _: None)
    assert asyncio.run(until_finished(ScriptedAgent(*answers), script)) == expected


def test_tasks_that_finished_after_the_script_count_as_done() -> None:
    report = {"tasks": {"total": 1, "done": 1, "dropped": 2}, "workers": {}}
    changed = with_finished(report, 1)
    assert changed == {"tasks": {"total": 2, "done": 2, "dropped": 1}, "workers": {}}
    assert with_finished(report, 0) == report
    assert with_finished({}, 3) == {}
