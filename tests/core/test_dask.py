"""The answer of a scheduler's agent: it comes from a tenant's pod, and may be anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskjob.core.dask import DaskState, dask_state, retirement_from

#: The longest limit of a spec.
LONGEST = timedelta(seconds=2**31 - 1)
NOW = datetime(2026, 11, 29, tzinfo=UTC)

ROW = {"name": "a", "address": "tcp://1.2.3.4:5", "memory": 1, "processing": 2, "status": "running"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


def of_rows(rows: list[object], columns: list[str] | None = None, **more: object) -> DaskState:
    return dask_state({"workers": {"columns": columns or list(ROW), "rows": rows, **more}})


@pytest.mark.parametrize(
    "value",
    [253402300799, 1e300, -1, float("nan"), float("inf"), -float("inf"), 10**400, True, "1", [1]],
)
def test_a_time_that_no_limit_can_be_added_to_is_unknown(value: object) -> None:
    state = dask_state({"lastTransition": value, "idleSince": value})
    assert (state.last_transition, state.idle_since) == (None, None)


@given(st.integers() | st.floats())
def test_any_limit_can_be_added_to_any_time(value: float) -> None:
    moment = dask_state({"lastTransition": value}).last_transition
    assert moment is None or moment + LONGEST > moment


def test_a_time_is_epoch_seconds() -> None:
    assert dask_state({"lastTransition": NOW.timestamp()}).last_transition == NOW


@pytest.mark.parametrize("value", [-1, 2**63, 10**400, 1.5, float("nan"), True, "7", None])
def test_what_is_no_count_is_0(value: object) -> None:
    state = dask_state({"tasks": {"total": value}, "clients": value})
    assert (state.tasks.total, state.clients) == (0, 0)


# A busy machine is no fault of the inputs.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["tasks", "workers", "target", "clients"]), anything))
def test_an_answer_of_any_shape_is_read(answer: dict[str, object]) -> None:
    assert dask_state(answer).workers == ()
    assert retirement_from({"retired": answer.get("tasks")}, ["a"], NOW).retired <= {"a"}


@given(st.lists(st.lists(anything, max_size=6), max_size=4))
def test_rows_of_any_cells_are_workers(rows: list[object]) -> None:
    assert len(of_rows(rows).workers) == len(rows)


def test_an_answer_with_fewer_rows_than_workers_is_not_whole() -> None:
    row = list(ROW.values())
    assert of_rows([row], total=1).is_whole
    assert of_rows([row]).is_whole
    assert not of_rows([row], total=2).is_whole
    assert not of_rows([row, "no row"]).is_whole
    assert dask_state({}).is_whole


@pytest.mark.parametrize("missing", ROW)
def test_rows_without_what_a_scale_down_goes_by_count_as_not_reported(missing: str) -> None:
    columns = [column for column in ROW if column != missing]
    state = of_rows([[ROW[column] for column in columns]], columns, total=1)
    assert state.workers == ()
    assert not state.is_whole


def test_a_state_can_be_read_from_json() -> None:
    text = json.dumps({"workers": {"columns": list(ROW), "rows": [list(ROW.values())], "total": 1}})
    (worker,) = dask_state(json.loads(text)).workers
    assert (worker.name, worker.memory, worker.processing, worker.retiring) == ("a", 1, 2, False)
